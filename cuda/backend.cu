// The backend table, the module's one exported symbol, and the entries that concern the device: choice, memory, transfers, graphs.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>

#include "common.cuh"

namespace anymal {
namespace cuda {

void check(cudaError_t error, const char* doing) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // it is told here; the next call shall not tell it again
  if (error == cudaErrorMemoryAllocation) throw std::bad_alloc();
  throw std::runtime_error(std::string(doing) + ": " + cudaGetErrorString(error));
}

namespace {

std::string version(int v) { return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10); }

int device_count() {
  int count = 0, driver = 0, runtime = 0;
  const cudaError_t e = cudaGetDeviceCount(&count);
  cudaGetLastError();
  if (e == cudaErrorInsufficientDriver) {
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0) throw std::runtime_error("no NVIDIA driver is installed here (libcuda.so was not found)");
    throw std::runtime_error("the NVIDIA driver is for CUDA " + version(driver) + ", this build needs one for CUDA " + version(runtime) +
                             ": update the driver");
  }
  if (e == cudaErrorNoDevice || (e == cudaSuccess && count == 0))
    throw std::runtime_error("the NVIDIA driver sees no card (is CUDA_VISIBLE_DEVICES empty?)");
  check(e, "asking for CUDA devices");
  return count;
}

int index_named(const char* options) {
  const char* at = std::strstr(options, "index=");
  if (!at) return 0;
  char* end;
  const long index = std::strtol(at + 6, &end, 10);
  const int count = device_count();
  if (end == at + 6 || (*end && *end != ';') || index < 0 || index >= count)
    throw std::runtime_error("expected an index from 0 to " + std::to_string(count - 1) + ", got \"" + std::string(at + 6) + "\"");
  return static_cast<int>(index);
}

const char* fault_name(int32_t kind) {
  switch (kind) {
    case Fault::row_index:
      return "row index";
    case Fault::splice_index:
      return "splice index";
    case Fault::token:
      return "token id";
    case Fault::target:
      return "target";
    case Fault::position:
      return "position";
    default:
      return "pool index";
  }
}

}  // namespace
}  // namespace cuda

using cuda::check;

Stream::Stream(int i) : index(i) {
  cudaDeviceProp p;
  check(cudaSetDevice(index), "choosing the card");
  check(cudaGetDeviceProperties(&p, index), "asking for the card's properties");
  if (p.major < 8)
    throw std::runtime_error(std::string(p.name) + " has compute capability " + std::to_string(p.major) + "." + std::to_string(p.minor) +
                             ": 8.0 (Ampere) or newer is needed");
  multiprocessors = p.multiProcessorCount;
  shared_limit = p.sharedMemPerBlockOptin;
  int driver = 0;
  check(cudaDriverGetVersion(&driver), "asking for the driver's version");
  description = "cuda: " + std::string(p.name) + ", " + std::to_string(p.totalGlobalMem >> 20) + " MiB, compute capability " +
                std::to_string(p.major) + "." + std::to_string(p.minor) + ", driver for CUDA " + cuda::version(driver);
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "opening a stream");
  check(cudaHostAlloc(&fault, sizeof(cuda::Fault), cudaHostAllocMapped), "allocating pinned memory");
  std::memset(static_cast<void*>(fault), 0, sizeof *fault);
  for (Staging& s : staging) {
    check(cudaHostAlloc(&s.data, kStagingBytes, cudaHostAllocDefault), "allocating pinned memory");
    check(cudaEventCreateWithFlags(&s.done, cudaEventDisableTiming), "making an event");
    check(cudaEventRecord(s.done, stream), "recording an event");
  }
}

Stream::~Stream() {
  cudaStreamSynchronize(stream);
  for (Staging& s : staging) {
    if (s.done) cudaEventDestroy(s.done);
    if (s.data) cudaFreeHost(s.data);
  }
  for (Block& b : scratch_) cudaFree(b.data);
  if (fault) cudaFreeHost(fault);
  if (stream) cudaStreamDestroy(stream);
}

void* Stream::take_scratch(size_t bytes) {
  bytes = (bytes + 255) / 256 * 256;
  for (Block& b : scratch_)
    if (b.bytes - b.used >= bytes) {
      b.used += bytes;
      return b.data + b.used - bytes;
    }
  const size_t size = std::max(bytes, scratch_.empty() ? size_t{1} << 20 : 2 * scratch_.back().bytes);
  Block b{nullptr, size, bytes};
  check(cudaMalloc(&b.data, size), "allocating scratch memory");
  scratch_.push_back(b);
  return b.data;
}

