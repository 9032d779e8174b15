// Fibers: one stack per CUDA thread, all on the host thread that launched.
#pragma once
#include "running.h"

namespace emu {

void fiber_make(Thread& t, void (*entry)());  // entry must not return
void fiber_recycle(Thread& t);
bool on_stack_of(const Thread& t, const char* p);

void fibers_begin();                                                  // a launch, on this host thread
void fiber_switch(Thread* from, Thread* to, bool from_ends = false);  // null: the host's own stack
void fiber_entered(Thread* me);                                       // the first thing a new fiber does

}  // namespace emu
