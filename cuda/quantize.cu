// Block quantisation with the numbers of bitsandbytes, bit for bit those of the CPU: 4-bit codes, int8 rows, the 8-bit dynamic map, and double
// quantisation of block maxima. Scaling multiplies by the reciprocal of the block's maximum; dividing would give other codes next to a threshold.
#include "dynamic_code.cuh"
#include "elementwise.cuh"

namespace anymal::cuda {
namespace {

// As bits, which order sizes as the numbers do: NaN counts as the largest.
__device__ __forceinline__ uint32_t size_bits(float x) { return __float_as_uint(x) & 0x7fffffffu; }
// Over Group neighbouring lanes, a power of two.
__device__ __forceinline__ uint32_t lanes_max(uint32_t v, int group) {
  for (int o = group / 2; o; o /= 2) {
    const uint32_t other = __shfl_xor_sync(~0u, v, o);
    v = other > v ? other : v;
  }
  return v;
}

// Tables travel as kernel arguments, whose constant indices are free.
struct Thresholds {
  float nf4[15], fp4[7];
  Thresholds() {
    std::memcpy(nf4, quant::kNf4Thresholds, sizeof nf4);
    std::memcpy(fp4, quant::kFp4Thresholds, sizeof fp4);
  }
};
struct CodeBook {
  float v[16];
  explicit CodeBook(QuantFormat f) { std::memcpy(v, quant::code_book(f), sizeof v); }
};

__device__ __forceinline__ uint32_t code_nf4(float x, const Thresholds& t) {
  uint32_t code = 0;
#pragma unroll
  for (int i = 0; i < 15; ++i) code += x > t.nf4[i];
  return code;
}
__device__ __forceinline__ uint32_t code_fp4(float x, const Thresholds& t) {
  uint32_t rank = 0;
#pragma unroll
  for (int i = 0; i < 7; ++i) rank += fabsf(x) > t.fp4[i];
  // kFp4Order, four bits to an entry: codes are not in the order of sizes.
  constexpr uint32_t order = 0u | 1u << 4 | 6u << 8 | 7u << 12 | 4u << 16 | 5u << 20 | 2u << 24 | 3u << 28;
  static_assert(quant::kFp4Order[2] == 6 && quant::kFp4Order[4] == 4 && quant::kFp4Order[7] == 3);
  return (order >> 4 * rank & 15) | (x < 0 ? 8u : 0u);
}

// Up to W elements, of which there are `left`; zeros beyond.
template <int W, class T>
__device__ __forceinline__ void read(float (&v)[W], const T* x, int64_t left) {
  if constexpr (W % kWidth<T> == 0)
    if (left >= W) return load<W>(v, x);
  for (int k = 0; k < W; ++k) v[k] = k < left ? to_float(x[k]) : 0.0f;
}

// A block is quantised by `group` lanes, W elements to a lane at a time. Block sizes are even, so a block owns whole bytes; only the last may end
// on half a byte, whose low nibble is 0.
template <class T, int W, bool Fp4>
__global__ void quantize_4bit_kernel(int64_t blocks, uint8_t* codes, float* absmax, const T* w, int64_t n, int64_t block, int group,
                                     Thresholds thresholds) {
  const int per = kThreads / group, lane = threadIdx.x % group;
  for (int64_t b0 = static_cast<int64_t>(blockIdx.x) * per; b0 < blocks; b0 += static_cast<int64_t>(gridDim.x) * per) {
    const int64_t b = b0 + threadIdx.x / group, first = b * block, last = b < blocks ? first + block < n ? first + block : n : first;
    uint32_t most = 0;
    for (int64_t i = first + lane * W; i < last; i += group * W) {
      float v[W];
      read<W>(v, w + i, last - i);
      for (int k = 0; k < W; ++k) most = size_bits(v[k]) > most ? size_bits(v[k]) : most;
    }
    most = lanes_max(most, group);
    if (b >= blocks) continue;
    const float inverse = 1.0f / __uint_as_float(most);
    if (lane == 0) absmax[b] = __uint_as_float(most);
    for (int64_t i = first + lane * W; i < last; i += group * W) {
      float v[W];
      read<W>(v, w + i, last - i);
      uint32_t packed = 0;  // W / 2 bytes
#pragma unroll
      for (int k = 0; k < W; ++k) {
        const uint32_t code = i + k >= last ? 0u : Fp4 ? code_fp4(v[k] * inverse, thresholds) : code_nf4(v[k] * inverse, thresholds);
        packed |= code << (k / 2 * 8 + (k % 2 ? 0 : 4));
      }
      if (W == 8 && i + W <= last) *reinterpret_cast<uint32_t*>(codes + i / 2) = packed;
      else
        for (int k = 0; k < W / 2; ++k)
          if (i + 2 * k < last) codes[i / 2 + k] = static_cast<uint8_t>(packed >> 8 * k);
    }
  }
}

// block = 1 << shift
template <class T, int W>
__global__ void dequantize_4bit_kernel(int64_t groups, int64_t n, T* w, const uint8_t* codes, const float* absmax, int shift, CodeBook table) {
  SHARED_ARRAY(float, book, [16]);
  if (threadIdx.x < 16) book[threadIdx.x] = table.v[threadIdx.x];
  __syncthreads();
  for (int64_t g = first_index(); g < groups; g += index_stride()) {
    const int64_t i = g * W;
    const float scale = absmax[i >> shift];
    if (W > 2 && i + W <= n) {
      const uint32_t packed = *reinterpret_cast<const uint32_t*>(codes + i / 2);
      float v[W];
      for (int k = 0; k < W; ++k) v[k] = book[packed >> (k / 2 * 8 + (k % 2 ? 0 : 4)) & 15] * scale;
      if constexpr (W > 2) store<W>(w + i, v);
    } else {
      for (int64_t k = i; k < i + W && k < n; ++k) {
        const uint32_t byte = codes[k / 2];
        w[k] = from_float<T>(book[k % 2 ? byte & 15 : byte >> 4] * scale);
      }
    }
  }
}

// codes = round half to even of w * (127 / scale); a row of zeros gives scale 0 and codes 0.
template <class T, int W>
__global__ void quantize_rows_kernel(int8_t* codes, float* scale, const T* w, int64_t cols) {
  SHARED_ARRAY(uint32_t, parts, [kThreads / 32]);
  const int64_t start = blockIdx.x * cols;
  uint32_t most = 0;
  for (int64_t j = threadIdx.x * W; j < cols; j += kThreads * W) {
    float v[W];
    load<W>(v, w + start + j);
    for (int k = 0; k < W; ++k) most = size_bits(v[k]) > most ? size_bits(v[k]) : most;
  }
  most = lanes_max(most, 32);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = most;
  __syncthreads();
  for (int i = 0; i < kThreads / 32; ++i) most = parts[i] > most ? parts[i] : most;
  const float largest = __uint_as_float(most), factor = largest > 0 ? 127.0f / largest : 0.0f;
  if (threadIdx.x == 0) scale[blockIdx.x] = largest;
  for (int64_t j = threadIdx.x * W; j < cols; j += kThreads * W) {
    float v[W];
    load<W>(v, w + start + j);
    uint32_t packed[(W + 3) / 4] = {};
    for (int k = 0; k < W; ++k) packed[k / 4] |= (static_cast<uint32_t>(static_cast<int32_t>(rintf(v[k] * factor))) & 255u) << k % 4 * 8;
    if constexpr (W == 1) codes[start + j] = static_cast<int8_t>(packed[0]);
    else
      for (int k = 0; k < W / 4; ++k) reinterpret_cast<uint32_t*>(codes + start + j)[k] = packed[k];
  }
}

template <class T>
__global__ void dequantize_rows_kernel(T* w, const int8_t* codes, const float* scale, int64_t cols) {
  const float factor = scale[blockIdx.x] / 127.0f;
  for (int64_t j = threadIdx.x; j < cols; j += kThreads)
    w[blockIdx.x * cols + j] = from_float<T>(static_cast<float>(codes[blockIdx.x * cols + j]) * factor);
}

// A warp quantises a block of x - offset; offset null: 0.
template <class T>
__global__ void quantize_dynamic_kernel(int64_t blocks, uint8_t* codes, float* absmax, const T* x, const float* offset, int64_t n, int64_t block,
                                        DynamicMap table) {
  SHARED_ARRAY(float, map, [256]);
  for (int i = threadIdx.x; i < 256; i += kThreads) map[i] = table.v[i];
  __syncthreads();
  const int lane = threadIdx.x % 32;
  const float shift = offset ? *offset : 0.0f;
  for (int64_t b = first_index() / 32; b < blocks; b += index_stride() / 32) {
    const int64_t first = b * block, last = first + block < n ? first + block : n;
    uint32_t bits = 0;
    for (int64_t i = first + lane; i < last; i += 32) {
      const uint32_t size = size_bits(to_float(x[i]) - shift);
      bits = size > bits ? size : bits;
    }
    const float most = __uint_as_float(lanes_max(bits, 32)), inverse = 1.0f / most;
    if (lane == 0) absmax[b] = most;
    for (int64_t i = first + lane; i < last; i += 32) codes[i] = dynamic_code((to_float(x[i]) - shift) * inverse, map);
  }
}

// x = map[code] * absmax + offset
__global__ void dequantize_dynamic_kernel(int64_t n, float* x, const uint8_t* codes, const float* absmax, const float* offset, int shift,
                                          DynamicMap table) {
  SHARED_ARRAY(float, map, [256]);
  for (int i = threadIdx.x; i < 256; i += kThreads) map[i] = table.v[i];
  __syncthreads();
  for (int64_t i = first_index(); i < n; i += index_stride()) {
    const float v = map[codes[i]] * absmax[i >> shift];
    x[i] = offset ? v + *offset : v;
  }
}

constexpr int kMeanThreads = 1024;
__global__ void mean_kernel(float* mean, const float* x, int64_t n) {
  SHARED_ARRAY(double, parts, [kMeanThreads]);
  double sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += kMeanThreads) sum += x[i];
  parts[threadIdx.x] = sum;
  for (int half = kMeanThreads / 2; half; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) parts[threadIdx.x] += parts[threadIdx.x + half];
  }
  if (threadIdx.x == 0) *mean = n > 0 ? static_cast<float>(parts[0] / static_cast<double>(n)) : 0.0f;
}

