// Products with inputs of 8 bit in plain C++.
#define ANYMAL_LEVEL generic
#include "cpu/linear/eight_bit/product.h"
