// Products with inputs of 8 bit with AVX2.
#define ANYMAL_LEVEL avx2
#include "cpu/linear/eight_bit/product.h"
