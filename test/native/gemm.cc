// Matrix products against double precision at every level the machine has, and the AMX kernel on emulated tiles; --bench prints GFLOP/s.
#define ANYMAL_AMX_TWIN
#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "cpu/linear/kernels/amx.cc"  // kernels_amx_twin

using namespace anymal;
using cpu::Level;
using cpu::linear::Destination;
using cpu::linear::Epilogue;
using cpu::linear::Kernels;
using cpu::linear::Matrix;
using cpu::linear::PanelSource;
using cpu::linear::Problem;
using Bf16 = cpu::amx_twin::bf16;

namespace {

std::mt19937 random_bits(20261124);

// A matrix of floats that are exact in `dtype`, stored with the strides asked for.
struct Stored {
  std::vector<uint8_t> bytes;
  DType dtype;
  int64_t row, col;
  Matrix matrix() const { return {bytes.data(), dtype, row, col}; }
  double at(int64_t i, int64_t j) const {
    const int64_t e = i * row + j * col;
    if (dtype == DType::f32) return reinterpret_cast<const float*>(bytes.data())[e];
    return cpu::amx_twin::to_float(reinterpret_cast<const Bf16*>(bytes.data())[e]);
  }
};
Stored make(int64_t rows, int64_t cols, DType dtype, bool transposed, int64_t gap) {
  Stored s{{}, dtype, transposed ? 1 : cols + gap, transposed ? rows + gap : 1};
  const int64_t n = (rows + gap + 1) * (cols + gap + 1);
  s.bytes.resize(static_cast<size_t>(n) * dtype_bytes(dtype));
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < n; ++i) {
    const float v = normal(random_bits);
    if (dtype == DType::f32) reinterpret_cast<float*>(s.bytes.data())[i] = v;
    else reinterpret_cast<Bf16*>(s.bytes.data())[i] = cpu::amx_twin::to_bf16(v);
  }
  return s;
}

struct Case {
  int64_t M, N, K;
  DType in, out;
  bool at, bt, accumulate, bias, panels;
  float alpha;
  int64_t more = 0;  // steps of K, the last ones, that lie apart from the rest of A
};

// A source of panels that reads a Stored matrix: the quantised weights' way in.
void fill_from(const void* context, int64_t k0, int64_t kc, int64_t n0, int64_t width, DType dtype, void* panel) {
  const auto& [b, K, N] = *static_cast<const std::tuple<const Stored*, int64_t, int64_t>*>(context);
  const int64_t pair = dtype == DType::f32 ? 1 : 2;
  for (int64_t k = 0; k < kc; ++k)
    for (int64_t n = 0; n < width; ++n) {
      const float v = k0 + k < K && n0 + n < N ? static_cast<float>(b->at(k0 + k, n0 + n)) : 0.0f;
      const int64_t e = (k / pair) * width * pair + n * pair + k % pair;
      if (dtype == DType::f32) static_cast<float*>(panel)[e] = v;
      else static_cast<Bf16*>(panel)[e] = cpu::amx_twin::to_bf16(v);
    }
}

std::vector<uint8_t> run(const Kernels& kernels, int threads, bool serial, const Case& c, const Stored& a, const Stored& b,
                         const std::vector<uint8_t>& old, const std::vector<uint8_t>& bias) {
  std::vector<uint8_t> got = old;
  Stream s(threads, Level::generic);
  s.kernels = &kernels;
  const std::tuple<const Stored*, int64_t, int64_t> context{&b, c.K, c.N};
  const PanelSource source{fill_from, &context};
  const int64_t guard = 64, bytes = static_cast<int64_t>(dtype_bytes(c.in)), apart = c.more + 1;
  // What lies apart is not looked for where it would lie: there are NaNs.
  Stored own = a;
  std::vector<uint8_t> more(static_cast<size_t>(c.M * apart * bytes) + 1);
  for (int64_t m = 0; m < c.M; ++m) {
    uint8_t* from = own.bytes.data() + (m * a.row + c.K - c.more) * bytes;
    if (c.more == 0) continue;
    std::memcpy(more.data() + m * apart * bytes, from, static_cast<size_t>(c.more * bytes));
    std::memset(from, 0xff, static_cast<size_t>(c.more * bytes));
  }
  Problem p{c.M,
            c.N,
            c.K,
            own.matrix(),
            b.matrix(),
            c.panels ? &source : nullptr,
            {got.data() + guard, c.out, c.N + 3},
            {c.accumulate, c.bias ? bias.data() : nullptr, c.alpha},
            {more.data(), apart, c.more}};
  if (serial) kernels.gemm_serial(s.scratch[0], p);
  else kernels.gemm(s, p);
  return got;
}

