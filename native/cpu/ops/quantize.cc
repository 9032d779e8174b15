// Block quantisation with the numbers of bitsandbytes: 4-bit codes, int8 rows, the 8-bit dynamic map, and double quantisation of block maxima.
// Scaling multiplies by the reciprocal of the block's maximum; dividing would give other codes next to a threshold.
#include "cpu/dynamic_code.h"
#include "cpu/ops.h"
#include "quant/tables.h"

namespace anymal::cpu::ANYMAL_LEVEL {
namespace {

// NaN counts as the largest. Sizes are compared by their bits, which order them as the numbers do: integers have a maximum that loops can be
// vectorised with.
template <class T>
float absolute_maximum(const T* x, int64_t n) {
  int32_t most = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float a = std::fabs(to_float(x[i]));
    int32_t bits;
    std::memcpy(&bits, &a, 4);
    most = bits > most ? bits : most;
  }
  float result;
  std::memcpy(&result, &most, 4);
  return result;
}

// Pieces of what the first cache holds: f(begin, length) for [0, n).
template <class F>
void in_pieces(int64_t n, const F& f) {
  for (int64_t i = 0; i < n; i += 256) f(i, i + 256 < n ? int64_t{256} : n - i);
}

// to <- the codes of (x - mean) * inverse
template <class T>
void code_all(uint8_t* to, const T* x, int64_t n, float mean, float inverse, const NearbyCodes& codes) {
  in_pieces(n, [=, &codes](int64_t i, int64_t count) {
    float scaled[256] = {};
    int32_t found[256];
    for (int64_t j = 0; j < count; ++j) scaled[j] = (to_float(x[i + j]) - mean) * inverse;
    dynamic_codes_of(found, scaled, (count + 15) / 16 * 16, codes);
    for (int64_t j = 0; j < count; ++j) to[i + j] = static_cast<uint8_t>(found[j]);
  });
}

// to <- map[codes] * scale
void decode_all(float* to, const uint8_t* codes, int64_t n, float scale, const float* map) {
  in_pieces(n, [=](int64_t i, int64_t count) {
    const int64_t whole = count / 16 * 16;
    dynamic_values_of(to + i, codes + i, whole, map);
    for (int64_t j = i; j < i + whole; ++j) to[j] *= scale;
    for (int64_t j = i + whole; j < i + count; ++j) to[j] = map[codes[j]] * scale;
  });
}

int32_t code_nf4(float x) {
  int32_t code = 0;
  for (float t : quant::kNf4Thresholds) code += x > t;
  return code;
}
// By rising magnitude; kFp4Order makes the code of it.
int32_t rank_fp4(float x) {
  int32_t rank = 0;
  for (float t : quant::kFp4Thresholds) rank += std::fabs(x) > t;
  return rank | (x < 0 ? 8 : 0);
}

// Codes first, each in a lane of its own, then two to a byte: so the comparisons are vectorised.
constexpr int64_t kAtOnce = 64;

template <class T>
void encode_4bit(uint8_t* to, const T* from, int64_t count, float inverse, QuantFormat format) {
  int32_t codes[kAtOnce + 1];
  for (int64_t first = 0; first < count; first += kAtOnce) {
    const int64_t n = count - first < kAtOnce ? count - first : kAtOnce;
    if (format == QuantFormat::nf4) {
      for (int64_t i = 0; i < n; ++i) codes[i] = code_nf4(to_float(from[first + i]) * inverse);
    } else {
      for (int64_t i = 0; i < n; ++i) codes[i] = rank_fp4(to_float(from[first + i]) * inverse);
      for (int64_t i = 0; i < n; ++i) codes[i] = quant::kFp4Order[codes[i] & 7] | (codes[i] & 8);
    }
    codes[n] = 0;
    for (int64_t i = 0; i < n; i += 2) to[(first + i) / 2] = static_cast<uint8_t>(codes[i] << 4 | codes[i + 1]);
  }
}

int64_t block_count(int64_t n, int64_t block) { return (n + block - 1) / block; }

}  // namespace

// Block sizes are even, so a block owns whole bytes; only the last may end on half a byte, whose low nibble is 0.
void quantize_4bit(Stream& s, Out codes, Out absmax, In w, QuantFormat format, int64_t block) {
  const int64_t n = w.size();
  by_dtype(w.dtype, [&](auto t) {
    const auto* from = w.as<decltype(t)>();
    parallel_range(s, block_count(n, block), 16 * block, [&](int64_t begin, int64_t end, int) {
      for (int64_t b = begin; b < end; ++b) {
        const int64_t first = b * block, count = first + block < n ? block : n - first;
        const float most = absolute_maximum(from + first, count), inverse = 1.0f / most;
        absmax.as<float>()[b] = most;
        encode_4bit(codes.as<uint8_t>() + first / 2, from + first, count, inverse, format);
      }
    });
  });
}

