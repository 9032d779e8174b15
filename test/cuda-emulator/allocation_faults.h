// What a backend module does when memory runs out or the card fails; the emulator can be told to.
#pragma once
#include "backend.h"

namespace anymal {

// `module` is what dlopen gave for the module of `backend`. Without the emulator's switches (on a card) it says so and checks nothing.
void check_allocation_faults(const Backend& backend, void* module);

}  // namespace anymal
