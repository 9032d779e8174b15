// Names of gemm::Path, as the device's option path= has them.
#pragma once

namespace anymal::cuda {

inline constexpr const char* kPathNames[] = {"tiles", "skinny", "panels", "hopper"};

}  // namespace anymal::cuda
