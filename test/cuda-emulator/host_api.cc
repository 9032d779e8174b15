// The part of CUDA's host API that cuda/ calls. Work runs on the host thread that issues it or, with a seed, at times only when someone waits: the
// latest moment that a stream allows, so that a host that reads too early reads too little. One lock for all: devices take turns.
#include <cuda.h>

#include <chrono>
#include <cstdio>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "checker.h"
#include "device_memory.h"
#include "planted.h"
#include "reports.h"
#include "scheduler.h"
#include "shared_memory.h"

namespace {

using Work = std::function<cudaError_t()>;
using Graph = std::vector<Work>;
constexpr int kDevices = 2;
constexpr size_t kMostHeldBack = 64;

struct Moment {
  CUstream_st* stream = nullptr;
  bool reached = false;
  std::chrono::steady_clock::time_point at;
};

}  // namespace

struct CUstream_st {
  int device = 0;
  std::deque<Work> held_back;
  std::unique_ptr<Graph> recording;
  bool capture_broken = false;
  cudaError_t error = cudaSuccess;  // of work held back, told when someone waits
};
struct CUgraph_st {
  std::shared_ptr<const Graph> work;
};
struct CUgraphExec_st {
  std::shared_ptr<const Graph> work;
  char* made = nullptr;      // its memory: some when it is made,
  char* uploaded = nullptr;  // the rest when it is first run
};
struct CUevent_st {
  std::shared_ptr<Moment> moment;  // of the last record
  bool captured = false;
};

namespace {

using emu::broken;
using emu::number_of;
using emu::Space;
std::recursive_mutex& mutex = emu::host_mutex;
std::set<CUstream_st*> streams;
thread_local cudaError_t last_error = cudaSuccess;
thread_local int current_device = 0;  // as on a card: a new thread's is the first
constexpr size_t kSharedUnasked = 48 * 1024;
std::map<std::pair<int, const void*>, size_t> shared_allowed;  // by device and kernel, where it is more
constexpr size_t kGraphBytes = size_t{64} << 10;               // that a graph takes, twice

constexpr int kRuntime = 13000;
int driver() { return number_of("EMU_DRIVER", kRuntime); }

cudaError_t told(cudaError_t e) {
  if (e != cudaSuccess) last_error = e;
  return e;
}

cudaError_t drain(cudaStream_t s) {
  while (!s->held_back.empty()) {
    const Work work = std::move(s->held_back.front());
    s->held_back.pop_front();
    const cudaError_t e = work();
    if (s->error == cudaSuccess) s->error = e;
  }
  return std::exchange(s->error, cudaSuccess);
}
cudaError_t drain_all() {
  cudaError_t first = cudaSuccess;
  for (cudaStream_t s : streams)
    if (const cudaError_t e = drain(s); first == cudaSuccess) first = e;
  return first;
}

cudaError_t issue(cudaStream_t s, Work work) {
  if (broken != cudaSuccess) return broken;
  if (!s) {  // the stream that waits for all others
    const cudaError_t e = drain_all();
    return e == cudaSuccess ? work() : e;
  }
  if (s->recording) {
    s->recording->push_back(std::move(work));
    return cudaSuccess;
  }
  if (emu::settings.seed == 0) return work();
  static emu::Random holds_back(emu::settings.seed);
  s->held_back.push_back(std::move(work));
  return s->held_back.size() > kMostHeldBack || (holds_back() & 1) ? drain(s) : cudaSuccess;
}

bool may_copy(void* d, const void* s, size_t n, cudaMemcpyKind kind) {
  const Space to = emu::space_of(d, n), from = emu::space_of(s, n);
  if (to == Space::none || from == Space::none) return false;
  const bool to_host = kind == cudaMemcpyHostToHost || kind == cudaMemcpyDeviceToHost;
  const bool from_host = kind == cudaMemcpyHostToHost || kind == cudaMemcpyHostToDevice;
  if (kind == cudaMemcpyDefault) return true;  // pinned memory is either
  return to != (to_host ? Space::device : Space::host) && from != (from_host ? Space::device : Space::host);
}

}  // namespace

