// How CUDA counts its versions: 13000 is 13.0.
#pragma once
#include <string>

namespace anymal::cuda {

inline std::string version(int v) { return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10); }

}  // namespace anymal::cuda
