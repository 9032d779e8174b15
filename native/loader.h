// Finds a backend by name: the CPU's is linked in, the CUDA module is opened beside this binary on first use. Why a module could not be
// had is remembered and told to whoever asks for that device, and to nobody else.
#pragma once
#include <string>

#include "backend.h"

namespace anymal {

// Throws Error E_DEVICE with the reason and the next thing to try. `options` ("key=value;key=value") may name a dispatch level.
const Backend& backend_open(const std::string& name, const std::string& options);

// The value of `key` in such options, or "".
std::string option_value(const std::string& options, const std::string& key);

}  // namespace anymal