void Stream::wait() {
  check(cudaStreamSynchronize(stream), "waiting for the card");
  if (!fault->taken) return;
  const cuda::Fault f = *fault;
  std::memset(static_cast<void*>(fault), 0, sizeof *fault);
  char text[160];
  std::snprintf(text, sizeof text, "%s %lld at position %lld is outside [%lld, %lld)", cuda::fault_name(f.kind), static_cast<long long>(f.got),
                static_cast<long long>(f.at), static_cast<long long>(f.low), static_cast<long long>(f.high));
  throw std::out_of_range(text);
}

namespace cuda {
namespace {

Stream* stream_create(const char* options) {
  device_count();
  return new Stream(index_named(options));
}
void stream_destroy(Stream* s) { delete s; }
void synchronize(Stream& s) { s.wait(); }
const char* describe(Stream& s) { return s.description.c_str(); }
void* allocate(Stream&, size_t bytes) {
  void* data = nullptr;
  check(cudaMalloc(&data, bytes ? bytes : 1), "allocating memory");
  return data;
}
void release(Stream& s, void* data) {
  check(cudaStreamSynchronize(s.stream), "waiting for the card");
  check(cudaFree(data), "freeing memory");
}

// Through pinned memory in pieces: the card reads one while the host fills the other. The source may go when this returns.
void copy_from_host(Stream& s, void* dst, const void* src, size_t bytes) {
  for (size_t at = 0, piece = 0; at < bytes; ++piece) {
    const size_t n = std::min(Stream::kStagingBytes, bytes - at);
    Stream::Staging& stage = s.staging[piece % 2];
    check(cudaEventSynchronize(stage.done), "copying to the card");
    std::memcpy(stage.data, static_cast<const char*>(src) + at, n);
    check(cudaMemcpyAsync(static_cast<char*>(dst) + at, stage.data, n, cudaMemcpyHostToDevice, s.stream), "copying to the card");
    check(cudaEventRecord(stage.done, s.stream), "copying to the card");
    at += n;
  }
}

void copy_to_host(Stream& s, void* dst, const void* src, size_t bytes) {
  size_t pending = 0;  // bytes that lie in the other stage
  char* to = static_cast<char*>(dst);
  for (size_t at = 0, piece = 0; at < bytes || pending; ++piece) {
    Stream::Staging& stage = s.staging[piece % 2];
    const size_t n = std::min(Stream::kStagingBytes, bytes - at);
    if (n) {
      check(cudaMemcpyAsync(stage.data, static_cast<const char*>(src) + at, n, cudaMemcpyDeviceToHost, s.stream), "copying from the card");
      check(cudaEventRecord(stage.done, s.stream), "copying from the card");
    }
    if (pending) {
      Stream::Staging& other = s.staging[1 - piece % 2];
      check(cudaEventSynchronize(other.done), "copying from the card");
      std::memcpy(to, other.data, pending);
      to += pending;
    }
    pending = n;
    at += n;
  }
  s.wait();  // what kernels found wrong is told with what they computed
}

void capture_begin(Stream& s) { check(cudaStreamBeginCapture(s.stream, cudaStreamCaptureModeRelaxed), "beginning a capture"); }
void* capture_end(Stream& s) {
  cudaGraph_t graph = nullptr;
  check(cudaStreamEndCapture(s.stream, &graph), "ending a capture");
  cudaGraphExec_t exec = nullptr;
  const cudaError_t e = cudaGraphInstantiate(&exec, graph);
  cudaGraphDestroy(graph);
  check(e, "making a graph of a capture");
  return exec;
}
void capture_replay(Stream& s, void* graph) { check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), s.stream), "replaying a capture"); }
void capture_destroy(Stream& s, void* graph) {
  check(cudaStreamSynchronize(s.stream), "waiting for the card");
  check(cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)), "freeing a graph");
}

Backend make_table() {
  Backend b{};
  b.version = kBackendVersion;
#ifdef GPU_EMU
  b.name = "emulated";
#else
  b.name = "cuda";
#endif
  b.stream_create = stream_create;
  b.stream_destroy = stream_destroy;
  b.synchronize = synchronize;
  b.describe = describe;
  b.allocate = allocate;
  b.release = release;
  b.copy_from_host = copy_from_host;
  b.copy_to_host = copy_to_host;
  b.measure_peak = measure_peak;
  b.capture_begin = capture_begin;
  b.capture_end = capture_end;
  b.capture_replay = capture_replay;
  b.capture_destroy = capture_destroy;
#define OP(name) b.name = name;
#include "ops.def"
  b.packed_bytes = packed_bytes;
  return b;
}

}  // namespace
}  // namespace cuda
}  // namespace anymal

// The module's one exported symbol. A loader of another version gets the table too, sees its version and refuses.
extern "C" __attribute__((visibility("default"))) const anymal::Backend* anymal_backend_cuda(uint32_t) {
  static const anymal::Backend table = anymal::cuda::make_table();
  return &table;
}
