// The one main loop of all matrix products: C (M,N) = sum over k of A(m,k) B(n,k), on mma.m16n8k16 with f32 sums.
//
// A block makes one tile of C. Per step of 32 k its threads fetch the operands of the next step into registers (operands.cuh), multiply the present
// one out of shared memory, then store what they fetched. In shared memory a tile lies as its operand does in memory: rows of 32 k, or, transposed,
// rows along m or n; ldmatrix brings either into the instruction's layout. Chunks of 16 bytes are XORed with the row so that neither side meets
// bank conflicts.
#pragma once
#include "linear/operands.cuh"

namespace anymal::cuda::gemm {

constexpr int kDepth = 32;  // k of a step

template <int M, int N, int WarpM, int WarpN, int Blocks>
struct Tile {
  static constexpr int kM = M, kN = N, kWarpM = WarpM, kWarpN = WarpN;
  static constexpr int kWarpsN = N / WarpN, kThreads = M / WarpM * kWarpsN * 32;
  static constexpr int kBlocks = Blocks;  // that a multiprocessor should hold
  static constexpr int kRowsM = WarpM / 16, kRowsN = WarpN / 8;
};
using Wide = Tile<128, 128, 64, 32, 2>;
using Middle = Tile<64, 64, 32, 32, 4>;
using Exact = Tile<64, 64, 32, 32, 2>;  // three planes
using Thin = Tile<16, 64, 16, 16, 4>;   // few rows

template <class Tile>
struct Sums {
  float v[Tile::kRowsM][Tile::kRowsN][4] = {};
  // f(m, n, a, b) for each pair of neighbours (m, n), (m, n + 1) of this thread
  template <class F>
  __device__ __forceinline__ void each_pair(int m0, int n0, const F& f) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    m0 += warp / Tile::kWarpsN * Tile::kWarpM + lane / 4;
    n0 += warp % Tile::kWarpsN * Tile::kWarpN + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < Tile::kRowsM; ++i)
#pragma unroll
      for (int h = 0; h < 2; ++h)
#pragma unroll
        for (int j = 0; j < Tile::kRowsN; ++j) f(m0 + i * 16 + h * 8, n0 + j * 8, v[i][j][2 * h], v[i][j][2 * h + 1]);
  }
};

// Place of a chunk in a tile of `Rows` rows of m or n. Transposed: `row` is k and `chunk` counts along m or n.
template <int Rows, bool Transposed>
__device__ __forceinline__ int place(int row, int chunk) {
  static_assert(!Transposed || Rows >= 64, "eight chunks are XORed");
  if constexpr (Transposed) return row * (Rows / 8) + (chunk ^ (row & 7));
  else return row * (kDepth / 8) + (chunk ^ (row >> 1 & 3));
}

// What one thread fetches of one operand's tile.
template <int Rows, int Threads, bool Transposed, class Operand>
struct Staged {
  static constexpr int kChunks = Rows * kDepth / 8, kAcross = Transposed ? Rows / 8 : kDepth / 8, kCount = (kChunks + Threads - 1) / Threads;
  typename Operand::Raw raw[kCount] = {};

  __device__ __forceinline__ void fetch(const Operand& x, int r0, int k0) {
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const int i = threadIdx.x + j * Threads;
      if (kChunks % Threads && i >= kChunks) break;
      const int row = (Transposed ? k0 : r0) + i / kAcross, column = (Transposed ? r0 : k0) + i % kAcross * 8;
      raw[j] = x.fetch(row, column);
    }
  }
  template <int Planes>
  __device__ __forceinline__ void store(const Operand& x, uint4* to) const {
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const int i = threadIdx.x + j * Threads;
      if (kChunks % Threads && i >= kChunks) break;
      uint4 planes[Planes];
      x.unpack(raw[j], planes);
#pragma unroll
      for (int p = 0; p < Planes; ++p) to[p * kChunks + place<Rows, Transposed>(i / kAcross, i % kAcross)] = planes[p];
    }
  }
};

// One plane: two stages, so that one barrier per step suffices. More: the arithmetic of a step hides the second barrier.
template <int PlanesA, int PlanesB>
constexpr int kStages = PlanesA * PlanesB == 1 ? 2 : 1;
template <class Tile, int PlanesA, int PlanesB>
constexpr int kSharedChunks = kStages<PlanesA, PlanesB> * (PlanesA * Tile::kM + PlanesB * Tile::kN) * kDepth / 8;

template <class Tile, int PlanesA, int PlanesB, bool TransposedA, bool TransposedB>
__device__ __forceinline__ void multiply_step(Sums<Tile>& sums, const uint4* a, const uint4* b) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, wm = warp / Tile::kWarpsN * Tile::kWarpM, wn = warp % Tile::kWarpsN * Tile::kWarpN;
  constexpr int kHalves = Tile::kM == Wide::kM && TransposedB ? 1 : 2;  // that are unrolled: there, addresses leave registers for one
