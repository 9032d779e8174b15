#include "cpu/stream.h"

#include <cstdlib>
#include <new>

#include "cpu/linear/kernels.h"

namespace anymal {
namespace cpu {

Scratch::~Scratch() { std::free(block_); }

void* Scratch::get(size_t bytes) {
  if (bytes > bytes_) {
    std::free(block_);
    bytes_ = 0;
    const size_t rounded = (bytes + bytes / 4 + 4095) / 4096 * 4096;
    block_ = std::aligned_alloc(64, rounded);
    if (!block_) throw std::bad_alloc();
    bytes_ = rounded;
  }
  return block_;
}

}  // namespace cpu

Stream::Stream(int threads, cpu::Level l)
    : level(l),
      kernels(&cpu::linear::kernels_of(l)),
      pool(threads),
      scratch(static_cast<size_t>(threads)),
      description(std::string("cpu: ") + cpu::level_name(l) + ", " + std::to_string(threads) + (threads == 1 ? " thread" : " threads")) {}

}  // namespace anymal
