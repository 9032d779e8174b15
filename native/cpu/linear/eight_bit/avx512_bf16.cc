// Products with inputs of 8 bit with the integer products of AVX-512 (VNNI), which all that have its bf16 have.
#define ANYMAL_LEVEL avx512_bf16
#include "cpu/linear/eight_bit/product.h"
