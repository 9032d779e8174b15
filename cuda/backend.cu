// The backend table, the module's one exported symbol, and the entries that concern the device: choice, memory, transfers, graphs.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "common.cuh"
#include "linear/path_names.cuh"
#include "version.h"

namespace anymal {
namespace cuda {
namespace {

int device_count() {
  int count = 0, driver = 0, runtime = 0;
  const cudaError_t e = cudaGetDeviceCount(&count);
  cudaGetLastError();
  if (e == cudaErrorInsufficientDriver) {
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0) throw std::runtime_error("no NVIDIA driver is installed here (libcuda.so was not found)");
    // Within one major number any driver will do; across them none of an older one, but for the package of forward compatibility.
    throw std::runtime_error("the NVIDIA driver is for CUDA " + version(driver) + ", this build needs one for CUDA " +
                             std::to_string(runtime / 1000) + ".0 or newer: update the driver; or build the module with nvcc of CUDA " +
                             std::to_string(driver / 1000) + " (npm run build:cuda); or, on a data-centre card, install the package cuda-compat-" +
                             std::to_string(runtime / 1000) + "-0 and put its folder into LD_LIBRARY_PATH");
  }
  if (e == cudaErrorNoDevice || (e == cudaSuccess && count == 0))
    throw std::runtime_error("the NVIDIA driver sees no card (is CUDA_VISIBLE_DEVICES empty?)");
  check(e, "asking for CUDA devices");
  return count;
}

// The number behind `key` ("index=") in "key=value;key=value", `otherwise` where it is not there.
int number_named(const char* options, const char* key, const char* what, int otherwise, int low, int high) {
  const char* at = std::strstr(options, key);
  if (!at) return otherwise;
  at += std::strlen(key);
  char* end;
  const long value = std::strtol(at, &end, 10);
  if (end == at || (*end && *end != ';') || value < low || value > high)
    throw std::runtime_error(std::string("expected ") + what + " from " + std::to_string(low) + " to " + std::to_string(high) + ", got \"" + at +
                             "\"");
  return static_cast<int>(value);
}

// The number of the kernels named behind "path=", -1 where nothing is.
int path_named(const char* options) {
  const char* at = std::strstr(options, "path=");
  if (!at) return -1;
  const std::string name(at + 5, std::strcspn(at + 5, ";"));
  std::string known;
  for (size_t i = 0; i < std::size(kPathNames); ++i) {
    if (name == kPathNames[i]) return static_cast<int>(i);
    known += (i ? ", " : "") + std::string(kPathNames[i]);
  }
  throw std::runtime_error("expected a path of " + known + ", got \"" + name + "\"");
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

// The stream that this thread has waited for and given nothing to do since: of many buffers that are given back in a row the first waits.
thread_local const Stream* waited_for = nullptr;

// Of every entry that may give the stream something to do.
void begin(Stream& s) {
  s.enter();
  waited_for = nullptr;
}

// Options: index=N, which card; processors=N, for how many multiprocessors kernels are chosen, so that tests reach all of them on any card;
// path=NAME, kernels that all products with quantised weights must take.
Stream* stream_create(const char* options) {
  const int count = device_count();
  const int index = number_named(options, "index=", "an index", 0, 0, count - 1);
  const int path = path_named(options), processors = number_named(options, "processors=", "a number of processors", 0, 1, 4096);
  auto* s = new Stream(index, processors);
  s->path = path;
  return s;
}
void stream_destroy(Stream* s) {
  waited_for = nullptr;
  delete s;
}
void account_scratch(Stream& s, ScratchAccount* account) { s.account_scratch(account); }
void synchronize(Stream& s) { s.wait(); }
void issue(Stream& s, int64_t command) { s.fault.command = command; }
int64_t faults(Stream& s, DeferredFault* to, int64_t most) {
  Faults& all = *s.fault.to;
  int64_t n = 0;
  for (Fault& f : all.slots) {
    if (!f.owner || n == most) continue;
    to[n].command = f.command;
    std::snprintf(to[n].message, sizeof to[n].message, "%s %lld at position %lld is outside [%lld, %lld)", fault_name(f.kind),
                  static_cast<long long>(f.got), static_cast<long long>(f.at), static_cast<long long>(f.low), static_cast<long long>(f.high));
    f = Fault{};
    ++n;
  }
  if (all.lost && n < most) {
    to[n].command = 0;
    std::snprintf(to[n].message, sizeof to[n].message, "an index out of range, among more of them than are kept");
    all.lost = 0;
    ++n;
  }
  return n;
}
const char* describe(Stream& s) { return s.description.c_str(); }
void* allocate(Stream& s, size_t bytes) {
  void* data = nullptr;
  s.enter();
  check(cudaMalloc(&data, bytes ? bytes : 1), "allocating memory");
  return data;
}
// Never throws: whoever gives memory back does so on the way out of something else. After a card's failure (an illegal address) every call fails;
// that is told by the ops and reads that follow, not here.
void release(Stream& s, void* data) {
  s.enter();
  if (!s.capturing && waited_for != &s) {
    s.settle();  // cudaFree waits too, but does not promise to
    waited_for = &s;
  }
  s.warn(cudaFree(data), "freeing memory");
}

void copy_from_host(Stream& s, void* dst, const void* src, size_t bytes) {
  begin(s);
  s.upload(dst, src, bytes);
}

void copy_to_host(Stream& s, void* dst, const void* src, size_t bytes) {
  begin(s);
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
  s.wait();
}

void capture_begin(Stream& s) {
  begin(s);
  check(cudaStreamBeginCapture(s.stream, cudaStreamCaptureModeRelaxed), "beginning a capture");
  s.capturing = true;
  ++s.graphs;
}
// When it throws, the stream captures no longer and there is no graph.
void* capture_end(Stream& s) {
  s.enter();
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(s.stream, &graph);
  const cudaError_t made = ended == cudaSuccess ? cudaGraphInstantiate(&exec, graph) : ended;
  if (graph) cudaGraphDestroy(graph);
  s.capturing = false;
  if (made != cudaSuccess) --s.graphs;
  check(ended, "ending a capture");
  check(made, "making a graph of a capture");
  return exec;
}
void capture_replay(Stream& s, void* graph) {
  begin(s);
  check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), s.stream), "replaying a capture");
}
void capture_destroy(Stream& s, void* graph) {
  s.enter();
  if (!s.capturing) s.settle();
  s.warn(cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)), "freeing a graph");
  --s.graphs;
}