namespace emu {

cudaError_t launch(dim3 grid, dim3 block, size_t shared, cudaStream_t stream, std::function<void()> body, const char* text, const void* kernel) {
  std::lock_guard lock(mutex);
  if (stream && stream->device != current_device) return told(cudaErrorInvalidResourceHandle);
  static const auto missing = static_cast<cudaError_t>(number_of("EMU_KERNELS", cudaSuccess));
  if (missing != cudaSuccess) return told(missing);
  const uint64_t threads = uint64_t{block.x} * block.y * block.z, blocks = uint64_t{grid.x} * grid.y * grid.z;
  if (threads < 1 || threads > 1024 || block.z > 64 || !blocks || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535)
    return told(cudaErrorInvalidConfiguration);
  const auto allowed = shared_allowed.find({current_device, kernel});
  if (shared > (allowed == shared_allowed.end() ? kSharedUnasked : allowed->second)) return told(cudaErrorInvalidValue);
  const std::string& name = kernel_name(text);
  return told(issue(stream, [=, &name, body = std::move(body)] {
    run(grid, block, shared, body, name);
    return cudaSuccess;
  }));
}

}  // namespace emu

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  if (driver() < kRuntime) return told(cudaErrorInsufficientDriver);
  *count = kDevices;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int index) {
  if (index < 0 || index >= kDevices) return told(cudaErrorInvalidDevice);
  current_device = index;
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int value) {
  std::lock_guard lock(mutex);
  if (broken != cudaSuccess) return told(broken);
  if (!kernel || value < 0 || static_cast<size_t>(value) > emu::shared_limit()) return told(cudaErrorInvalidValue);
  shared_allowed[{current_device, kernel}] = static_cast<size_t>(value);
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = driver();
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = kRuntime;
  return cudaSuccess;
}
cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult* found) {
  const bool known = std::string(symbol) == "cuTensorMapEncodeTiled";
  *function = known ? reinterpret_cast<void*>(cuTensorMapEncodeTiled) : nullptr;
  *found = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int index) {
  if (index < 0 || index >= kDevices) return told(cudaErrorInvalidDevice);
  *p = {};
  snprintf(p->name, sizeof p->name, "emulated GPU %d", index);
  p->major = emu::settings.capability / 10;
  p->minor = emu::settings.capability % 10;
  p->multiProcessorCount = emu::settings.processors;
  p->l2CacheSize = 1 << 20;
  p->totalGlobalMem = emu::heap_bytes();
  p->sharedMemPerBlockOptin = emu::shared_limit();
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** p, size_t bytes) {
  std::lock_guard lock(mutex);
  if (broken != cudaSuccess) return told(broken);
  *p = emu::planted_take(bytes, false);
  return told(*p || !bytes ? cudaSuccess : cudaErrorMemoryAllocation);
}
cudaError_t cudaFree(void* p) {
  std::lock_guard lock(mutex);
  ++emu::frees;
  if (!p) return cudaSuccess;
  if (broken != cudaSuccess) return told(broken);
  const cudaError_t e = drain_all();  // it waits for the device
  if (emu::space_of(p, 1) == Space::pinned || !emu::heap_give(p)) return told(cudaErrorInvalidValue);
  return told(e);
}
cudaError_t cudaHostAlloc(void** p, size_t bytes, unsigned) {  // in the arena, for kernels may read and write it
  std::lock_guard lock(mutex);
  if (broken != cudaSuccess) return told(broken);
  *p = emu::planted_take(bytes, true);
  return told(*p || !bytes ? cudaSuccess : cudaErrorMemoryAllocation);
}
cudaError_t cudaFreeHost(void* p) {
  std::lock_guard lock(mutex);
  if (!p) return cudaSuccess;
  if (broken != cudaSuccess) return told(broken);
  const cudaError_t e = drain_all();
  if (emu::space_of(p, 1) != Space::pinned || !emu::heap_give(p)) return told(cudaErrorInvalidValue);
  return told(e);
}

