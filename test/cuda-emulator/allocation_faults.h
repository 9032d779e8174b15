// What a backend module does when memory runs out or the card fails.
#pragma once
#include "backend.h"
#include "switches.h"

namespace anymal {

void check_allocation_faults(const Backend& backend, const Switches& emulator);
void check_capture_faults(const Backend& backend, const Switches& emulator);  // the queue over it, while a graph is captured and run

}  // namespace anymal