double read(const std::vector<uint8_t>& bytes, DType t, int64_t i, int64_t skip) {
  if (t == DType::f32) return reinterpret_cast<const float*>(bytes.data() + skip)[i];
  return cpu::amx_twin::to_float(reinterpret_cast<const Bf16*>(bytes.data() + skip)[i]);
}

void check_case(const char* level, const Kernels& kernels, const Case& c) {
  const Stored a = make(c.M, c.K, c.in, c.at, 2), b = make(c.K, c.N, c.in, c.bt, 1);
  const int64_t row = c.N + 3, guard = 64;
  std::vector<uint8_t> old(static_cast<size_t>(c.M * row) * dtype_bytes(c.out) + 2 * guard, 0xA5);
  std::vector<uint8_t> bias(static_cast<size_t>(c.N + 1) * dtype_bytes(c.out));
  std::normal_distribution<float> normal;
  const auto put = [&](std::vector<uint8_t>& to, int64_t i, int64_t skip, float v) {
    if (c.out == DType::f32) reinterpret_cast<float*>(to.data() + skip)[i] = v;
    else reinterpret_cast<Bf16*>(to.data() + skip)[i] = cpu::amx_twin::to_bf16(v);
  };
  for (int64_t n = 0; n < c.N; ++n) put(bias, n, 0, normal(random_bits));
  for (int64_t m = 0; c.accumulate && m < c.M; ++m)
    for (int64_t n = 0; n < c.N; ++n) put(old, m * row + n, guard, normal(random_bits));

  const auto got = run(kernels, 1, false, c, a, b, old, bias);
  double worst = 0;
  bool untouched = true;
  for (int64_t m = 0; m < c.M; ++m)
    for (int64_t n = 0; n < c.N; ++n) {
      double sum = 0, size = 0;
      for (int64_t k = 0; k < c.K; ++k) {
        sum += a.at(m, k) * b.at(k, n);
        size += std::abs(a.at(m, k) * b.at(k, n));
      }
      const double added = c.bias ? read(bias, c.out, n, 0) : 0, before = c.accumulate ? read(old, c.out, m * row + n, guard) : 0;
      const double want = c.alpha * sum + added + before;
      // Rounding of a sum of K products, at most; and half an ulp of the output.
      const double floor = (c.alpha * size + std::abs(added) + std::abs(before)) * 6e-8 * (2 + std::sqrt(static_cast<double>(c.K))) +
                           (c.out == DType::bf16 ? std::abs(want) * 0.004 : 0) + 1e-30;
      worst = std::max(worst, std::abs(read(got, c.out, m * row + n, guard) - want) / floor);
    }
  for (int64_t m = 0; m < c.M; ++m)
    for (int64_t n = c.N; n < row; ++n)
      untouched &= std::memcmp(got.data() + guard + static_cast<size_t>(m * row + n) * dtype_bytes(c.out),
                               old.data() + guard + static_cast<size_t>(m * row + n) * dtype_bytes(c.out), dtype_bytes(c.out)) == 0;
  untouched &=
      std::memcmp(got.data(), old.data(), guard) == 0 && std::memcmp(got.data() + got.size() - guard, old.data() + old.size() - guard, guard) == 0;
  const std::string name = std::string(level) + " " + std::to_string(c.M) + "x" + std::to_string(c.N) + "x" + std::to_string(c.K) +
                           (c.in == DType::f32 ? " f32" : " bf16") + (c.out == DType::f32 ? ">f32" : ">bf16") + (c.at ? " aT" : "") +
                           (c.bt ? " bT" : "") + (c.accumulate ? " +=" : "") + (c.bias ? " bias" : "") + (c.panels ? " panels" : "") +
                           (c.more ? " of them " + std::to_string(c.more) + " apart" : "");
  CHECK_SAY(worst <= 1, name + ": error over bound " + std::to_string(worst));
  CHECK_SAY(untouched, name + ": wrote outside");
  for (int threads : {2, 3}) CHECK_SAY(run(kernels, threads, false, c, a, b, old, bias) == got, name + ": depends on threads");
  if (!c.panels) {
    const auto serial = run(kernels, 1, true, c, a, b, old, bias);
    CHECK_SAY(serial == got, name + ": serial differs");
  }
}

