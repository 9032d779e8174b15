// Row-major codes, as on disk, to and from the CPU's panels (packed_weight.h), or, for levels that want them so, the layout by rows.
#include <algorithm>

#include "cpu/linear/kernels.h"
#include "cpu/linear/row_layout.h"
#include "cpu/ops.h"
#include "cpu/packed_weight.h"

namespace anymal::cpu::ANYMAL_LEVEL {

decltype(packed_bytes) packed_bytes_by_rows;  // level_table.inc

namespace {

constexpr int64_t kRows = PackedWeight::kRows;

uint8_t nibble(const uint8_t* codes, int64_t i) { return static_cast<uint8_t>(codes[i / 2] >> (i % 2 ? 0 : 4) & 15); }

// A panel takes a column of 32 rows at a time, rows lie far apart: so many columns of all rows that what is written stays near.
constexpr int64_t kColumns = 256;

// Rows [0, rows) of `from`, the first of which begins with code `first`.
void pack_nibbles(uint8_t* to, const uint8_t* from, int64_t first, int64_t rows, int64_t columns) {
  for (int64_t start = 0; start < columns; start += kColumns) {
    const int64_t end = start + kColumns < columns ? start + kColumns : columns;
    for (int64_t j = 0; j < 16 && j < rows; ++j) {
      const int64_t low = first + j * columns, high = low + 16 * columns;
      if (j + 16 < rows)
        for (int64_t k = start; k < end; ++k) to[k * 16 + j] = static_cast<uint8_t>(nibble(from, low + k) | nibble(from, high + k) << 4);
      else
        for (int64_t k = start; k < end; ++k) to[k * 16 + j] = nibble(from, low + k);
    }
  }
}

void pack_bytes(uint8_t* to, const uint8_t* from, int64_t rows, int64_t columns) {
  for (int64_t start = 0; start < columns; start += kColumns) {
    const int64_t end = start + kColumns < columns ? start + kColumns : columns;
    for (int64_t j = 0; j < rows; ++j)
      for (int64_t k = start; k < end; ++k) to[k / 4 * 4 * kRows + j * 4 + k % 4] = from[j * columns + k];
  }
}

bool by_rows(const Stream& s, QuantFormat format) { return s.kernels->coded && format != QuantFormat::int8; }

// The row of `columns` codes that begins with code `first`, as row r of its panel.
void pack_row(uint8_t* panel, int64_t r, const uint8_t* from, int64_t first, int64_t columns) {
  for (int64_t k0 = 0; k0 < columns; k0 += RowLayout::kUnit) {
    const int64_t count = std::min(RowLayout::kUnit, columns - k0);
    uint8_t codes[RowLayout::kUnit] = {};
    if ((first + k0) % 2 == 0 && count == RowLayout::kUnit)
      for (int64_t i = 0; i < RowLayout::kUnit / 2; ++i) {
        codes[2 * i] = from[(first + k0) / 2 + i] >> 4;
        codes[2 * i + 1] = from[(first + k0) / 2 + i] & 15;
      }
    else
      for (int64_t i = 0; i < count; ++i) codes[i] = nibble(from, first + k0 + i);
    uint8_t* to = panel + RowLayout::at(columns, k0, r);
    if (RowLayout::half(columns, k0))
      for (int64_t j = 0; j < 32; ++j) to[j] = static_cast<uint8_t>(codes[j] | codes[j + 32] << 4);
    else
      for (int64_t j = 0; j < 32; ++j) {
        const uint16_t word = static_cast<uint16_t>(codes[j] | codes[j + 32] << 4 | codes[j + 64] << 8 | codes[j + 96] << 12);
        std::memcpy(to + 2 * j, &word, 2);
      }
  }
}

void pack_rows(Stream& s, uint8_t* packed, const uint8_t* codes, int64_t rows, int64_t columns) {
  const int64_t bytes = RowLayout::panel_bytes(columns);
  parallel_range(s, RowLayout::panels(rows), 4 * bytes, [&](int64_t begin, int64_t end, int) {
    for (int64_t p = begin; p < end; ++p) {
      std::memset(packed + p * bytes, 0, static_cast<size_t>(bytes));
      for (int64_t r = 0; r < RowLayout::kPanel && p * RowLayout::kPanel + r < rows; ++r)
        pack_row(packed + p * bytes, r, codes, (p * RowLayout::kPanel + r) * columns, columns);
    }
  });
}

}  // namespace

int64_t packed_bytes_by_rows(QuantFormat format, int64_t out_features, int64_t in_features) {
  if (format == QuantFormat::int8) return packed_bytes(format, out_features, in_features);
  return RowLayout::panels(out_features) * RowLayout::panel_bytes(in_features);
}

int64_t packed_bytes(QuantFormat format, int64_t out_features, int64_t in_features) {
  return PackedWeight::panels(out_features) * PackedWeight::panel_bytes(format, in_features);
}

void pack_codes(Stream& s, Out packed, In codes, QuantFormat format, int64_t out_features, int64_t in_features) {
  const uint8_t* from = codes.as<uint8_t>();
  if (by_rows(s, format)) return pack_rows(s, packed.as<uint8_t>(), from, out_features, in_features);
  const int64_t bytes = PackedWeight::panel_bytes(format, in_features);
  parallel_range(s, PackedWeight::panels(out_features), 4 * bytes, [&](int64_t begin, int64_t end, int) {
    for (int64_t p = begin; p < end; ++p) {
      uint8_t* to = packed.as<uint8_t>() + p * bytes;
      std::memset(to, 0, static_cast<size_t>(bytes));
      const int64_t first = p * kRows, rows = std::min(kRows, out_features - first);
      if (format == QuantFormat::int8) pack_bytes(to, from + first * in_features, rows, in_features);
      else pack_nibbles(to, from, first * in_features, rows, in_features);
    }
  });
}

void unpack_codes(Stream& s, Out codes, In packed, QuantFormat format, int64_t out_features, int64_t in_features) {
  const int64_t bytes = PackedWeight::panel_bytes(format, in_features), n = out_features * in_features;
  const bool rows = by_rows(s, format);
  const auto code = [&](int64_t i) -> uint8_t {
    const int64_t row = i / in_features, k = i % in_features, j = row % kRows;
    if (rows) {
      const uint8_t* panel = packed.as<uint8_t>() + row / RowLayout::kPanel * RowLayout::panel_bytes(in_features);
      return panel[RowLayout::byte(in_features, row % RowLayout::kPanel, k)] >> RowLayout::shift(k) & 15;
    }
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
