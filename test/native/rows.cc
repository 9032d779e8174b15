// A row's bits do not depend on how many rows go with it: every op that works row by row (or image by image, query by query) runs on many rows
// and on some of them, alone and in company, at every dispatch level of the machine, on random odd shapes; what both write is the same.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "check.h"
#include "cpu/stream.h"
#include "row_cases/cases.h"

namespace anymal {
const Backend* anymal_backend_cpu(const char* level_or_null);
}
using namespace anymal;
using namespace anymal::row_cases;

namespace {

std::mt19937 random_bits(20261128);

// Runs the case on rows [first, first + count) and gives its outputs.
std::vector<View> run(const Case& c, const Backend& b, Stream& s, Window w, Memory& memory) {
  std::vector<View> cut, out;
  for (const View& v : c.cut) cut.push_back(memory.copy_of_rows(v, w.first, w.count));
  for (const View& v : c.out) out.push_back(memory.like_rows(v, w.count));
  c.run(b, s, w, memory, cut.data(), out.data());
  return out;
}

void check_case(const Case& c, const Backend& b, Stream& s, const char* level) {
  Memory memory;
  const std::vector<View> all = run(c, b, s, {0, c.rows, c.rows}, memory);
  std::vector<Window> windows = {{0, 1, c.rows}, {c.rows - 1, 1, c.rows}, {c.rows / 2, 1, c.rows}};
  for (int i = 0; i < 4; ++i) {
    const int64_t first = static_cast<int64_t>(random_bits() % static_cast<uint32_t>(c.rows));
    windows.push_back({first, 1 + static_cast<int64_t>(random_bits() % static_cast<uint32_t>(c.rows - first)), c.rows});
  }
  for (int64_t count = 1; c.every_count && count < c.rows; ++count)
    windows.push_back({static_cast<int64_t>(random_bits() % static_cast<uint32_t>(c.rows - count)), count, c.rows});
  std::string other;  // what the first difference says
  for (const Window& w : windows) {
    Memory of_window;
    const std::vector<View> some = run(c, b, s, w, of_window);
    for (size_t o = 0; o < all.size() && other.empty(); ++o) {
      const size_t row = row_bytes(all[o]);
      if (std::memcmp(all[o].as<char>() + static_cast<size_t>(w.first) * row, some[o].data, static_cast<size_t>(w.count) * row) != 0)
        other = "rows " + std::to_string(w.first) + " to " + std::to_string(w.first + w.count - 1) + " of output " + std::to_string(o) +
                " have other bits among " + std::to_string(c.rows);
    }
  }
  CHECK_SAY(other.empty(), std::string(level) + " " + c.name + ": " + other);
}

}  // namespace

int main() {
  for (int l = 0; l <= static_cast<int>(cpu::level_detected()); ++l) {
    const char* level = cpu::level_name(static_cast<cpu::Level>(l));
    if (!check::wants_level(level)) continue;
    const Backend& b = *anymal_backend_cpu(level);
    Stream s(2, static_cast<cpu::Level>(l));
    std::mt19937 shapes(7);
    for (int round = 0; round < 4; ++round)
      for (DType t : {DType::f32, DType::bf16}) {
        Memory memory;
        for (const Case& c : make_cases(b, s, t, shapes, memory, round == 0)) check_case(c, b, s, level);
      }
  }
  return check::finish();
}
