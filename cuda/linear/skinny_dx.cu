// dx (M,I) = dy.W for M <= 16 rows (coded_dx.cuh), W's codes as they stream by. A warp goes along a column of 128 inputs, sixteen outputs a step: a
// lane has twice eight inputs and four outputs, whose codes it asks for kAhead steps before it uses them.
//   4 bit: a block's maximum belongs to one output and 64 inputs. So it multiplies dy, four numbers of a lane for 64 inputs; a weight costs half a
//   look-up and half a permutation. Lanes of even and odd number / 4 load the same sixteen bytes and take every second word: a block's 64 inputs lie
//   in four chunks, and the instruction has eight lanes for them.
//   int8: codes are exact in bf16, an output's maximum multiplies dy, and a lane uses all sixteen bytes.
//
// How a sum is cut depends on the weight and the card, not on M: a row's bits are the same among others.
#include <algorithm>

#include "linear/coded_dx.cuh"

namespace anymal::cuda {
namespace gemm {
namespace {

constexpr int kColumns = kAcross / kCodeTile, kSlices = 4, kWarps = kColumns * kSlices, kStep = 16;
template <class T>
constexpr int kWanted = kPlanes<T> == 1 ? 2 : 1;  // for which sums are cut
template <class T>
constexpr int kCopies = kPlanes<T> == 1 ? 32 : 8;  // of the table; f32 has three, for which bandwidth is no matter
template <class T>
constexpr int kDeepest = kPlanes<T> == 1 ? 1024 : 512;  // outputs of a part

template <class Weight>
constexpr bool kCoded = std::is_same_v<Weight, FourBitWeight>;
template <class T, class Weight, int Eights>
constexpr int kBlocks = kPlanes<T> == 1 && kCoded<Weight> && Eights == 1 ? 2 : 1;  // that a multiprocessor should hold
// Steps; a lane of int8 loads twice the codes.
template <class T, class Weight, int Eights>
constexpr int kAhead = kPlanes<T> == 1 ? (kCoded<Weight> ? 4 : 2) : 2 / Eights;
constexpr int kLongest = kSlices * kStep * 4;  // outputs of a round, whatever kAhead
template <class T, class Weight>
constexpr int kTable = kCoded<Weight> ? kTableBytes<T, kCopies<T>> : 0;

template <class T, class Weight>
struct SkinnyDx {
  Rows<T> dy;
  Weight weight;
  float unit;            // of the table
  int M, depth, stride;  // bytes of W's rows, in 32 bits: for one instruction an address
  Across to;
};

template <class T, class Weight>
size_t shared_bytes(int64_t M, int64_t depth) {               // depth: in whole rounds
  const size_t sums = sizeof(float) * kSlices * M * kAcross;  // when all else has been read
  return std::max(sums, kTable<T, Weight> + sizeof(T) * M * depth + sizeof(float) * depth * (kCoded<Weight> ? kAcross / 64 : 1));
}

__device__ __forceinline__ void store(bf16* to, const Eight<bf16>& v) { *reinterpret_cast<uint4*>(to) = make_uint4(v.w[0], v.w[1], v.w[2], v.w[3]); }
__device__ __forceinline__ void store(float* to, const Eight<float>& v) {
  reinterpret_cast<float4*>(to)[0] = make_float4(v[0], v[1], v[2], v[3]);
  reinterpret_cast<float4*>(to)[1] = make_float4(v[4], v[5], v[6], v[7]);
}
// Rows of dy, outputs o0 to o0 + 16 steps: [step][row][output]. Zeros beyond the last output, and beyond the part: steps are whole rounds of all
// slices.
template <class T>
__device__ __forceinline__ void bring_rows(T* to, const Rows<T>& dy, int M, int o0, int outputs, int steps) {
  for (int i = threadIdx.x; i < M * steps * 2; i += kWarps * 32) {
    const int row = i / (steps * 2), chunk = i % (steps * 2);
    store(to + ((chunk / 2 * M + row) * 2 + chunk % 2) * 8, chunk * 8 < outputs ? dy.fetch(row, o0 + chunk * 8) : Eight<T>{});
  }
}
__device__ __forceinline__ float4 four_of(const float* p) { return *reinterpret_cast<const float4*>(p); }
__device__ __forceinline__ float4 four_of(const bf16* p) {
  const uint2 v = *reinterpret_cast<const uint2*>(p);
  return make_float4(__uint_as_float(v.x << 16), __uint_as_float(v.x & 0xFFFF0000u), __uint_as_float(v.y << 16), __uint_as_float(v.y & 0xFFFF0000u));
}

// Block maxima, [column][step][block of 64][output].
__device__ __forceinline__ void bring_maxima(float* to, const FourBitWeight& weight, float factor, int o0, int i0, int steps) {
  for (int i = threadIdx.x; i < steps * kStep * kColumns * 2; i += kWarps * 32) {
    const int o = i / (kColumns * 2), block = i % (kColumns * 2), k = i0 + block * 64;
    const bool inside = o0 + o < weight.rows && k < weight.cols;
    to[(block / 2 * steps + o / kStep) * 2 * kStep + block % 2 * kStep + o % kStep] =
        inside ? factor * weight.block_maximum(static_cast<int>((static_cast<int64_t>(o0 + o) * weight.cols + k) >> weight.shift)) : 0.0f;
  }
}

// int8: an output's, for all inputs.
__device__ __forceinline__ void bring_maxima(float* to, const EightBitWeight& weight, float, int o0, int, int steps) {
  for (int o = threadIdx.x; o < steps * kStep; o += kWarps * 32) to[o] = o0 + o < weight.rows ? weight.absmax[o0 + o] / 127.0f : 0.0f;
}
// A lane's in a step.
__device__ __forceinline__ const float* maxima_from(const float* maxima, const FourBitWeight&, int column, int steps, int step) {
  return maxima + (column * steps + step) * 2 * kStep + threadIdx.x % 4 * 4;
}
__device__ __forceinline__ const float* maxima_from(const float* maxima, const EightBitWeight&, int, int, int step) {
  return maxima + step * kStep + threadIdx.x % 4 * 4;
}

// Of a column of 128 inputs: the chunk of sixteen bytes that a lane loads, and the first input of one of its eights.
template <class Weight>
__device__ __forceinline__ int chunk_of(int lane) {
  return kCoded<Weight> ? lane / 8 : lane / 4;
}
template <class Weight>
__device__ __forceinline__ int eight_of(int lane, int half) {
  return kCoded<Weight> ? half * 64 + lane / 4 * 8 : lane / 4 * 16 + half * 8;
}

// `own`: the lane's copy in the table. A byte is taken out and scaled into the address by an instruction each.
template <class T>
__device__ __forceinline__ uint32_t pair_of(uint32_t own, int plane, uint32_t four, int byte) {
  constexpr int kEntry = kCopies<T> * 4;
  return ptx::load_shared(own + __byte_perm(four, 0, 0x4440 | byte) * kEntry + plane * 256 * kEntry);
}

// Codes of 8 bit of two outputs and one input, as bf16: 128 + the low seven bits, less 128 or 256.
__device__ __forceinline__ uint32_t two_codes(uint32_t first, uint32_t second, int byte) {
  const uint32_t twice = __byte_perm(first, second, 0x4400 + 0x1111 * byte);
  return ptx::sub_bf16x2(ptx::and_or(twice, 0x007F007Fu, 0x43004300u), ptx::and_or(twice, 0x00800080u, 0x43004300u));
}
// sum += a . x for codes that are exact in one plane.
template <int P>
__device__ __forceinline__ void multiply_exact(float (&sum)[4], const uint32_t (&a)[4], const uint4 (&x)[P]) {
  float step[4] = {};
#pragma unroll
  for (int p = P - 1; p >= 0; --p) {
    const uint32_t b[2] = {x[p].x, x[p].y};
    ptx::mma_m16n8k16(P == 1 ? sum : step, a, b);
  }
  if constexpr (P > 1)
#pragma unroll
    for (int e = 0; e < 4; ++e) sum[e] += step[e];
}

__device__ __forceinline__ float item(const float4& v, int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }

// Of a column of 128 inputs: [4 half + pair of inputs][rows of dx / 8][as mma.m16n8k16 has them].
template <class T, class Weight, int Eights>
struct ColumnSums {
  float total[8][Eights][4] = {};

