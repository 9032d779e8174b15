// The emulator's host API: memory, copies, streams, events, graphs, and launches from several host threads.
#include <thread>

#include "test_support.h"

namespace {

__global__ void add_one(float* x, int n) {
  for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < static_cast<unsigned>(n); i += gridDim.x * blockDim.x) x[i] += 1;
}
__global__ void multiply(float* x, float by) { x[threadIdx.x] *= by; }
__global__ void write_index(int* x) {
  __syncthreads();
  x[blockIdx.x * blockDim.x + threadIdx.x] = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
}

enum Variant { plain, checked, asan };
constexpr auto kUp = cudaMemcpyHostToDevice;
constexpr auto kDown = cudaMemcpyDeviceToHost;
constexpr auto kAcross = cudaMemcpyDeviceToDevice;
constexpr size_t kMiB = size_t{1} << 20;

cudaStream_t new_stream() {
  cudaStream_t s;
  MUST(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
  return s;
}

void test_memory() {
  cudaDeviceProp card;
  MUST(cudaGetDeviceProperties(&card, 1));
  CHECK(cudaGetDeviceProperties(&card, 2) == cudaErrorInvalidDevice);
  CHECK(cudaSetDevice(2) == cudaErrorInvalidDevice && cudaSetDevice(1) == cudaSuccess);
  MUST(cudaSetDevice(0));
  cudaGetLastError();
  void* p = &card;
  for (const size_t bytes : {card.totalGlobalMem + 1, size_t{1} << 50, ~size_t{0}, ~size_t{0} - 1023})
    CHECK(cudaMalloc(&p, bytes) == cudaErrorMemoryAllocation && p == nullptr);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation && cudaGetLastError() == cudaSuccess);
  CHECK(cudaFree(nullptr) == cudaSuccess);

  // All of the card, and again after it was freed. The checked variant would keep 49 bytes for each.
  for (int round = 0; round < 2 && EMU_VARIANT == plain; ++round) {
    std::vector<void*> all;
    while (cudaMalloc(&p, 256 * kMiB) == cudaSuccess) all.push_back(p);
    CHECK(all.size() == 15);
    for (void* block : all) CHECK(cudaFree(block) == cudaSuccess);
  }
  // What is freed is returned, however often: more in all than the card has; of the other variants, than their quarantine.
  for (int round = 0; round < (EMU_VARIANT == plain ? 80 : 8); ++round) {
    void* block[3];
    for (size_t i = 0; i < 3; ++i) MUST(cudaMalloc(&block[i], (i + 1) * 10 * kMiB + static_cast<size_t>(round)));
    for (const size_t i : {1, 0, 2}) MUST(cudaFree(block[i]));
  }

  char *a, *b, *pinned;
  MUST(cudaMalloc(&a, 1000));
  MUST(cudaMalloc(&b, 1000));
  MUST(cudaHostAlloc(&pinned, 1000, cudaHostAllocDefault));
  CHECK(reinterpret_cast<uintptr_t>(a) % 256 == 0);
  CHECK(cudaFree(a + 1) == cudaErrorInvalidValue && cudaFree(pinned) == cudaErrorInvalidValue && cudaFreeHost(a) == cudaErrorInvalidValue);
  CHECK(cudaFree(a) == cudaSuccess && cudaFree(a) == cudaErrorInvalidValue);
  CHECK(cudaFree(b) == cudaSuccess && cudaFreeHost(pinned) == cudaSuccess);
}

void test_copies() {
  char *a, *b, *pinned;
  std::vector<char> host(1000, 7), back(1000);
  MUST(cudaMalloc(&a, 1000));
  MUST(cudaMalloc(&b, 1000));
  MUST(cudaHostAlloc(&pinned, 1000, cudaHostAllocDefault));
  const cudaStream_t s = new_stream();
  const auto copy = [&](void* d, const void* from, size_t n, cudaMemcpyKind kind) { return cudaMemcpyAsync(d, from, n, kind, s); };
  CHECK(copy(a, host.data(), 1000, kUp) == cudaSuccess);
  CHECK(copy(b + 3, a + 1, 997, kAcross) == cudaSuccess);
  CHECK(cudaMemsetAsync(b, 5, 3, s) == cudaSuccess);
  CHECK(copy(pinned, b, 1000, kDown) == cudaSuccess);
  CHECK(cudaStreamSynchronize(s) == cudaSuccess);
  CHECK(pinned[0] == 5 && pinned[2] == 5 && pinned[3] == 7 && pinned[999] == 7);
  CHECK(copy(back.data(), pinned, 1000, cudaMemcpyDefault) == cudaSuccess && back[2] == 5 && back[3] == 7);

  CHECK(copy(a, host.data(), 0, kUp) == cudaSuccess);
  CHECK(copy(a + 1, host.data(), 1000, kUp) == cudaErrorInvalidValue);  // beyond the end
  CHECK(copy(a - 1, host.data(), 10, kUp) == cudaErrorInvalidValue);
  CHECK(copy(a, b, static_cast<size_t>(b - a), kAcross) == cudaErrorInvalidValue);  // from one allocation into the next
  CHECK(copy(a, host.data(), 10, kDown) == cudaErrorInvalidValue);                  // the wrong way
  CHECK(copy(host.data(), a, 10, kUp) == cudaErrorInvalidValue);
  CHECK(copy(a, host.data(), 10, kAcross) == cudaErrorInvalidValue);
  CHECK(cudaMemsetAsync(a + 1, 0, 1000, s) == cudaErrorInvalidValue);
  CHECK(cudaMemsetAsync(host.data(), 0, 10, s) == cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaErrorInvalidValue);
  MUST(cudaFree(b));
  CHECK(copy(b, a, 10, kAcross) == cudaErrorInvalidValue);
  MUST(cudaFree(a));
  MUST(cudaFreeHost(pinned));
  MUST(cudaStreamDestroy(s));
}

