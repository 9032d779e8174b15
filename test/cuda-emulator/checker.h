// What the runtime tells the checker. Only the checked variant has one.
#pragma once
#include "running.h"

namespace emu {

struct Checker {
  // Memory of the arena: allocated or not, initialised or not, byte by byte.
  virtual void allocate(const void* p, size_t n, bool initialised) = 0;
  virtual void release(const void* p, size_t n) = 0;
  virtual void initialise(const void* p, size_t n) = 0;
  virtual void forget(const void* p, size_t n) = 0;  // uninitialised again
  virtual void copy(void* d, const void* s, size_t n, bool to_device, bool from_device) = 0;
  // The life of blocks.
  virtual void launch_start() = 0;
  virtual void block_start(Block& b) = 0;
  virtual void block_end(Block& b) = 0;
  // What the running thread does.
  virtual void access(const void* p, size_t n, bool write, const void* pc) = 0;
  virtual void atomic(const void* p, size_t n, const void* pc) = 0;
  virtual void fence() = 0;
  virtual void warp_sync(Warp& w, unsigned mask) = 0;
  virtual void barrier(Block& b, unsigned arrived_warps, unsigned waiting_warps) = 0;
  // An mbarrier, by its place: what a thread did before its arrival is seen by who has waited.
  virtual void sync_release(uint32_t object) = 0;
  virtual void sync_acquire(uint32_t object) = 0;
  // TMA and wgmma, in the name of the thread that asked: they see ordinary stores only behind fence.proxy.async.
  virtual void async_read(const void* p, size_t n, const void* pc) = 0;
  virtual void async_write(const void* p, size_t n, const void* pc) = 0;
  virtual void proxy_fence() = 0;
};
extern Checker* checker;

}  // namespace emu