#pragma unroll kHalves
  for (int kk = 0; kk < kDepth; kk += 16) {
    uint32_t fa[PlanesA][Tile::kRowsM][4], fb[PlanesB][Tile::kRowsN / 2][4];
#pragma unroll
    for (int p = 0; p < PlanesA; ++p)
#pragma unroll
      for (int i = 0; i < Tile::kRowsM; ++i) {
        const uint4* from = a + p * Tile::kM * kDepth / 8;
        const int m = wm + i * 16;
        if constexpr (TransposedA)
          ptx::ldmatrix_x4_trans(fa[p][i], ptx::shared_address(from + place<Tile::kM, true>(kk + lane / 16 * 8 + lane % 8, m / 8 + lane / 8 % 2)));
        else ptx::ldmatrix_x4(fa[p][i], ptx::shared_address(from + place<Tile::kM, false>(m + lane % 16, kk / 8 + lane / 16)));
      }
#pragma unroll
    for (int p = 0; p < PlanesB; ++p)
#pragma unroll
      for (int j = 0; j < Tile::kRowsN / 2; ++j) {
        const uint4* from = b + p * Tile::kN * kDepth / 8;
        const int n = wn + j * 16;
        if constexpr (TransposedB)
          ptx::ldmatrix_x4_trans(fb[p][j], ptx::shared_address(from + place<Tile::kN, true>(kk + lane / 8 % 2 * 8 + lane % 8, n / 8 + lane / 16)));
        else ptx::ldmatrix_x4(fb[p][j], ptx::shared_address(from + place<Tile::kN, false>(n + lane / 16 * 8 + lane % 8, kk / 8 + lane / 8 % 2)));
      }
    if constexpr (PlanesA * PlanesB == 1) {
#pragma unroll
      for (int i = 0; i < Tile::kRowsM; ++i)
#pragma unroll
        for (int j = 0; j < Tile::kRowsN; ++j) {
          const uint32_t pair[2] = {fb[0][j / 2][j % 2 * 2], fb[0][j / 2][j % 2 * 2 + 1]};
          ptx::mma_m16n8k16(sums.v[i][j], fa[0][i], pair);
        }
    } else {
      // Tensor cores cut off what does not fit beside the sum they add to. So a step's products, small ones first, make a sum of their own, which
      // is added with rounding: the large sum is not touched six times.
#pragma unroll
      for (int i = 0; i < Tile::kRowsM; ++i)
#pragma unroll
        for (int j = 0; j < Tile::kRowsN; ++j) {
          float step[4] = {};
#pragma unroll
          for (int order = PlanesA + PlanesB - 2 < 2 ? PlanesA + PlanesB - 2 : 2; order >= 0; --order)
#pragma unroll
            for (int p = 0; p <= order; ++p) {
              const int q = order - p;
              if (p >= PlanesA || q >= PlanesB) continue;
              const uint32_t pair[2] = {fb[q][j / 2][j % 2 * 2], fb[q][j / 2][j % 2 * 2 + 1]};
              ptx::mma_m16n8k16(step, fa[p][i], pair);
            }
#pragma unroll
          for (int e = 0; e < 4; ++e) sums.v[i][j][e] += step[e];
        }
    }
  }
}

// sums += A . B over k in [begin, end), begin a multiple of kDepth; operands are zero beyond the last k. The whole block takes part.
template <int PlanesA, int PlanesB, bool TransposedA, bool TransposedB, class Tile, class A, class B>
__device__ __forceinline__ void multiply(Sums<Tile>& sums, uint4* shared, const A& a, const B& b, int64_t m0, int64_t n0, int64_t begin,
                                         int64_t end) {
  if (begin >= end) return;
  constexpr int stages = kStages<PlanesA, PlanesB>, chunks_a = PlanesA * Tile::kM * kDepth / 8, chunks = chunks_a + PlanesB * Tile::kN * kDepth / 8;
  Staged<Tile::kM, Tile::kThreads, TransposedA, A> next_a;
  Staged<Tile::kN, Tile::kThreads, TransposedB, B> next_b;
  next_a.fetch(a, m0, begin);
  next_b.fetch(b, n0, begin);
  __syncthreads();  // an earlier product has been read
  next_a.template store<PlanesA>(a, shared);
  next_b.template store<PlanesB>(b, shared + chunks_a);
  int stage = 0;
  for (int k = begin; k < end; k += kDepth) {
    __syncthreads();  // the step's tile is complete
    const bool more = k + kDepth < end;
    if (more) {
      next_a.fetch(a, m0, k + kDepth);
      next_b.fetch(b, n0, k + kDepth);
    }
    multiply_step<Tile, PlanesA, PlanesB, TransposedA, TransposedB>(sums, shared + stage * chunks, shared + stage * chunks + chunks_a);
    if (!more) break;
    if constexpr (stages == 1) __syncthreads();  // it has been read
    else stage ^= 1;
    next_a.template store<PlanesA>(a, shared + stage * chunks);
    next_b.template store<PlanesB>(b, shared + stage * chunks + chunks_a);
  }
}

