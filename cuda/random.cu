// random_uniform, random_normal, dropout and sample_categorical: all from counters (random.cuh).
#include "elementwise.cuh"
#include "random.cuh"

namespace anymal::cuda {
namespace {

// A thread takes the four positions of a random block; f(block) gives four values.
template <class T, class F>
__global__ void random_kernel(int64_t blocks, int64_t n, T* y, uint64_t seed, uint64_t offset, F f) {
  for (int64_t b = first_index(); b < blocks; b += index_stride()) {
    const RandomBlock r = random_block(seed, offset, static_cast<uint64_t>(b));
    float v[4];
    f(v, r);
    for (int k = 0; k < 4; ++k)
      if (b * 4 + k < n) y[b * 4 + k] = from_float<T>(v[k]);
  }
}

struct Uniform {
  float low, width;
  __device__ void operator()(float (&v)[4], const RandomBlock& r) const {
    for (int k = 0; k < 4; ++k) v[k] = low + width * unit_uniform(r.v[k]);
  }
};
// Box-Muller: lanes (0,1) and (2,3) of a block make two normals each.
struct Normal {
  double mean, std;
  __device__ void operator()(float (&v)[4], const RandomBlock& r) const {
    for (int h = 0; h < 4; h += 2) {
      const float radius = sqrtf(-2.0f * logf(1.0f - unit_uniform(r.v[h])));  // 1 - u is in (0, 1]
      float sine, cosine;
      sincospif(2.0f * unit_uniform(r.v[h + 1]), &sine, &cosine);
      v[h] = static_cast<float>(mean + std * (radius * cosine));
      v[h + 1] = static_cast<float>(mean + std * (radius * sine));
    }
  }
};

template <class T>
struct Dropout {
  T* y;
  const T* x;
  uint64_t seed, offset;
  float drop, scale;
  template <int W>
  __device__ void at(int64_t i) const {
    float v[W];
    load<W>(v, x + i);
    if constexpr (W == 1) {
      v[0] = dropout_keeps(seed, offset, static_cast<uint64_t>(i), drop) ? v[0] * scale : 0.0f;
    } else {  // i is a multiple of W
      for (int b = 0; b < W / 4; ++b) {
        const RandomBlock r = random_block(seed, offset, static_cast<uint64_t>(i) / 4 + b);
        for (int k = 0; k < 4; ++k) v[b * 4 + k] = unit_uniform(r.v[k]) >= drop ? v[b * 4 + k] * scale : 0.0f;
      }
    }
    store<W>(y + i, v);
  }
};

// A block per row. The row is cut into kThreads segments; each warp sums segments, one thread adds the sums up to find the segment of the draw,
// and the first warp finds the token in it.
constexpr int kWarps = kThreads / 32;

template <class T>
__global__ void sample_kernel(int32_t* y, const T* logits, int64_t cols, const int32_t* counter, uint64_t seed) {
  SHARED_ARRAY(double, sums, [kThreads]);
  SHARED_ARRAY(double, drawn, [2]);
  SHARED_ARRAY(int, segment, [1]);
  const T* row = logits + blockIdx.x * cols;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float most = -INFINITY;
  for (int64_t j = threadIdx.x; j < cols; j += kThreads) most = fmaxf(most, to_float(row[j]));
  most = block_max<kThreads>(most);

  const int64_t length = (cols + kThreads - 1) / kThreads;
  for (int i = warp; i < kThreads; i += kWarps) {
    const int64_t begin = i * length, end = begin + length < cols ? begin + length : cols;
    double sum = 0;
    for (int64_t j = begin + lane; j < end; j += 32) sum += expf(to_float(row[j]) - most);
    for (int o = 16; o; o >>= 1) sum += __shfl_xor_sync(~0u, sum, o);
    if (lane == 0) sums[i] = sum;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    double total = 0;
#pragma unroll 8
    for (int i = 0; i < kThreads; ++i) total += sums[i];
    const RandomBlock r = random_block(seed, static_cast<uint32_t>(*counter), blockIdx.x);
    const double u = (static_cast<double>(r.v[0]) + static_cast<double>(r.v[1]) * 0x1p-32) * 0x1p-32 * total;
    double so_far = 0, before = 0;
    int chosen = 0;
#pragma unroll 1
    for (int i = 0; i < kThreads; ++i) {
      if (sums[i] > 0) {  // rounding may leave u beyond the last sum: then the last possible segment
        chosen = i;
        before = so_far;
      }
      so_far += sums[i];
      if (so_far > u) break;
    }
    drawn[0] = u;
    drawn[1] = before;
    segment[0] = chosen;
  }
  __syncthreads();
  if (warp) return;
  const double u = drawn[0];
  const int64_t begin = segment[0] * length, end = begin + length < cols ? begin + length : cols;
  double so_far = drawn[1];
  int64_t token = 0;
  for (int64_t first = begin; first < end; first += 32) {
    const int64_t j = first + lane;
    const double p = j < end ? expf(to_float(row[j]) - most) : 0.0f;
    double sum = p;
    for (int o = 1; o < 32; o <<= 1) {
      const double below = __shfl_up_sync(~0u, sum, o);
      sum += lane >= o ? below : 0.0;
    }
    const unsigned possible = __ballot_sync(~0u, p > 0), reached = __ballot_sync(~0u, p > 0 && so_far + sum > u);
    if (reached) {
      token = first + __ffs(reached) - 1;
      break;
    }
    if (possible) token = first + 31 - __clz(possible);
    so_far += __shfl_sync(~0u, sum, 31);
  }
  if (lane == 0) y[blockIdx.x] = static_cast<int32_t>(token);
}

template <class F>
void fill_random(Stream& s, const View& y, int64_t seed, int64_t offset, const F& f) {
  by_dtype(y.dtype, [&](auto t) {
    using T = decltype(t);
    const int64_t n = y.size();
    launch_items<random_kernel<T, F>>(s, (n + 3) / 4, n, y.as<T>(), static_cast<uint64_t>(seed), static_cast<uint64_t>(offset), f);
  });
}

}  // namespace

void random_uniform(Stream& s, InOut y, double low, double high, int64_t seed, int64_t offset) {
  fill_random(s, y, seed, offset, Uniform{static_cast<float>(low), static_cast<float>(high - low)});
}

void random_normal(Stream& s, InOut y, double mean, double std, int64_t seed, int64_t offset) { fill_random(s, y, seed, offset, Normal{mean, std}); }

void dropout(Stream& s, Out y, In x, double p, int64_t seed, int64_t offset) {
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    for_each_element<kWidth<T>>(s, x.size(), aligned16({y.data, x.data}),
                                Dropout<T>{y.as<T>(), x.as<T>(), static_cast<uint64_t>(seed), static_cast<uint64_t>(offset), static_cast<float>(p),
                                           static_cast<float>(1.0 / (1.0 - p))});
  });
}

void sample_categorical(Stream& s, Out y, In logits, In counter, int64_t seed) {
  by_dtype(logits.dtype, [&](auto t) {
    using T = decltype(t);
    launch<sample_kernel<T>>(s, grid_of(logits.rows()), kThreads, 0, y.as<int32_t>(), logits.as<T>(), logits.cols(), counter.as<int32_t>(),
                             static_cast<uint64_t>(seed));
  });
}

}  // namespace anymal::cuda
