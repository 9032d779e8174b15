// Shared memory of resident blocks. Each has a slot of the arena, and an address of 32 bits is an offset into the slot, so that ldmatrix and
// swizzles compute with the kind of numbers that they see on a card.
#pragma once
#include "running.h"

namespace emu {

constexpr size_t kSharedBase = 1024;  // where offsets start on a card
constexpr size_t kSharedSlot = 256 * 1024;
// Of one block: on the smallest cards that cuda/ is built for (8.6, 8.9, 12.0), and on Hopper.
inline size_t shared_limit() { return size_t{settings.capability == 90 ? 227u : 99u} * 1024; }

char* shared_slot(int index);
int shared_slot_index(const char* slot);
void shared_begin(Block& b, size_t dynamic);
void shared_end(Block& b);

}  // namespace emu
