// The first kernel of a card: does what this module was compiled to run there at all, and is it Hopper's own code? A driver that is too old, or a
// card that nobody compiled for, shows here and not in the middle of a training.
#include "common.cuh"
#include "hopper.cuh"
#include "probe.h"
#include "version.h"

namespace anymal::cuda {
namespace {

__global__ void probe_kernel(int32_t* hopper) {
  if (threadIdx.x == 0) *hopper = ANYMAL_HOPPER;
}

// What to do about a kernel that cannot be had; null: it is something else.
const char* remedy(cudaError_t e) {
  switch (e) {
    case cudaErrorNoKernelImageForDevice:
      return "this module was compiled for other cards: build it for this one (npm run build:cuda, where CUDA's compiler is)";
    case cudaErrorInvalidPtx:
    case cudaErrorUnsupportedPtxVersion:
      return "the driver is older than the compiler of this module, and no code in it was made for this card: update the driver, or build the module "
             "with the CUDA that the driver is for (npm run build:cuda)";
    case cudaErrorJitCompilerNotFound:
      return "the driver's compiler is missing (libnvidia-ptxjitcompiler.so): install the whole driver, or build the module for this card (npm run "
             "build:cuda)";
    default:
      return nullptr;
  }
}

}  // namespace

bool probe(Stream& s) {
  int32_t* hopper = reinterpret_cast<int32_t*>(s.counters);  // left at 0
  const cudaError_t e = Launch<probe_kernel>::run(1, 32, 0, s.stream, hopper);
  if (const char* what = remedy(e)) {
    cudaGetLastError();
    throw std::runtime_error(s.description + ": " + cudaGetErrorString(e) + "; " + what);
  }
  check(e, "launching the first kernel");
  int32_t found = 0;
  check(cudaMemcpyAsync(&found, hopper, sizeof found, cudaMemcpyDeviceToHost, s.stream), "reading what the first kernel wrote");
  check(cudaMemsetAsync(hopper, 0, sizeof found, s.stream), "clearing counters");
  check(cudaStreamSynchronize(s.stream), "running the first kernel");
  return found != 0;
}

}  // namespace anymal::cuda