// ---- work of a launch ------------------------------------------------------------------------------------------------------------------------

// Few tiles and a long sum: k is cut into splits whose partial sums lie in scratch and are added in order.
struct Work {
  int M, N, K, depth;  // depth of a split, a multiple of kDepth
  unsigned tiles_m, tiles_n, splits;
  float* partial = nullptr;  // [splits][M][N], null when there is one split

  dim3 grid() const { return grid_of(static_cast<int64_t>(tiles_m) * tiles_n, splits); }
  // Neighbouring blocks share operands: eight tiles down, then one to the right.
  __device__ __forceinline__ int tile_m(int size, unsigned block = blockIdx.x) const {
    return static_cast<int>(first(block) + within(block) % height(block)) * size;
  }
  __device__ __forceinline__ int tile_n(int size, unsigned block = blockIdx.x) const {
    return static_cast<int>(within(block) / height(block)) * size;
  }
  __device__ __forceinline__ int begin(unsigned split = blockIdx.y) const { return static_cast<int>(split) * depth; }
  __device__ __forceinline__ int end(unsigned split = blockIdx.y) const { return K - begin(split) < depth ? K : begin(split) + depth; }

 private:
  __device__ __forceinline__ unsigned first(unsigned block) const { return block / (8 * tiles_n) * 8; }
  __device__ __forceinline__ unsigned within(unsigned block) const { return block % (8 * tiles_n); }
  __device__ __forceinline__ unsigned height(unsigned block) const { return tiles_m - first(block) < 8 ? tiles_m - first(block) : 8; }
};

inline void check_sides(int64_t M, int64_t N, int64_t K) {
  constexpr int64_t most = INT32_MAX - 4 * 128;  // tiles may begin there and reach beyond
  if (M > most || N > most || K > most) throw std::runtime_error("a matrix product with a side of more than 2^31 elements");
}
// `reuse`: where products of one shape, one after the other, share their partial sums.
template <class Tile>
Work plan(const Stream& s, Scratch& scratch, int64_t M, int64_t N, int64_t K, float** reuse = nullptr) {
  check_sides(M, N, K);
  Work w{static_cast<int>(M), static_cast<int>(N), static_cast<int>(K)};
  w.tiles_m = static_cast<unsigned>((M + Tile::kM - 1) / Tile::kM);
  w.tiles_n = static_cast<unsigned>((N + Tile::kN - 1) / Tile::kN);
  w.splits = 1;
  const int64_t tiles = static_cast<int64_t>(w.tiles_m) * w.tiles_n;
  // Few rows wait for memory, so many blocks shall ask for it at once.
  constexpr int64_t blocks = Tile::kM == Thin::kM ? 8 : 2, least = Tile::kM == Thin::kM ? 128 : 256;
  int64_t splits = tiles > 0 && 2 * tiles < blocks * s.multiprocessors ? (blocks * s.multiprocessors + tiles - 1) / tiles : 1;
  splits = splits < K / least ? splits : K / least;
  if (splits < 1) splits = 1;
  w.depth = static_cast<int>(((K + splits - 1) / splits + kDepth - 1) / kDepth * kDepth);
  if (splits == 1) return w;
  w.splits = static_cast<unsigned>((K + w.depth - 1) / w.depth);
  if (w.splits == 1) return w;
  w.partial = reuse && *reuse ? *reuse : scratch.take<float>(w.splits * M * N);
  if (reuse) *reuse = w.partial;
  return w;
}

// f(Tile{}) with the tile for a product of T. A transposed A has no thin tile; a wide one has no registers for three operand pairs.
template <class T, bool MayBeThin = true, bool MayBeWide = true, class F>
void with_tile(const Stream& s, int64_t M, int64_t N, const F& f) {
  if constexpr (MayBeThin)
    if (M <= Thin::kM) return f(Thin{});
  if constexpr (sizeof(T) == 4) {
    f(Exact{});
  } else {
    const int64_t wide = (M + Wide::kM - 1) / Wide::kM * ((N + Wide::kN - 1) / Wide::kN);
    if constexpr (MayBeWide)
      if (M > Middle::kM && N > Middle::kN && wide >= s.multiprocessors) return f(Wide{});
    f(Middle{});
  }
}