  // Sixteen outputs: codes of this lane's four, dy(n) of its row of the n-th eight, maxima(half) of the four.
  template <class Dy, class Maxima>
  __device__ __forceinline__ void add(uint32_t own, bool odd, const uint4 (&codes)[4], const Dy& dy, const Maxima& maxima) {
    constexpr int P = kPlanes<T>;
    float4 rows[Eights];
    uint4 xs[Eights][P];
#pragma unroll
    for (int n = 0; n < Eights; ++n) rows[n] = dy(n);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (kCoded<Weight> || half == 0) {
        const float4 most = maxima(half);
#pragma unroll
        for (int n = 0; n < Eights; ++n) split<P>([&](int i) { return i < 4 ? item(rows[n], i) * item(most, i) : 0.0f; }, xs[n]);
      }
      uint32_t eight[4];
      if constexpr (kCoded<Weight>) {
#pragma unroll
        for (int j = 0; j < 4; ++j) eight[j] = odd ? word(codes[j], 2 * half + 1) : word(codes[j], 2 * half);
      }
#pragma unroll
      for (int pair = 0; pair < 4; ++pair) {
        if constexpr (kCoded<Weight>) {
          uint32_t a[P][4];
#pragma unroll
          for (int p = 0; p < P; ++p) {
            uint32_t two[4];
#pragma unroll
            for (int j = 0; j < 4; ++j) two[j] = pair_of<T>(own, p, eight[j], pair);
            across(a[p], two[0], two[1], two[2], two[3]);
          }
#pragma unroll
          for (int n = 0; n < Eights; ++n) multiply_planes<P>(total[half * 4 + pair][n], a, xs[n], 0);
        } else {
          uint32_t a[4];
#pragma unroll
          for (int i = 0; i < 4; ++i)
            a[i] = two_codes(word(codes[i / 2 * 2], half * 2 + pair / 2), word(codes[i / 2 * 2 + 1], half * 2 + pair / 2), pair % 2 * 2 + i % 2);
#pragma unroll
          for (int n = 0; n < Eights; ++n) multiply_exact<P>(total[half * 4 + pair][n], a, xs[n]);
        }
      }
    }
  }