void test_launches() {
  const cudaStream_t s = new_stream();
  Device<float> x(std::vector<float>(64, 1.0f));
  float* p = x;
  CHECK(launch_on<multiply>(s, 1, 1025, p, 1.0f) == cudaErrorInvalidConfiguration);
  CHECK(launch_on<multiply>(s, dim3(1, 65536), 32, p, 1.0f) == cudaErrorInvalidConfiguration);
  CHECK(launch_on<multiply>(s, 0, 32, p, 1.0f) == cudaErrorInvalidConfiguration);
  // Beyond 48 KiB a kernel must be allowed its shared memory first.
  const void* kernel = anymal::cuda::Launch<multiply>::address();
  const auto allow = [&](int bytes) { return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes); };
  CHECK((anymal::cuda::Launch<multiply>::run(1, 32, 48 * 1024 + 1, s, p, 1.0f)) == cudaErrorInvalidValue);
  CHECK(allow(99 * 1024 + 1) == cudaErrorInvalidValue);
  CHECK(allow(99 * 1024) == cudaSuccess);
  CHECK((anymal::cuda::Launch<multiply>::run(1, 32, 99 * 1024 + 1, s, p, 1.0f)) == cudaErrorInvalidValue);
  CHECK((anymal::cuda::Launch<multiply>::run(1, 32, 99 * 1024, s, p, 2.0f)) == cudaSuccess);
  MUST(cudaStreamSynchronize(s));
  CHECK(x.get()[31] == 2 && x.get()[32] == 1);
  // A stream belongs to the card on which it was made; the current card belongs to the thread, and is the first in a new one.
  MUST(cudaSetDevice(1));
  CHECK(launch_on<multiply>(s, 1, 32, p, 1.0f) == cudaErrorInvalidResourceHandle);
  MUST(cudaSetDevice(0));
  CHECK(launch_on<multiply>(s, 1, 32, p, 1.0f) == cudaSuccess);
  MUST(cudaStreamSynchronize(s));
  MUST(cudaStreamDestroy(s));
  cudaGetLastError();
}

void test_streams_and_events() {
  const cudaStream_t s = new_stream();
  cudaEvent_t before, after;
  MUST(cudaEventCreateWithFlags(&before, 0));
  MUST(cudaEventCreateWithFlags(&after, 0));
  float milliseconds = -1;
  CHECK(cudaEventSynchronize(after) == cudaSuccess);  // never recorded
  CHECK(cudaEventElapsedTime(&milliseconds, before, after) == cudaErrorInvalidResourceHandle);
  float *x, *pinned;
  MUST(cudaMalloc(&x, 4));
  MUST(cudaHostAlloc(&pinned, 4, cudaHostAllocDefault));
  for (int round = 1; round <= 20; ++round) {  // whatever is held back, order holds
    MUST(cudaEventRecord(before, s));
    MUST(cudaMemsetAsync(x, 0, 4, s));
    for (int i = 0; i < round; ++i) MUST(launch_on<add_one>(s, 1, 32, x, 1));
    MUST(cudaMemcpyAsync(pinned, x, 4, kDown, s));
    MUST(cudaEventRecord(after, s));
    MUST(cudaEventSynchronize(after));
    CHECK(*pinned == static_cast<float>(round));
    CHECK(cudaEventElapsedTime(&milliseconds, before, after) == cudaSuccess && milliseconds >= 0);
  }
  MUST(cudaEventRecord(after, s));
  MUST(cudaEventDestroy(after));  // before it is reached
  MUST(cudaEventDestroy(before));
  MUST(cudaStreamSynchronize(s));
  MUST(cudaStreamDestroy(s));
  MUST(cudaFree(x));
  MUST(cudaFreeHost(pinned));
}

