#include "cpu/stream.h"

#include <cstdlib>
#include <new>

#include "cpu/linear/kernels.h"

namespace anymal {
namespace cpu {

Scratch::~Scratch() { std::free(block_); }

void* Scratch::get(size_t bytes) {
  if (bytes > bytes_) {
    drop();
    const size_t rounded = (bytes + bytes / 4 + 4095) / 4096 * 4096;
    if (account_) account_->take(rounded);
    block_ = std::aligned_alloc(64, rounded);
    if (!block_ && account_ && account_->reclaim()) block_ = std::aligned_alloc(64, rounded);
    if (!block_) {
      if (account_) account_->give_back(rounded);
      throw std::bad_alloc();
    }
    bytes_ = rounded;
  }
  return block_;
}

void Scratch::drop() {
  std::free(block_);
  if (account_ && bytes_) account_->give_back(bytes_);
  block_ = nullptr;
  bytes_ = 0;
}

// What is held already was another's to count.
void Scratch::account(ScratchAccount* account) {
  drop();
  account_ = account;
}

}  // namespace cpu

Stream::Stream(int threads, cpu::Level l)
    : level(l),
      kernels(&cpu::linear::kernels_of(l)),
      pool(threads),
      scratch(static_cast<size_t>(pool.threads())),
      description(std::string("cpu: ") + cpu::level_name(l) + ", " + std::to_string(pool.threads()) + (pool.threads() == 1 ? " thread" : " threads") +
                  (pool.threads() < threads ? " (of " + std::to_string(threads) + " asked for; the system gave no more)" : "")) {}

void Stream::account_scratch(ScratchAccount* account) {
  for (cpu::Scratch& s : scratch) s.account(account);
  shared.account(account);
  packed.account(account);
}

}  // namespace anymal
