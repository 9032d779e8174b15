// Products with inputs of 8 bit with AVX-512.
#define ANYMAL_LEVEL avx512
#include "cpu/linear/eight_bit/product.h"
