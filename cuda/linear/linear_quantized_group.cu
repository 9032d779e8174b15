// linear_quantized_group and its backward: products of one x with several quantised weights. Forward they are one launch for few rows (skinny.cu),
// else the products of each by itself; backward the gradients of all branches are one launch, and dx is a product after the other.
#include <algorithm>
#include <span>

#include "linear/path.cuh"
#include "linear/quantized_group.cuh"
#include "linear/together.cuh"
#include "ops.h"

namespace anymal::cuda {
namespace {

// Branch of weight i, or -1.
int64_t branch_of_weight(const Numbers& of, int64_t i) {
  for (int64_t j = 0; j < of.count; ++j)
    if (static_cast<int64_t>(of.items[j]) == i) return j;
  return -1;
}
View item(const InList& list, int64_t i) { return i < list.count ? list.items[i] : View{}; }
View item(const AccList& list, int64_t i) { return i < list.count ? list.items[i] : View{}; }

// u (N,r) of a branch, of which those before it have so many ranks together.
View part_of_u(const View& u, int64_t N, int64_t before, int64_t r) {
  View v;
  v.data = u.as<char>() + N * before * static_cast<int64_t>(dtype_bytes(u.dtype));
  v.dtype = u.dtype;
  v.rank = 2;
  v.shape[0] = N;
  v.shape[1] = r;
  return v;
}

}  // namespace

namespace gemm {
namespace {

// Does one launch of skinny.cu make them all?
bool for_few_rows(const Stream& s, const View& x, const Member* of, int count) {
  return x.rows() > 0 && of[0].w.format != QuantFormat::int8 && counters_suffice(s, of, count) &&
         std::all_of(of, of + count, [&](const Member& m) { return m.w.out_features > 0 && path_of(s, Pass::forward, x, m.w) == Path::skinny; });
}

}  // namespace
}  // namespace gemm

void linear_quantized_group(Stream& s, OutList y, OutOpt u, In x, InList codes, InList absmax, InList nested_absmax, InList nested_offset,
                            InList biases, InList lora_a, InList lora_b, Numbers out_features, Numbers of, Numbers scaling, Numbers offset,
                            QuantFormat format, int64_t block, double threshold, double dropout, int64_t seed) {
  Scratch scratch(s);
  const int count = static_cast<int>(y.count);
  gemm::Member members[gemm::kMostWeights];
  int64_t ranks = 0;
  for (int i = 0; i < count; ++i) {
    auto& [to, w, bias, lora] = members[i];
    to = y.items[i];
    bias = item(biases, i);
    w = {In{codes.items[i]},
         In{absmax.items[i]},
         InOpt{item(nested_absmax, i)},
         InOpt{item(nested_offset, i)},
         format,
         block,
         static_cast<int64_t>(out_features.items[i]),
         x.cols()};
    if (const int64_t j = branch_of_weight(of, i); j >= 0) {
      const int64_t r = lora_a.items[j].dim(0);
      lora = {part_of_u(u, x.rows(), ranks, r),
              lora_a.items[j].data,
              lora_b.items[j].data,
              r,
              static_cast<float>(scaling.items[j]),
              gemm::dropout_of(dropout, seed, static_cast<int64_t>(offset.items[j]))};
      ranks += r;
    }
  }
  if (gemm::for_few_rows(s, x, members, count)) return gemm::skinny(s, scratch, x, members, count);
  for (const auto& [to, w, bias, lora] : std::span(members, static_cast<size_t>(count))) gemm::quantized(s, scratch, to, x, w, bias, threshold, lora);
}

void linear_quantized_group_backward(Stream& s, OutOpt dx, AccList da, AccList db, InList dy, InOpt x, InOpt u, InList codes, InList absmax,
                                     InList nested_absmax, InList nested_offset, InList lora_a, InList lora_b, Numbers of, Numbers scaling,
                                     Numbers offset, QuantFormat format, int64_t block, int64_t in_features, double dropout, int64_t seed) {
  Scratch scratch(s);
  const int64_t N = dy.items[0].rows();
  gemm::BranchBackward branches[gemm::kMostWeights];
  int64_t ranks = 0;
  for (int64_t j = 0; j < of.count; ++j) {
    const int64_t r = lora_a.items[j].dim(0);
    branches[j] = {dy.items[static_cast<int64_t>(of.items[j])],
                   part_of_u(u, N, ranks, r),
                   lora_a.items[j],
                   lora_b.items[j],
                   item(da, j),
                   item(db, j),
                   static_cast<float>(scaling.items[j]),
                   gemm::dropout_of(dropout, seed, static_cast<int64_t>(offset.items[j]))};
    ranks += r;
  }
  if (of.count > 0) gemm::lora_gradients(s, scratch, x, branches, static_cast<int>(of.count));
  if (!dx) return;
  // Those of the others are added to the first one's in f32, each as soon as it is there.
  View sum = dx, next = dx;
  sum.dtype = next.dtype = DType::f32;
  if (dx.dtype == DType::bf16) sum.data = scratch.take<float>(dx.size());
  if (dy.count > 1) next.data = scratch.take<float>(dx.size());
  for (int64_t i = 0; i < dy.count; ++i) {
    const gemm::Quantized w{In{codes.items[i]}, In{absmax.items[i]}, InOpt{item(nested_absmax, i)}, InOpt{item(nested_offset, i)}, format, block,
                            dy.items[i].cols(), in_features};
    gemm::LoraBackward lora;
    if (const int64_t j = branch_of_weight(of, i); j >= 0) lora = {branches[j].t.data, branches[j].a.data, branches[j].a.dim(0), branches[j].dropout};
    gemm::quantized_dx(s, scratch, i == 0 ? sum : next, dy.items[i], w, lora);
    if (i > 0) accumulate(s, InOut{sum}, In{next}, 1);
  }
  if (dx.dtype == DType::bf16) cast(s, Out{static_cast<const View&>(dx)}, In{sum});
}

}  // namespace anymal::cuda