cudaError_t cudaMemcpyAsync(void* d, const void* s, size_t n, cudaMemcpyKind kind, cudaStream_t stream) {
  std::lock_guard lock(mutex);
  if (!n) return cudaSuccess;
  if (!may_copy(d, s, n, kind)) return told(cudaErrorInvalidValue);
  const Work copy = [=] {
    if (!may_copy(d, s, n, kind)) return cudaErrorIllegalAddress;  // freed since: a graph that outlived its memory
    if (static_cast<const char*>(s) < static_cast<char*>(d) + n && static_cast<char*>(d) < static_cast<const char*>(s) + n)
      emu::fail("cudaMemcpyAsync of %zu bytes between ranges that overlap: %p <- %p", n, d, s);
    std::memcpy(d, s, n);
    if (emu::checker) emu::checker->copy(d, s, n, emu::space_of(d, n) == Space::device, emu::space_of(s, n) == Space::device);
    return cudaSuccess;
  };
  // From pageable memory the call returns when the bytes have been taken, to pageable memory when they are there.
  const bool pageable = emu::space_of(d, n) == Space::host || emu::space_of(s, n) == Space::host;
  const cudaError_t e = issue(stream, copy);
  return told(e == cudaSuccess && pageable && stream && !stream->recording ? drain(stream) : e);
}
cudaError_t cudaMemsetAsync(void* d, int value, size_t n, cudaStream_t stream) {
  std::lock_guard lock(mutex);
  if (!n) return cudaSuccess;
  const auto may_set = [=] {
    const Space space = emu::space_of(d, n);
    return space == Space::device || space == Space::pinned;
  };
  if (!may_set()) return told(cudaErrorInvalidValue);
  return told(issue(stream, [=] {
    if (!may_set()) return cudaErrorIllegalAddress;
    std::memset(d, value, n);
    if (emu::checker) emu::checker->initialise(d, n);
    return cudaSuccess;
  }));
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  std::lock_guard lock(mutex);
  *stream = new CUstream_st{current_device};
  streams.insert(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t s) {
  std::lock_guard lock(mutex);
  if (!streams.count(s)) return told(cudaErrorInvalidResourceHandle);
  const cudaError_t e = drain(s);
  streams.erase(s);
  delete s;
  return told(e);
}
cudaError_t cudaStreamSynchronize(cudaStream_t s) {
  std::lock_guard lock(mutex);
  ++emu::waits;
  if (broken != cudaSuccess) return told(broken);
  if (!s) return told(drain_all());
  if (!s->recording) return told(drain(s));
  s->capture_broken = true;
  return told(cudaErrorStreamCaptureUnsupported);
}

cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode) {
  std::lock_guard lock(mutex);
  if (!s || s->recording) return told(cudaErrorStreamCaptureUnsupported);
  s->recording = std::make_unique<Graph>();
  s->capture_broken = false;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t* graph) {
  std::lock_guard lock(mutex);
  *graph = nullptr;
  if (!s || !s->recording) return told(cudaErrorIllegalState);
  const std::shared_ptr<const Graph> work = std::move(s->recording);
  if (s->capture_broken) return told(cudaErrorStreamCaptureInvalidated);
  *graph = new CUgraph_st{work};
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  std::lock_guard lock(mutex);
  *exec = nullptr;
  if (!graph) return told(cudaErrorInvalidValue);
  char* memory = emu::planted_take(kGraphBytes, false);
  if (!memory) return told(cudaErrorMemoryAllocation);
  *exec = new CUgraphExec_st{graph->work, memory};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  std::lock_guard lock(mutex);
  if (!exec) return told(cudaErrorInvalidValue);
  if (!exec->uploaded && !(exec->uploaded = emu::planted_take(kGraphBytes, false))) return told(cudaErrorMemoryAllocation);
  return told(issue(stream, [graph = exec->work] {
    for (const Work& work : *graph)
      if (const cudaError_t e = work()) return e;
    return cudaSuccess;
  }));
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  std::lock_guard lock(mutex);
  if (!exec) return told(cudaErrorInvalidValue);
  for (char* memory : {exec->made, exec->uploaded})
    if (memory) emu::heap_give(memory);
  delete exec;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;  // a record that is still to come keeps its moment
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  std::lock_guard lock(mutex);
  event->captured = stream && stream->recording;
  const auto moment = std::make_shared<Moment>();
  moment->stream = stream;
  event->moment = moment;
  return told(issue(stream, [moment] {
    moment->reached = true;
    moment->at = std::chrono::steady_clock::now();
    return cudaSuccess;
  }));
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  std::lock_guard lock(mutex);
  if (event->captured) return told(cudaErrorCapturedEvent);
  if (!event->moment || event->moment->reached) return cudaSuccess;
  return told(streams.count(event->moment->stream) ? drain(event->moment->stream) : cudaSuccess);
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  std::lock_guard lock(mutex);
  if (!from->moment || !to->moment) return told(cudaErrorInvalidResourceHandle);
  if (!from->moment->reached || !to->moment->reached) return told(cudaErrorNotReady);
  *milliseconds = std::chrono::duration<float, std::milli>(to->moment->at - from->moment->at).count();
  return cudaSuccess;
}

cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }
const char* cudaGetErrorString(cudaError_t e) {
  switch (e) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorNoKernelImageForDevice:
      return "no kernel image is available for execution on the device";
    case cudaErrorUnsupportedPtxVersion:
      return "the provided PTX was compiled with an unsupported toolchain.";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorIllegalAddress:
      return "an illegal memory access was encountered";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
    default:
      return "emulated CUDA error";
  }
}
