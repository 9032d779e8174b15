// Row-major codes, as on disk, to and from the CPU's panels (packed_weight.h).
#include "cpu/ops.h"
#include "cpu/packed_weight.h"

namespace anymal::cpu::ANYMAL_LEVEL {
namespace {

constexpr int64_t kRows = PackedWeight::kRows;

uint8_t nibble(const uint8_t* codes, int64_t i) { return i % 2 ? codes[i / 2] & 15 : codes[i / 2] >> 4; }

}  // namespace

int64_t packed_bytes(QuantFormat format, int64_t out_features, int64_t in_features) {
  return PackedWeight::panels(out_features) * PackedWeight::panel_bytes(format, in_features);
}

void pack_codes(Stream& s, Out packed, In codes, QuantFormat format, int64_t out_features, int64_t in_features) {
  const uint8_t* from = codes.as<uint8_t>();
  const int64_t bytes = PackedWeight::panel_bytes(format, in_features);
  parallel_range(s, PackedWeight::panels(out_features), 4 * bytes, [&](int64_t begin, int64_t end, int) {
    for (int64_t p = begin; p < end; ++p) {
      uint8_t* to = packed.as<uint8_t>() + p * bytes;
      std::memset(to, 0, static_cast<size_t>(bytes));
      for (int64_t j = 0; j < kRows && p * kRows + j < out_features; ++j) {
        const int64_t row = (p * kRows + j) * in_features;
        if (format == QuantFormat::int8)
          for (int64_t k = 0; k < in_features; ++k) to[k / 4 * 4 * kRows + j * 4 + k % 4] = from[row + k];
        else
          for (int64_t k = 0; k < in_features; ++k) to[k * 16 + j % 16] |= static_cast<uint8_t>(nibble(from, row + k) << (j < 16 ? 0 : 4));
      }
    }
  });
}

void unpack_codes(Stream& s, Out codes, In packed, QuantFormat format, int64_t out_features, int64_t in_features) {
  const int64_t bytes = PackedWeight::panel_bytes(format, in_features), n = out_features * in_features;
  const auto code = [&](int64_t i) -> uint8_t {
    const int64_t row = i / in_features, k = i % in_features, j = row % kRows;
    const uint8_t* from = packed.as<uint8_t>() + row / kRows * bytes;
    if (format == QuantFormat::int8) return from[k / 4 * 4 * kRows + j * 4 + k % 4];
    const uint8_t byte = from[k * 16 + j % 16];
    return j < 16 ? byte & 15 : byte >> 4;
  };
  uint8_t* to = codes.as<uint8_t>();
  if (format == QuantFormat::int8) {
    parallel_range(s, n, 8, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) to[i] = code(i);
    });
    return;
  }
  parallel_range(s, (n + 1) / 2, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) to[i] = static_cast<uint8_t>(code(2 * i) << 4 | (2 * i + 1 < n ? code(2 * i + 1) : 0));
  });
}

}  // namespace anymal::cpu::ANYMAL_LEVEL