void test_graphs() {
  const cudaStream_t s = new_stream();
  float *x, *y, *pinned;
  MUST(cudaMalloc(&x, 128));
  MUST(cudaMalloc(&y, 128));
  MUST(cudaHostAlloc(&pinned, 128, cudaHostAllocDefault));
  MUST(cudaMemsetAsync(x, 0, 128, s));
  MUST(cudaStreamSynchronize(s));
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  MUST(cudaStreamBeginCapture(s, cudaStreamCaptureModeRelaxed));
  CHECK(cudaStreamBeginCapture(s, cudaStreamCaptureModeRelaxed) != cudaSuccess);
  {
    float factor = 2;  // arguments are taken when the launch is captured
    MUST(launch_on<add_one>(s, 1, 32, x, 32));
    MUST(launch_on<multiply>(s, 1, 32, x, factor));
    factor = 100;
    MUST(cudaMemcpyAsync(y, x, 128, kAcross, s));
    MUST(cudaMemsetAsync(y + 1, 0, 4, s));
    MUST(launch_on<add_one>(s, 1, 32, y, 32));
    MUST(cudaMemcpyAsync(pinned, y, 128, kDown, s));
  }
  MUST(cudaStreamEndCapture(s, &graph));
  MUST(cudaGraphInstantiate(&exec, graph));
  MUST(cudaGraphDestroy(graph));
  std::vector<float> host(32);
  MUST(cudaMemcpyAsync(host.data(), x, 128, kDown, s));
  CHECK(host[0] == 0);  // capturing ran nothing
  float want = 0;
  for (int round = 0; round < 4; ++round) {
    MUST(cudaGraphLaunch(exec, s));
    want = (want + 1) * 2;
    if (round == 1) continue;  // two launches without a wait between
    MUST(cudaStreamSynchronize(s));
    CHECK(pinned[0] == want + 1 && pinned[1] == 1 && pinned[31] == want + 1);
  }
  MUST(cudaGraphExecDestroy(exec));

  // Waiting breaks a capture, and the end of the capture says so.
  MUST(cudaStreamBeginCapture(s, cudaStreamCaptureModeRelaxed));
  CHECK(cudaStreamSynchronize(s) == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaStreamEndCapture(s, &graph) == cudaErrorStreamCaptureInvalidated && graph == nullptr);
  CHECK(cudaStreamEndCapture(s, &graph) != cudaSuccess);
  // A graph that outlives its memory.
  MUST(cudaStreamBeginCapture(s, cudaStreamCaptureModeRelaxed));
  MUST(cudaMemsetAsync(y, 0, 128, s));
  MUST(cudaStreamEndCapture(s, &graph));
  MUST(cudaGraphInstantiate(&exec, graph));
  MUST(cudaGraphDestroy(graph));
  MUST(cudaFree(y));
  const cudaError_t launched = cudaGraphLaunch(exec, s), waited = cudaStreamSynchronize(s);
  CHECK(launched == cudaErrorIllegalAddress || waited == cudaErrorIllegalAddress);
  MUST(cudaGraphExecDestroy(exec));
  cudaGetLastError();
  MUST(cudaStreamDestroy(s));
  MUST(cudaFree(x));
  MUST(cudaFreeHost(pinned));
}

// A device's queue launches from a thread of its own; a process may have several, and none may take another's fibers or memory for its own.
void test_threads() {
  std::vector<std::thread> queues;
  std::vector<int> wrong(4, 0);
  for (size_t q = 0; q < 4; ++q)
    queues.emplace_back([q, &wrong] {
      MUST(cudaSetDevice(static_cast<int>(q % 2)));
      const cudaStream_t s = new_stream();
      for (int round = 0; round < 20; ++round) {
        constexpr size_t kCount = 512;
        int* x;
        MUST(cudaMalloc(&x, kCount * sizeof(int)));
        MUST(launch_on<write_index>(s, 4, 128, x));
        std::vector<int> host(kCount, -1);
        MUST(cudaMemcpyAsync(host.data(), x, kCount * sizeof(int), kDown, s));
        MUST(cudaStreamSynchronize(s));
        for (size_t i = 0; i < kCount; ++i) wrong[q] += host[i] != static_cast<int>(i);
        MUST(cudaFree(x));
      }
      MUST(cudaStreamDestroy(s));
    });
  for (std::thread& t : queues) t.join();
  for (int w : wrong) CHECK(w == 0);
}

}  // namespace

__attribute__((visibility("default"))) int main() {
  test_memory();
  test_copies();
  test_launches();
  test_streams_and_events();
  test_graphs();
  test_threads();
  return check::finish();
}