void dequantize_4bit(Stream& s, Out w, In codes, In absmax, QuantFormat format, int64_t block) {
  const int64_t n = w.size();
  const float* book = quant::code_book(format);
  by_dtype(w.dtype, [&](auto t) {
    using T = decltype(t);
    parallel_range(s, block_count(n, block), block, [&](int64_t begin, int64_t end, int) {
      for (int64_t b = begin; b < end; ++b) {
        const float scale = absmax.as<float>()[b];
        const int64_t last = (b + 1) * block < n ? (b + 1) * block : n;
        for (int64_t i = b * block; i < last; ++i) {
          const uint8_t byte = codes.as<uint8_t>()[i / 2];
          w.as<T>()[i] = from_float<T>(book[i % 2 ? byte & 15 : byte >> 4] * scale);
        }
      }
    });
  });
}

// codes = round half to even of w * (127 / scale); a row of zeros gives scale 0 and codes 0.
void quantize_rows_int8(Stream& s, Out codes, Out scale, In w) {
  const int64_t cols = w.cols();
  by_dtype(w.dtype, [&](auto t) {
    const auto* from = w.as<decltype(t)>();
    parallel_range(s, w.rows(), 4 * cols, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const float most = absolute_maximum(from + r * cols, cols), factor = most > 0 ? 127.0f / most : 0.0f;
        scale.as<float>()[r] = most;
        for (int64_t j = 0; j < cols; ++j) codes.as<int8_t>()[r * cols + j] = static_cast<int8_t>(std::rintf(to_float(from[r * cols + j]) * factor));
      }
    });
  });
}

void dequantize_rows_int8(Stream& s, Out w, In codes, In scale) {
  const int64_t cols = codes.cols();
  by_dtype(w.dtype, [&](auto t) {
    using T = decltype(t);
    parallel_range(s, codes.rows(), cols, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const float factor = scale.as<float>()[r] / 127.0f;
        for (int64_t j = 0; j < cols; ++j) w.as<T>()[r * cols + j] = from_float<T>(static_cast<float>(codes.as<int8_t>()[r * cols + j]) * factor);
      }
    });
  });
}

void quantize_dynamic(Stream& s, Out codes, Out absmax, In x, int64_t block, bool is_signed) {
  const int64_t n = x.size();
  const NearbyCodes nearest(quant::dynamic_codes(is_signed));
  by_dtype(x.dtype, [&](auto t) {
    const auto* from = x.as<decltype(t)>();
    parallel_range(s, block_count(n, block), 40 * block, [&](int64_t begin, int64_t end, int) {
      for (int64_t b = begin; b < end; ++b) {
        const int64_t first = b * block, count = first + block < n ? block : n - first;
        const float most = absolute_maximum(from + first, count), inverse = 1.0f / most;
        absmax.as<float>()[b] = most;
        code_all(codes.as<uint8_t>() + first, from + first, count, 0.0f, inverse, nearest);
      }
    });
  });
}

void dequantize_dynamic(Stream& s, Out x, In codes, In absmax, int64_t block, bool is_signed) {
  const int64_t n = x.size();
  const float* map = quant::dynamic_map(is_signed);
  parallel_range(s, block_count(n, block), 2 * block, [&](int64_t begin, int64_t end, int) {
    for (int64_t b = begin; b < end; ++b) {
      const int64_t first = b * block, count = first + block < n ? block : n - first;
      decode_all(x.as<float>() + first, codes.as<uint8_t>() + first, count, absmax.as<float>()[b], map);
    }
  });
}

void quantize_absmax(Stream&, Out codes, Out nested_absmax, Out offset, In absmax) {
  const int64_t n = absmax.size();
  const float* from = absmax.as<float>();
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += from[i];
  const float mean = n > 0 ? static_cast<float>(sum / static_cast<double>(n)) : 0.0f;
  *offset.as<float>() = mean;
  const NearbyCodes nearest(quant::dynamic_codes(true));
  for (int64_t b = 0; b < block_count(n, quant::kNestedBlock); ++b) {
    const int64_t first = b * quant::kNestedBlock, last = first + quant::kNestedBlock < n ? first + quant::kNestedBlock : n;
    float most = 0;
    for (int64_t i = first; i < last; ++i) most = std::fabs(from[i] - mean) > most ? std::fabs(from[i] - mean) : most;
    nested_absmax.as<float>()[b] = most;
    const float inverse = 1.0f / most;
    code_all(codes.as<uint8_t>() + first, from + first, last - first, mean, inverse, nearest);
  }
}

void dequantize_absmax(Stream&, Out absmax, In codes, In nested_absmax, In offset) {
  const float* map = quant::dynamic_map(true);
  for (int64_t i = 0; i < codes.size(); ++i)
    absmax.as<float>()[i] = map[codes.as<uint8_t>()[i]] * nested_absmax.as<float>()[i / quant::kNestedBlock] + *offset.as<float>();
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
