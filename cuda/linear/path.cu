// Which kernels make a product with a quantised weight: what each path can take, what a bench measured, and what is computed where nothing was.
#include <cstdlib>
#include <cstring>

#include "linear/hopper_path.cuh"
#include "linear/path.cuh"
#include "linear/path_names.cuh"
#include "linear/path_table.cuh"

namespace anymal::cuda::gemm {
namespace {

// Until a card has run them, products on wgmma are asked for.
bool wgmma_asked_for() {
  static const bool asked = [] {
    const char* value = std::getenv("ANYMAL_CUDA_WGMMA");
    return value && std::strcmp(value, "1") == 0;
  }();
  return asked;
}

bool serves(const Stream& s, Path path, Pass pass, const View& x, const Quantized& w) {
  if (path == Path::tiles) return true;
  if (path == Path::hopper) return hopper_serves(s, pass, x, w);
  const bool eight = w.format == QuantFormat::int8;
  if (!eight && (w.in_features % 64 || w.block < 64)) return false;  // a block's maximum is that of 64 inputs of one row
  if (!address_divides(w.codes.data, 16)) return false;              // sixteen bytes at once
  // A counter for each sixteen outputs or 256 inputs of a block, behind those of LoRA's branch.
  const int64_t M = x.rows(), blocks = pass == Pass::dx ? (w.in_features + 255) / 256 : (w.out_features + 15) / 16;
  const int64_t counters = s.counters_in_all() - kPieceCounters;
  if (path == Path::skinny) return M <= 16 && blocks <= counters;
  // f32 takes six products for one: tiles reuse what they have split. x comes by cp.async, in chunks of eight.
  return !eight && x.dtype == DType::bf16 && address_divides(x.data, 16) && x.cols() % 8 == 0 && blocks * ((M + 31) / 32) <= counters;
}

// Computed, not measured, in rows of x. Up to sixteen a product waits for W alone. Beyond, panels: for 64 rows, 128 outputs and 128 inputs their
// warps issue 760 instructions each, 128 of them mma.sync, where tiles issue 2500; an A100's tensor cores are done in 1024 cycles. So a weight that
// is decoded once, into a slab that stays in L2, ends no sooner: dense tiles wait for the same tensor cores, read 32 KiB from L2 where panels read
// 24, and the slab is to be written first. Nor before wgmma, whose blocks read 48 KiB for a step then, and 36 now.
Path computed(const Stream& s, int64_t rows) {
  if (rows > 256 && s.wgmma && wgmma_asked_for()) return Path::hopper;
  return rows <= 16 ? Path::skinny : Path::panels;
}

}  // namespace

Path path_of(const Stream& s, Pass pass, const View& x, const Quantized& w) {
  if (s.path >= 0) {
    const Path asked = static_cast<Path>(s.path);
    if (serves(s, asked, pass, x, w)) return asked;
    throw std::runtime_error(std::string("the path \"") + kPathNames[s.path] + "\", which this device was opened with, does not make a product of " +
                             std::to_string(x.rows()) + " rows with this weight on this card");
  }
  Path chosen = computed(s, x.rows());
  if (s.capability == kMeasuredCapability && s.multiprocessors == kMeasuredProcessors) {
    const int i = nearest(kMeasured.data(), kMeasured.size(), pass, w.format, w.out_features, w.in_features, x.rows());
    if (i >= 0) chosen = kMeasured[static_cast<size_t>(i)].path;
  }
  return serves(s, chosen, pass, x, w) ? chosen : Path::tiles;
}

}  // namespace anymal::cuda::gemm