  // The branch, from the column's first input i0 on.
  __device__ __forceinline__ void begin(const DxBranch<T>& branch, int i0) {
    constexpr int P = kPlanes<T>;
    const int lane = threadIdx.x % 32, row = lane / 4;
#pragma unroll 1
    for (int j0 = 0; j0 < branch.rank; j0 += 32) {
      const int j = j0 + threadIdx.x % 4 * 8;  // of this lane's eight ranks
      uint4 ts[Eights][P];
#pragma unroll
      for (int n = 0; n < Eights; ++n) branch.t.unpack(branch.t.fetch(8 * n + row, j), ts[n]);
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          uint4 of_rank[4][P];
#pragma unroll
          for (int r = 0; r < 4; ++r) branch.a.unpack(branch.a.fetch(j + 4 * h + r, i0 + eight_of<Weight>(lane, half)), of_rank[r]);
#pragma unroll
          for (int b = 0; b < 4; ++b) {
            uint32_t a[P][4];
#pragma unroll
            for (int p = 0; p < P; ++p) across(a[p], word(of_rank[0][p], b), word(of_rank[1][p], b), word(of_rank[2][p], b), word(of_rank[3][p], b));
#pragma unroll
            for (int n = 0; n < Eights; ++n) multiply_planes<P>(total[half * 4 + b][n], a, ts[n], h);
          }
        }
    }
    if (branch.dropout.p == 0) return;
    each_eight([&](int m, int at, float(&v)[8]) {
      const uint32_t kept = branch.dropout.keeps(static_cast<uint64_t>(m) * branch.a.cols + i0 + at);
#pragma unroll
      for (int e = 0; e < 8; ++e) v[e] = kept >> e & 1 ? v[e] * branch.dropout.scale : 0.0f;
    });
  }