// What the table holds for an op: the op on its card, with its scratch there before it changes anything. An op that adds to a tensor is rehearsed
// at each call, because having run by half it could not be called again; others when they find too little.
template <auto Op>
struct Entry;
template <class R, class... A, R (*Op)(Stream&, A...)>
struct Entry<Op> {
  static R run(Stream& s, A... args) {
    begin(s);
    struct End {
      ~End() { waited_for = nullptr; }  // it may have launched after it gave memory back
    } end;
    const auto op = [&] { return Op(s, args...); };
    if constexpr (((std::is_same_v<A, Acc> || std::is_same_v<A, AccList>) || ...)) s.reserve(op);
    try {
      return op();
    } catch (const ScratchLacks&) {
    }
    s.reserve(op);
    return op();
  }
};

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
  b.account_scratch = account_scratch;
  b.synchronize = synchronize;
  b.issue = issue;
  b.faults = faults;
  b.describe = describe;
  b.allocate = allocate;
  b.release = release;
  b.copy_from_host = copy_from_host;
  b.copy_to_host = copy_to_host;
  b.measure_peak = Entry<measure_peak>::run;
  b.capture_begin = capture_begin;
  b.capture_end = capture_end;
  b.capture_replay = capture_replay;
  b.capture_destroy = capture_destroy;
#ifdef ANYMAL_SOME_OPS
#define OP(name) \
  if (name) b.name = Entry<name>::run;
#else
#define OP(name) b.name = Entry<name>::run;
#endif
#define CPU_OP(name)
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