int64_t block_count(int64_t n, int64_t block) { return (n + block - 1) / block; }
int log2_of(int64_t block) {
  int shift = 0;
  while (int64_t{1} << shift < block) ++shift;
  return shift;
}

}  // namespace

void quantize_4bit(Stream& s, Out codes, Out absmax, In w, QuantFormat format, int64_t block) {
  by_dtype(w.dtype, [&](auto t) {
    using T = decltype(t);
    const int64_t n = w.size(), blocks = block_count(n, block);
    const auto run = [&](auto width, auto fp4) {
      const int64_t lanes = block / width() < 32 ? block / width() : 32;
      launch<quantize_4bit_kernel<T, width(), fp4()>>(s, blocks_for(s, blocks * lanes), kThreads, 0, blocks, codes.as<uint8_t>(), absmax.as<float>(),
                                                      w.as<T>(), n, block, static_cast<int>(lanes), Thresholds());
    };
    const bool packs = aligned16({w.data, codes.data}), fp4 = format == QuantFormat::fp4;
    using Many = std::integral_constant<int, 8>;
    using Two = std::integral_constant<int, 2>;
    if (packs) fp4 ? run(Many{}, std::true_type{}) : run(Many{}, std::false_type{});
    else fp4 ? run(Two{}, std::true_type{}) : run(Two{}, std::false_type{});
  });
}