struct Named {
  const char* name;
  const Kernels* kernels;
};
std::vector<Named> levels() {
  std::vector<Named> all;
  for (int l = 0; l <= static_cast<int>(cpu::level_detected()); ++l)
    if (check::wants_level(cpu::level_name(static_cast<Level>(l))))
      all.push_back({cpu::level_name(static_cast<Level>(l)), &cpu::linear::kernels_of(static_cast<Level>(l))});
  all.push_back({"amx_twin", &cpu::linear::kernels_amx_twin});
  return all;
}

void check_all() {
  const int64_t sizes[] = {0, 1, 2, 3, 7, 14, 31, 33, 63, 65, 97, 130};
  const int64_t depths[] = {0, 1, 2, 7, 31, 33, 64, 65, 255, 257, 300, 515};
  const auto pick = [&](auto& from) { return from[random_bits() % std::size(from)]; };
  for (const Named& level : levels()) {
    for (int i = 0; i < 60; ++i) {
      const auto bit = [&] { return (random_bits() & 1) != 0; };
      const Case c{pick(sizes),
                   pick(sizes),
                   pick(depths),
                   bit() ? DType::f32 : DType::bf16,
                   bit() ? DType::f32 : DType::bf16,
                   bit(),
                   bit(),
                   bit(),
                   bit(),
                   (random_bits() % 3) == 0,
                   bit() ? 1.0f : 0.37f};
      check_case(level.name, *level.kernels, c);
      if (c.panels && !c.at) {
        Case with = c;
        with.more = std::min<int64_t>(c.K, 1 + random_bits() % 40);
        check_case(level.name, *level.kernels, with);
      }
    }
    // The tiny models' products: multiplied in place where they are of f32, with rows left over, one panel and several.
    for (const int64_t M : {1, 3, 5, 6, 9, 13, 15, 27, 201})
      for (const int64_t N : {5, 8, 16, 40, 128})
        for (const bool at : {false, true})
          check_case(level.name, *level.kernels, {M, N, 300, DType::f32, DType::f32, at, M % 2 == 0, N == 40, N == 8, false, 1});
    check_case(level.name, *level.kernels, {200, 600, 520, DType::bf16, DType::bf16, false, true, false, true, false, 1});
    check_case(level.name, *level.kernels, {200, 600, 520, DType::f32, DType::f32, false, true, false, true, true, 1});
  }
}

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

template <class F>
double best_of(int times, const F& f) {
  double best = 1e30;
  for (int i = 0; i < times; ++i) {
    const double start = seconds();
    f();
    best = std::min(best, seconds() - start);
  }
  return best;
}

void bench() {
  for (int l = 0; l <= static_cast<int>(cpu::level_detected()); ++l) {
    const Kernels& kernels = cpu::linear::kernels_of(static_cast<Level>(l));
    for (DType t : {DType::f32, DType::bf16}) {
      double flops = 0;
      const auto probe = t == DType::f32 ? kernels.peak_f32 : kernels.peak_bf16;
      const double peak = 1e-9 / best_of(5, [&] { flops = probe(2'000'000); }) * flops;
      std::printf("%-12s %-4s register-only peak %.0f GFLOP/s per thread\n", cpu::level_name(static_cast<Level>(l)), t == DType::f32 ? "f32" : "bf16",
                  peak);
      for (int threads : {1, 2})
        for (int64_t n : {256, 512, 1024, 2048}) {
          if (l < 2 && n > 1024) continue;
          Stream s(threads, static_cast<Level>(l));
          const Stored a = make(n, n, t, false, 0), b = make(n, n, t, true, 0);
          std::vector<uint8_t> c(static_cast<size_t>(n * n) * dtype_bytes(t));
          const double time = best_of(7, [&] { cpu::linear::gemm(s, n, n, n, a.matrix(), b.matrix(), {c.data(), t, n}); });
          const double rate = 2e-9 * static_cast<double>(n * n * n) / time;
          std::printf("%-12s %-4s %d thread(s) %5ld^3  %7.0f GFLOP/s  %3.0f %% of peak\n", cpu::level_name(static_cast<Level>(l)),
                      t == DType::f32 ? "f32" : "bf16", threads, static_cast<long>(n), rate, 100 * rate / (peak * threads));
        }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "--bench") == 0) {
    bench();
    return 0;
  }
  check_all();
  return check::finish();
}