  // f(row of dx, input of the column, eight sums from there on, which f may change)
  template <class F>
  __device__ __forceinline__ void each_eight(const F& f) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int n = 0; n < Eights; ++n)
#pragma unroll
      for (int r = 0; r < 2; ++r)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float v[8];
#pragma unroll
          for (int e = 0; e < 8; ++e) v[e] = total[half * 4 + e / 2][n][e % 2 * 2 + r];
          f(8 * n + lane % 4 * 2 + r, eight_of<Weight>(lane, half), v);
#pragma unroll
          for (int e = 0; e < 8; ++e) total[half * 4 + e / 2][n][e % 2 * 2 + r] = v[e];
        }
  }
};

// loop of bf16, 1: mma.sync, at most 3 instructions a weight, 4.5 in PTX, 16 weights a load
// budget: 255 registers, 2 KiB shared, 0 spills
template <class T, class Weight, class Branch, int Eights>
__global__ void __launch_bounds__(kWarps * 32, kBlocks<T, Weight, Eights>) skinny_dx_kernel(SkinnyDx<T, Weight> p, Branch branch, Tables tables) {
  SHARED_ARRAY(Tables, decoding, [1]);
  char* const table = dynamic_shared<char>();
  const int lane = threadIdx.x % 32, column = threadIdx.x / 32 % kColumns, slice = threadIdx.x / 32 / kColumns;
  const int i0 = static_cast<int>(blockIdx.x) * kAcross, o0 = static_cast<int>(blockIdx.y) * p.depth;
  const int rest = p.weight.rows - o0, outputs = rest < p.depth ? rest : p.depth, last = o0 + outputs - 1;
  constexpr int kRound = kAhead<T, Weight, Eights> * kSlices;  // steps
  const int steps = (outputs + kRound * kStep - 1) / (kRound * kStep) * kRound;
  T* const dy = reinterpret_cast<T*>(table + kTable<T, Weight>);
  float* const maxima = reinterpret_cast<float*>(dy + steps * kStep * p.M);

  // Beyond the part's last output that one again: dy is zero there, and what is fetched behind the last step, nobody uses. Beyond a row's end its
  // beginning: for nobody.
  const int place = (i0 + column * kCodeTile) / (kCoded<Weight> ? 2 : 1) + chunk_of<Weight>(lane) * 16;
  const uint4* const from = reinterpret_cast<const uint4*>(p.weight.codes + (place < p.stride ? place : 0));
  uint4 codes[kAhead<T, Weight, Eights>][4];
  int o = o0 + slice * kStep + lane % 4 * 4;  // the lane's first of the step that is fetched next
  const auto fetch = [&](uint4(&to)[4]) {
#pragma unroll
    for (int j = 0; j < 4; ++j) to[j] = *ptx::mad_wide(o + j < last ? o + j : last, p.stride, from);
    o += kSlices * kStep;
  };
  const auto fetch_ahead = [&] {
    if (steps == 0) return;
#pragma unroll
    for (int i = 0; i < kAhead<T, Weight, Eights>; ++i) fetch(codes[i]);
  };
  if constexpr (!Branch::kThere) fetch_ahead();

  if constexpr (kCoded<Weight>) {
    bring(decoding, tables);
    p.weight.tables = decoding;
    fill_table<T, kCopies<T>>(reinterpret_cast<uint4*>(table), decoding->book, p.unit);
  }
  bring_rows(dy, p.dy, p.M, o0, outputs, steps);
  bring_maxima(maxima, p.weight, 1 / p.unit, o0, i0, steps);
  __syncthreads();  // table, rows and maxima are there

  ColumnSums<T, Weight, Eights> sums;
  if constexpr (Branch::kThere) {
    if (blockIdx.y == 0 && slice == 0) sums.begin(branch, i0 + column * kCodeTile);
    fetch_ahead();  // the branch has no registers for them
  }
  const uint32_t own = ptx::shared_address(table) + lane % kCopies<T> * 4;
  const bool odd = lane / 4 % 2;
  // Beyond the last row of dy its own again: what columns beyond M sum up, nobody reads.
  const T* rows[Eights];
#pragma unroll
  for (int n = 0; n < Eights; ++n) rows[n] = dy + ((slice * p.M + (8 * n + lane / 4 < p.M ? 8 * n + lane / 4 : p.M - 1)) * 4 + lane % 4) * 4;
  const float* most = maxima_from(maxima, p.weight, column, steps, slice);
  for (int step = slice; step < steps; step += kRound) {
#pragma unroll
    for (int i = 0; i < kAhead<T, Weight, Eights>; ++i) {
      sums.add(
          own, odd, codes[i], [&](int n) { return four_of(rows[n]); }, [&](int half) { return four_of(most + (kCoded<Weight> ? half * kStep : 0)); });
#pragma unroll
      for (int n = 0; n < Eights; ++n) rows[n] += kSlices * p.M * kStep;
      most += kSlices * kStep * (kCoded<Weight> ? 2 : 1);
      fetch(codes[i]);
    }
  }

  __syncthreads();                                      // table, rows and maxima have been read
  float* const room = reinterpret_cast<float*>(table);  // [slice][row][input]
  sums.each_eight([&](int m, int at, float(&v)[8]) {
    if (m >= p.M) return;
    float4* to = reinterpret_cast<float4*>(room + (slice * p.M + m) * kAcross + column * kCodeTile + at);
    to[0] = make_float4(v[0], v[1], v[2], v[3]);
    to[1] = make_float4(v[4], v[5], v[6], v[7]);
  });
  __syncthreads();  // all slices' sums are there
  for (int i = threadIdx.x; i < p.M * kAcross / 4; i += kWarps * 32) {
    float4 sum = reinterpret_cast<const float4*>(room)[i];
#pragma unroll
    for (int z = 1; z < kSlices; ++z) add(sum, reinterpret_cast<const float4*>(room)[z * p.M * (kAcross / 4) + i]);
    p.to.put(blockIdx.x, blockIdx.y, 0, i0, i / (kAcross / 4), i % (kAcross / 4) * 4, sum);
  }
  p.to.finish(blockIdx.x, 0, p.M, i0, room);
}

}  // namespace