void dequantize_4bit(Stream& s, Out w, In codes, In absmax, QuantFormat format, int64_t block) {
  by_dtype(w.dtype, [&](auto t) {
    using T = decltype(t);
    const int64_t n = w.size();
    const auto run = [&](auto width) {
      launch_items<dequantize_4bit_kernel<T, width()>>(s, (n + width() - 1) / width(), n, w.as<T>(), codes.as<uint8_t>(), absmax.as<float>(),
                                                       log2_of(block), CodeBook(format));
    };
    if (aligned16({w.data, codes.data})) run(std::integral_constant<int, 8>{});
    else run(std::integral_constant<int, 2>{});
  });
}

void quantize_rows_int8(Stream& s, Out codes, Out scale, In w) {
  by_dtype(w.dtype, [&](auto t) {
    using T = decltype(t);
    const int64_t cols = w.cols();
    const auto run = [&](auto width) {
      launch<quantize_rows_kernel<T, width()>>(s, grid_of(w.rows()), kThreads, 0, codes.as<int8_t>(), scale.as<float>(), w.as<T>(), cols);
    };
    if (cols % kWidth<T> == 0 && aligned16({codes.data, w.data})) run(std::integral_constant<int, kWidth<T>>{});
    else run(std::integral_constant<int, 1>{});
  });
}

void dequantize_rows_int8(Stream& s, Out w, In codes, In scale) {
  by_dtype(w.dtype, [&](auto t) {
    using T = decltype(t);
    launch<dequantize_rows_kernel<T>>(s, grid_of(codes.rows()), kThreads, 0, w.as<T>(), codes.as<int8_t>(), scale.as<float>(), codes.cols());
  });
}

void quantize_dynamic(Stream& s, Out codes, Out absmax, In x, int64_t block, bool is_signed) {
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    const int64_t n = x.size(), blocks = block_count(n, block);
    launch<quantize_dynamic_kernel<T>>(s, blocks_for(s, blocks * 32), kThreads, 0, blocks, codes.as<uint8_t>(), absmax.as<float>(), x.as<T>(),
                                       nullptr, n, block, DynamicMap(is_signed));
  });
}

void dequantize_dynamic(Stream& s, Out x, In codes, In absmax, int64_t block, bool is_signed) {
  launch_items<dequantize_dynamic_kernel>(s, x.size(), x.as<float>(), codes.as<uint8_t>(), absmax.as<float>(), nullptr, log2_of(block),
                                          DynamicMap(is_signed));
}

void quantize_absmax(Stream& s, Out codes, Out nested_absmax, Out offset, In absmax) {
  const int64_t n = absmax.size(), blocks = block_count(n, quant::kNestedBlock);
  launch<mean_kernel>(s, 1, kMeanThreads, 0, offset.as<float>(), absmax.as<float>(), n);
  launch<quantize_dynamic_kernel<float>>(s, blocks_for(s, blocks * 32), kThreads, 0, blocks, codes.as<uint8_t>(), nested_absmax.as<float>(),
                                         absmax.as<float>(), offset.as<float>(), n, quant::kNestedBlock, DynamicMap(true));
}

void dequantize_absmax(Stream& s, Out absmax, In codes, In nested_absmax, In offset) {
  launch_items<dequantize_dynamic_kernel>(s, codes.size(), absmax.as<float>(), codes.as<uint8_t>(), nested_absmax.as<float>(), offset.as<float>(),
                                          log2_of(quant::kNestedBlock), DynamicMap(true));
}

}  // namespace anymal::cuda
