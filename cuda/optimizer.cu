// AdamW (arXiv 1711.05101) over all tensors of an optimiser in one launch, f32 and 8-bit states together; with the gradient's norm and its clipping
// in two. The list of tensors lies in device memory, and so do the 8-bit codes.
#include <map>

#include "grad_norm.cuh"
#include "optimizer_step.cuh"

namespace anymal::cuda {
namespace {

constexpr int kRates = 256;  // of one launch: 3 of the 4 KB that its arguments may have
struct AllRates {
  Rates of[kRates];
};
using StepList = TensorList<StepItem, 2>;  // walked in tiles of the norm, and in those of the step

// Blocks stay for several tiles: the codes are read into shared memory once.
// budget: 64 registers, 27 KiB shared, 0 spills
template <bool Coded>
__global__ void __launch_bounds__(kThreads, 4)
    step_kernel(StepList list, Betas whole, Betas coded, AllRates rates, const float* scale, const uint4* books) {
  const float clip = scale ? *scale : 1.0f;
  if constexpr (Coded) {
    SHARED_ARRAY(StateCodes, codes, [1]);
    for (int i = threadIdx.x; i < static_cast<int>(sizeof(StateCodes) / 16); i += kThreads) reinterpret_cast<uint4*>(codes)[i] = books[i];
    for (uint32_t tile = blockIdx.x; tile < list.tiles[1]; tile += gridDim.x) {
      const int i = tensor_of(list, 1, tile);
      const StepItem t = list.items[i];
      const int64_t at = tile - list.first[1][i];
      if (t.m_absmax) step_tile_coded(codes[0], t, at * kTileCoded, coded, rates.of[t.rates], clip);
      else step_tile(t, at * kTile, whole, rates.of[t.rates], clip);
    }
  } else {
    for (uint32_t tile = blockIdx.x; tile < list.tiles[1]; tile += gridDim.x) {
      const int i = tensor_of(list, 1, tile);
      const StepItem t = list.items[i];
      step_tile(t, (tile - list.first[1][i]) * kTile, whole, rates.of[t.rates], clip);
    }
  }
}

// The tensors of a step and the numbers that some of them share.
class Step {
 public:
  Step(double beta1, double beta2, double eps) : beta1_(beta1), beta2_(beta2), eps_(eps) {}

  void add(const View& p, const View& g, const View& m, const View& v, const View& m_absmax, const View& v_absmax, double lr, double decay,
           int64_t step) {
    if (p.size() == 0) return;
    const bool coded = m_absmax.data != nullptr;
    const auto [at, fresh] = known_.try_emplace({coded, lr, decay, step}, static_cast<int32_t>(rates_.size()));
    if (fresh) rates_.push_back(coded ? rates_coded(lr, decay, step) : rates_whole(lr, decay, step));
    const bool packs = aligned16({p.data, g.data}) &&
                       (coded ? (reinterpret_cast<uintptr_t>(m.data) | reinterpret_cast<uintptr_t>(v.data)) % 4 == 0 : aligned16({m.data, v.data}));
    items_.push_back({p.as<float>(), g.as<float>(), m.data, v.data, m_absmax.as<float>(), v_absmax.as<float>(), p.size(), at->second, packs});
  }

  const std::vector<StepItem>& items() const { return items_; }

  // One launch where tensors have so many rates or fewer. `list`: all of them, where it is there already. All lists are there before the first
  // launch: what finds no memory has changed no tensor.
  void run(Stream& s, const float* scale, const StepList* list, const uint4* books) const {
    std::vector<StepList> lists;
    for (size_t first = 0; first < rates_.size(); first += kRates) lists.push_back(list && rates_.size() <= kRates ? *list : part(s, first));
    for (size_t k = 0; k < lists.size(); ++k) {
      const auto from = rates_.begin() + static_cast<int64_t>(k) * kRates;
      AllRates rates{};
      std::copy_n(from, std::min<int64_t>(kRates, rates_.end() - from), rates.of);
      run(s, scale, lists[k], rates, books);
    }
  }
  StepList to_device(Stream& s, int64_t norm_tile) const { return to_device(s, items_, norm_tile); }
  const uint4* books(Stream& s) const {
    const bool coded = std::any_of(items_.begin(), items_.end(), [](const StepItem& t) { return t.m_absmax; });
    return coded ? reinterpret_cast<const uint4*>(s.table(StateCodes::bytes())) : nullptr;
  }