void skinny_dx(Stream& s, Scratch& scratch, const View& dx, const View& dy, const Quantized& w, const LoraBackward& lora) {
  const int64_t M = dy.rows(), O = w.out_features, I = w.in_features, ranges = (I + kAcross - 1) / kAcross;
  by_dtype(dy.dtype, [&](auto t) {
    using T = decltype(t);
    const auto parts_of = [&](int64_t depth) { return O > depth ? (O + depth - 1) / depth : 1; };
    int64_t depth = kDeepest<T>;
    while (depth > kSlices * kStep && ranges * parts_of(depth) < kWanted<T> * int64_t{s.multiprocessors}) depth /= 2;
    const int64_t parts = parts_of(depth);
    depth = round_up((O + parts - 1) / parts, kSlices * kStep);
    const auto count = static_cast<unsigned>(parts_of(depth));
    const Across to = across_of(s, scratch, count, M, ranges, dx, I);
    const auto with_weight = [&](const auto& weight) {
      using Weight = std::decay_t<decltype(weight)>;
      const SkinnyDx<T, Weight> p{rows_of<T>(dy.data, M, O, O),    weight, unit_of<T>(w.format), static_cast<int>(M), static_cast<int>(depth),
                                  static_cast<int>(weight.stride), to};
      const auto with = [&](const auto& branch) {
        using Branch = std::decay_t<decltype(branch)>;
        const auto with_eights = [&](auto eights) {
          launch<skinny_dx_kernel<T, Weight, Branch, decltype(eights)::value>>(
              s, grid_of(ranges, count), kWarps * 32, shared_bytes<T, Weight>(M, round_up(depth, kLongest)), p, branch, tables_of(w.format));
        };
        if (M <= 8) with_eights(std::integral_constant<int, 1>{});
        else with_eights(std::integral_constant<int, 2>{});
      };
      if (lora.rank == 0) with(NoBranch{});
      else with(dx_branch<T>(lora, M, I));
    };
    if (w.format == QuantFormat::int8) with_weight(eight_bit(w, true));
    else with_weight(four_bit(w));
  });
}

}  // namespace gemm
}  // namespace anymal::cuda
