#include "cpu/linear/eight_bit/problem.h"
#include "cpu/stream.h"

namespace anymal::cpu {

#define LEVEL(name)                                      \
  namespace name::eight_bit {                            \
  void product(Stream&, const linear::EightBitProblem&); \
  }
LEVEL(generic)
#if defined(__x86_64__)
LEVEL(avx2)
LEVEL(avx512)
LEVEL(avx512_bf16)
LEVEL(amx)
#endif
#undef LEVEL

void linear::eight_bit(Stream& s, const EightBitProblem& p) {
#if defined(__x86_64__)
  switch (s.level) {
    case Level::generic:
      return generic::eight_bit::product(s, p);
    case Level::avx2:
      return avx2::eight_bit::product(s, p);
    case Level::avx512:
      return avx512::eight_bit::product(s, p);
    case Level::avx512_bf16:
      return avx512_bf16::eight_bit::product(s, p);
    case Level::amx:
      return amx::eight_bit::product(s, p);
  }
#endif
  return generic::eight_bit::product(s, p);
}

}  // namespace anymal::cpu
