// Declares every op of this level with the signature of its Backend entry. Op files include it through kernel.h's users: a
// definition whose signature differs from the contract does not link.
#pragma once
#include <type_traits>

#include "backend.h"
#ifndef ANYMAL_LEVEL
#define ANYMAL_LEVEL generic
#endif

namespace anymal::cpu::ANYMAL_LEVEL {
#define OP(name) std::remove_pointer_t<decltype(Backend::name)> name;
#include "ops.def"
std::remove_pointer_t<decltype(Backend::packed_bytes)> packed_bytes;
}  // namespace anymal::cpu::ANYMAL_LEVEL
