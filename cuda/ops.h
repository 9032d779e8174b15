// Declares every op of this backend with the signature of its Backend entry: a definition whose signature differs does not link.
#pragma once
#include <type_traits>

#include "backend.h"

namespace anymal::cuda {
#define OP(name) std::remove_pointer_t<decltype(Backend::name)> name __attribute__((weak));
#include "ops.def"
std::remove_pointer_t<decltype(Backend::packed_bytes)> packed_bytes __attribute__((weak));
double measure_peak(Stream&, Peak);
}  // namespace anymal::cuda
