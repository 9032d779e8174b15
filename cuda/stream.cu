// The Stream: a card that is opened and closed, its scratch memory, what waits for it.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>
#include <stdexcept>

#include "probe.h"
#include "stream.h"
#include "version.h"

namespace anymal {
namespace cuda {

void check(cudaError_t error, const char* doing) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // it is told here; the next call shall not tell it again
  if (error == cudaErrorMemoryAllocation) throw std::bad_alloc();
  throw std::runtime_error(std::string(doing) + ": " + cudaGetErrorString(error));
}

}  // namespace cuda

using cuda::check;

namespace {
thread_local int current_card = -1;  // of this thread, where this module has chosen it
}

Stream::Stream(int i, int processors) : index(i) {
  try {
    open(processors);
  } catch (...) {
    close();  // no destructor runs for what was not constructed
    throw;
  }
}
Stream::~Stream() { close(); }

void Stream::open(int processors) {
  cudaDeviceProp p;
  check(cudaSetDevice(index), "choosing the card");
  current_card = index;
  check(cudaGetDeviceProperties(&p, index), "asking for the card's properties");
  if (p.major < 8)
    throw std::runtime_error(std::string(p.name) + " has compute capability " + std::to_string(p.major) + "." + std::to_string(p.minor) +
                             ": 8.0 (Ampere) or newer is needed");
  multiprocessors = processors ? processors : p.multiProcessorCount;
  int driver = 0;
  check(cudaDriverGetVersion(&driver), "asking for the driver's version");
  description = "cuda: " + std::string(p.name) + ", " + std::to_string(p.totalGlobalMem >> 20) + " MiB, compute capability " +
                std::to_string(p.major) + "." + std::to_string(p.minor) + ", " + std::to_string(p.multiProcessorCount) + " multiprocessors, " +
                std::to_string(p.l2CacheSize >> 20) + " MiB of L2 cache, driver for CUDA " + cuda::version(driver);
  if (processors) description += ", kernels as for " + std::to_string(processors) + " multiprocessors";
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "opening a stream");
  check(cudaHostAlloc(&fault.to, sizeof(cuda::Faults), cudaHostAllocMapped), "allocating pinned memory");
  std::memset(static_cast<void*>(fault.to), 0, sizeof(cuda::Faults));
  const size_t bytes = static_cast<size_t>(counters_in_all()) * sizeof(unsigned);
  check(cudaMalloc(&counters, bytes), "allocating counters");
  check(cudaMemsetAsync(counters, 0, bytes, stream), "clearing counters");
  // wgmma exists on compute capability 9.0 alone, neither before nor behind, and in code that was compiled for it.
  capability = 10 * p.major + p.minor;
  shared_limit = p.sharedMemPerBlockOptin;
  wgmma = cuda::probe(*this) && capability == 90;
  for (Staging& s : staging) {
    check(cudaHostAlloc(&s.data, kStagingBytes, cudaHostAllocDefault), "allocating pinned memory");
    check(cudaEventCreateWithFlags(&s.done, cudaEventDisableTiming), "making an event");
    check(cudaEventRecord(s.done, stream), "recording an event");
  }
}

// Of all that was opened, once. A card that has failed frees nothing and says so at every call; the process goes on.
void Stream::close() noexcept {
  enter();
  if (stream && !capturing) settle();
  for (Staging& s : staging) {
    if (s.done) warn(cudaEventDestroy(s.done), "freeing an event");
    if (s.data) warn(cudaFreeHost(s.data), "freeing pinned memory");
  }
  free_scratch();
  if (counters) warn(cudaFree(counters), "freeing counters");
  free_tables();
  if (beside_) warn(cudaStreamDestroy(beside_), "closing a stream");
  if (fault.to) warn(cudaFreeHost(fault.to), "freeing pinned memory");
  if (stream) warn(cudaStreamDestroy(stream), "closing a stream");
}

// The current card belongs to the thread: a queue's thread is not the one that opened the device.
void Stream::enter() noexcept {
  if (current_card == index) return;
  const cudaError_t e = cudaSetDevice(index);
  if (e == cudaSuccess) current_card = index;
  else warn(e, "choosing the card");
}

