// Who runs next, and the life of a launch.
#pragma once
#include <functional>
#include <string>

#include "running.h"

namespace emu {

constexpr int kMaxResident = 64;  // blocks side by side

// Runs the kernel to its end on this host thread; the caller holds the lock of the host API.
void run(dim3 grid, dim3 block, size_t dynamic_shared, const std::function<void()>& body, const std::string& name);
const char* running_kernel();

void set_ready(Thread* t);
void block_self(State why, const char* op, const Loc& at);  // returns when someone has made this thread ready
void maybe_yield();                                         // an adversarial schedule changes threads here
bool coin();                                                // tossed by random schedules; false in order
void progressed();                                          // whoever polls may begin to count anew
void barrier_complete(Barrier& bar, Block& b);

}  // namespace emu