// C (M,N) in memory: alpha * sum + bias, stored as f32 or bf16, or added to f32.
struct Matrix {
  void* data;
  DType dtype;
  int64_t stride;
  const void* bias = nullptr;  // (N) of C's dtype
  float alpha = 1;
  const float* alpha_at = nullptr;  // another factor, on the device
  bool accumulate = false;
  bool pairs = false;  // two neighbours of an even column at once

  __device__ __forceinline__ float finished(int n, float v) const {
    v *= alpha;
    if (alpha_at) v *= *alpha_at;
    if (bias) v += dtype == DType::bf16 ? to_float(static_cast<const bf16*>(bias)[n]) : static_cast<const float*>(bias)[n];
    return v;
  }
  __device__ __forceinline__ void one(int m, int n, float v) const {
    v = finished(n, v);
    if (dtype == DType::bf16) {
      static_cast<bf16*>(data)[m * stride + n] = from_float<bf16>(v);
      return;
    }
    float* to = static_cast<float*>(data) + m * stride + n;
    *to = accumulate ? *to + v : v;
  }
  __device__ __forceinline__ void two(int m, int n, float v, float w) const {
    v = finished(n, v);
    w = finished(n + 1, w);
    if (dtype == DType::bf16) {
      *reinterpret_cast<uint32_t*>(static_cast<bf16*>(data) + m * stride + n) = ptx::cvt_bf16x2(v, w);
      return;
    }
    float2* to = reinterpret_cast<float2*>(static_cast<float*>(data) + m * stride + n);
    if (accumulate) {
      const float2 old = *to;
      v += old.x;
      w += old.y;
    }
    *to = make_float2(v, w);
  }
};
inline Matrix matrix_of(const View& c, int64_t stride, const View& bias = View{}, bool accumulate = false) {
  Matrix m{c.data, c.dtype, stride, bias.data};
  m.accumulate = accumulate;
  m.pairs = stride % 2 == 0 && reinterpret_cast<uintptr_t>(c.data) % (2 * dtype_bytes(c.dtype)) == 0;
  return m;
}

// The tile at (m0, n0) to its destination, or to its split's partial sums.
template <class Tile, class Destination>
__device__ __forceinline__ void store(Sums<Tile>& sums, const Work& w, int m0, int n0, unsigned split, const Destination& c) {
  float* partial = w.partial ? w.partial + static_cast<int64_t>(split) * w.M * w.N : nullptr;
  sums.each_pair(m0, n0, [&](int m, int n, float a, float b) {
    if (m >= w.M || n >= w.N) return;
    if (partial) {
      float* to = partial + static_cast<int64_t>(m) * w.N + n;
      to[0] = a;
      if (n + 1 < w.N) to[1] = b;
    } else if (n + 1 < w.N && c.pairs) {
      c.two(m, n, a, b);
    } else {
      c.one(m, n, a);
      if (n + 1 < w.N) c.one(m, n + 1, b);
    }
  });
}

template <class Tile, class Destination>
__device__ __forceinline__ void store(Sums<Tile>& sums, const Work& w, const Destination& c) {
  store(sums, w, w.tile_m(Tile::kM), w.tile_n(Tile::kN), blockIdx.y, c);
}

// budget: 40 registers, 0 KiB shared, 0 spills
template <class Destination>
__global__ void add_splits_kernel(int64_t items, Work w, Destination c) {
  for (int64_t i = first_index(); i < items; i += index_stride()) {
    float sum = 0;
    for (unsigned z = 0; z < w.splits; ++z) sum += w.partial[z * items + i];
    c.one(static_cast<int>(i / w.N), static_cast<int>(i % w.N), sum);
  }
}
template <class Destination>
void add_splits(Stream& s, const Work& w, const Destination& c) {
  if (w.splits > 1) launch_items<add_splits_kernel<Destination>>(s, static_cast<int64_t>(w.M) * w.N, w, c);
}

// ---- dense products, compiled once in linear.cu ----------------------------------------------------------------------------------------------

// An operand (m or n, k): its rows are m or n, `stride` apart, or, transposed, k.
struct Dense {
  const void* data;
  int64_t stride;
  bool transposed = false;
};
// C (M,N) = A (M,K) . B (N,K)^T, operands of one dtype. If A is transposed, B must be too.
void dense(Stream& s, Scratch& scratch, DType dtype, int64_t M, int64_t N, int64_t K, const Dense& a, const Dense& b, const Matrix& c,
           float** reuse = nullptr);
// db (cols) += column sums of dy (rows, cols).
void add_bias_gradient(Stream& s, float* db, const View& dy, int64_t rows, int64_t cols);

}  // namespace anymal::cuda::gemm