void Stream::warn(cudaError_t error, const char* doing) noexcept {
  if (error == cudaSuccess) return;
  cudaGetLastError();
  if (warned_ || error == cudaErrorCudartUnloading) return;  // at the end of the process the driver may go first
  warned_ = true;
  std::fprintf(stderr, "anymal: %s: %s (%s)\n", doing, cudaGetErrorString(error), description.c_str());
}

void Stream::settle() noexcept { warn(cudaStreamSynchronize(stream), "waiting for the card"); }

// In pieces: the card reads one while the host fills the other.
void Stream::upload(void* dst, const void* src, size_t bytes) {
  for (size_t at = 0, piece = 0; at < bytes; ++piece) {
    const size_t n = std::min(kStagingBytes, bytes - at);
    Staging& stage = staging[piece % 2];
    check(cudaEventSynchronize(stage.done), "copying to the card");
    std::memcpy(stage.data, static_cast<const char*>(src) + at, n);
    check(cudaMemcpyAsync(static_cast<char*>(dst) + at, stage.data, n, cudaMemcpyHostToDevice, stream), "copying to the card");
    check(cudaEventRecord(stage.done, stream), "copying to the card");
    at += n;
  }
}

void Stream::allow_shared(const void* kernel, size_t bytes) {
  size_t& allowed = shared_allowed_[kernel];
  if (bytes <= allowed) return;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)), "asking for shared memory");
  allowed = bytes;
}

void* Stream::take_scratch(size_t bytes) {
  bytes = std::max<size_t>((bytes + 255) / 256 * 256, 256);  // nothing has a place too
  taken_ += bytes;
  most_taken_ = std::max(most_taken_, taken_);
  for (Block& b : scratch_)
    if (b.bytes - b.used >= bytes) {
      b.used += bytes;
      return b.data + b.used - bytes;
    }
  if (!rehearsing_) throw cuda::ScratchLacks();
  lacked_ += bytes;
  most_lacked_ = std::max(most_lacked_, lacked_);
  return reinterpret_cast<void*>(uintptr_t{256});  // aligned like the real one, and launched on by nobody
}

void Stream::begin_rehearsal() {
  rehearsing_ = true;
  lacked_ = most_lacked_ = taken_ = most_taken_ = 0;
}

// Where no graph holds addresses of the old blocks, one block takes their place: sizes that creep up do not leave a block behind each.
void Stream::end_rehearsal() {
  rehearsing_ = false;
  if (most_lacked_ == 0) return;
  const size_t least = graphs ? most_lacked_ : most_taken_;
  const size_t roomy = std::max(least, std::max(size_t{1} << 20, std::min(2 * scratch_bytes_, scratch_bytes_ + (size_t{64} << 20))));
  if (!graphs) {
    settle();
    free_scratch();
  }
  try {
    if (add_block(roomy)) return;
  } catch (const std::bad_alloc&) {  // beyond the device's limit
  }
  if (add_block(least) || (account_ && account_->reclaim() && add_block(least))) return;
  throw std::bad_alloc();
}

// False: the card has not so much. Throws where the device's limit leaves no room.
bool Stream::add_block(size_t bytes) {
  if (account_) account_->take(bytes);
  Block b{nullptr, bytes, 0};
  const cudaError_t e = cudaMalloc(&b.data, bytes);
  if (e == cudaSuccess) {
    scratch_.push_back(b);
    scratch_bytes_ += bytes;
    return true;
  }
  if (account_) account_->give_back(bytes);
  if (e != cudaErrorMemoryAllocation) check(e, "allocating scratch memory");
  cudaGetLastError();
  return false;
}

void Stream::free_scratch() noexcept {
  for (Block& b : scratch_) warn(cudaFree(b.data), "freeing scratch memory");
  scratch_.clear();
  if (account_) account_->give_back(scratch_bytes_);
  scratch_bytes_ = 0;
}

// Called before the first op and after the last: a new account begins with nothing held.
void Stream::account_scratch(ScratchAccount* account) {
  if (!graphs) {
    if (scratch_bytes_ || !tables_.empty()) settle();
    free_scratch();
    free_tables();
  } else if (account_) {
    account_->give_back(scratch_bytes_);
    for (const Table& t : tables_) account_->give_back(t.bytes);
  }
  account_ = account;
}

void Stream::wait() {
  enter();
  check(cudaStreamSynchronize(stream), "waiting for the card");
}

}  // namespace anymal