 private:
  static StepList to_device(Stream& s, const std::vector<StepItem>& items, int64_t norm_tile) {
    return cuda::to_device(
        s, items, [=](const StepItem&) { return norm_tile; }, [](const StepItem& t) { return t.m_absmax ? kTileCoded : kTile; });
  }
  StepList part(Stream& s, size_t first) const {
    std::vector<StepItem> items;
    for (StepItem t : items_) {
      t.rates -= static_cast<int32_t>(first);
      if (t.rates >= 0 && t.rates < kRates) items.push_back(t);
    }
    return to_device(s, items, kTile);
  }
  void run(Stream& s, const float* scale, const StepList& list, const AllRates& rates, const uint4* books) const {
    const float b1 = static_cast<float>(beta1_), b2 = static_cast<float>(beta2_);
    const Betas whole{b1, b2, static_cast<float>(1 - beta1_), static_cast<float>(1 - beta2_), static_cast<float>(eps_)};
    const Betas coded{b1, b2, 1.0f - b1, 1.0f - b2, 0};
    // As many blocks as a card holds at once: 27 KiB of shared memory each, or registers alone.
    const uint32_t most = static_cast<uint32_t>(s.multiprocessors) * (books ? 4 : 8), blocks = std::min(list.tiles[1], most);
    if (books) launch<step_kernel<true>>(s, blocks, kThreads, 0, list, whole, coded, rates, scale, books);
    else launch<step_kernel<false>>(s, blocks, kThreads, 0, list, whole, coded, rates, scale, books);
  }

  Rates rates_whole(double lr, double decay, int64_t step) const {
    const double n = static_cast<double>(step);
    return {static_cast<float>(1 - lr * decay), static_cast<float>(lr / (1 - std::pow(beta1_, n))),
            static_cast<float>(1.0 / std::sqrt(1 - std::pow(beta2_, n)))};
  }
  Rates rates_coded(double lr, double decay, int64_t step) const {
    const float n = static_cast<float>(step), rate = static_cast<float>(lr);
    const float correction1 = 1.0f - std::pow(static_cast<float>(beta1_), n), correction2 = std::sqrt(1.0f - std::pow(static_cast<float>(beta2_), n));
    return {decay > 0 ? 1.0f - rate * static_cast<float>(decay) : 1.0f, -rate * correction2 / correction1, correction2 * static_cast<float>(eps_)};
  }

  double beta1_, beta2_, eps_;
  std::vector<StepItem> items_;
  std::vector<Rates> rates_;
  std::map<std::tuple<bool, double, double, int64_t>, int32_t> known_;
};

void update(Stream& s, const Step& step, const InOpt& scale) { step.run(s, scale.as<float>(), nullptr, step.books(s)); }

}  // namespace

void adamw(Stream& s, InOutList p, InList g, InOutList m, InOutList v, InOpt scale, double lr, double beta1, double beta2, double eps,
           double weight_decay, int64_t step) {
  Step all(beta1, beta2, eps);
  for (int64_t i = 0; i < p.count; ++i) all.add(p.items[i], g.items[i], m.items[i], v.items[i], View{}, View{}, lr, weight_decay, step);
  update(s, all, scale);
}

void adamw_8bit(Stream& s, InOutList p, InList g, InOutList m, InOutList m_absmax, InOutList v, InOutList v_absmax, InOpt scale, double lr,
                double beta1, double beta2, double eps, double weight_decay, int64_t step) {
  Step all(beta1, beta2, eps);
  for (int64_t i = 0; i < p.count; ++i)
    all.add(p.items[i], g.items[i], m.items[i], v.items[i], m_absmax.items[i], v_absmax.items[i], lr, weight_decay, step);
  update(s, all, scale);
}

void adamw_clipped(Stream& s, Out norm, InOutList p, InList g, InOutList m, InOutList v, InOutList m_absmax, InOutList v_absmax, Numbers lr,
                   Numbers weight_decay, Numbers step, double beta1, double beta2, double eps, double max_norm) {
  Step all(beta1, beta2, eps);
  for (int64_t i = 0, coded = 0; i < p.count; ++i) {
    const int64_t at = m.items[i].dtype == DType::u8 ? coded++ : -1;
    all.add(p.items[i], g.items[i], m.items[i], v.items[i], at < 0 ? View{} : m_absmax.items[at], at < 0 ? View{} : v_absmax.items[at], lr.items[i],
            weight_decay.items[i], static_cast<int64_t>(step.items[i]));
  }
  const int64_t tile = norm_tile(all.items());
  const StepList list = all.to_device(s, tile);
  const uint4* books = all.books(s);
  Scratch scratch(s);
  float* clip = scratch.take<float>(1);
  norm_of(s, scratch, list, tile, {norm.as<float>(), clip, static_cast<float>(max_norm)});
  all.run(s, clip, &list, books);
}

}  // namespace anymal::cuda
