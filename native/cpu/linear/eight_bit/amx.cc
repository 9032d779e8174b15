// Products with inputs of 8 bit for the layout of the amx level, with the integer products of AVX-512. With ANYMAL_AMX_TWIN in plain loops, for tests
// on any machine.
#ifdef ANYMAL_AMX_TWIN
#define ANYMAL_LEVEL amx_twin
#else
#define ANYMAL_LEVEL amx
#endif
#include "cpu/linear/eight_bit/product.h"
