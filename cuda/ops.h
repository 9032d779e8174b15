// Declares every op of this backend with the signature of its Backend entry: a definition whose signature differs does not link.
#pragma once
#include <type_traits>

#include "backend.h"

// The emulator may be built with some op files ONLY: its table lacks the other ops.
#ifdef ANYMAL_SOME_OPS
#define ANYMAL_LINKAGE __attribute__((weak))
#else
#define ANYMAL_LINKAGE
#endif

namespace anymal::cuda {
#define OP(name) std::remove_pointer_t<decltype(Backend::name)> name ANYMAL_LINKAGE;
#define CPU_OP(name)
#include "ops.def"
std::remove_pointer_t<decltype(Backend::packed_bytes)> packed_bytes ANYMAL_LINKAGE;
double measure_peak(Stream&, Peak);
}  // namespace anymal::cuda
