// A group of dense products as one launch: a block makes one tile of one split of one of them.
#include <algorithm>
#include <type_traits>

#include "functions.cuh"
#include "linear/products.cuh"

namespace anymal::cuda::gemm {
namespace {

template <class T>
__device__ __forceinline__ Rows<T> rows_of(const Factor& f) {
  return {static_cast<const T*>(f.data), f.rows, f.cols, f.cols, f.packs};
}

__host__ __device__ __forceinline__ int whole_steps(int K) { return (K + kDepth - 1) / kDepth * kDepth; }

// sums += one part, over k in [begin, end).
template <bool Backward, class T, class Tile>
__device__ __forceinline__ void add_part(Sums<Tile>& sums, uint4* shared, const Product& p, const Part& part, int m0, int n0, int begin, int end) {
  constexpr int P = kPlanes<T>;
  const Rows<T> a = rows_of<T>(part.a);
  if constexpr (Backward)
    if (p.of_weight) return multiply<P, P, true, true>(sums, shared, a, rows_of<T>(part.b), m0, n0, begin, end);
  if constexpr (P == 1)
    if (part.b.wide) return multiply<P, P, false, Backward>(sums, shared, a, rows_of<float>(part.b), m0, n0, begin, end);
  multiply<P, P, false, Backward>(sums, shared, a, rows_of<T>(part.b), m0, n0, begin, end);
}

// What is done to the tile once it lies in memory.
template <class Tile, class T, int W, bool Backward>
__device__ __forceinline__ void finish(const Product& p, int m0, int n0) {
  const int M = p.work.M, N = p.work.N;
  const int rows = M - m0 < Tile::kM ? M - m0 : Tile::kM, packs = (N - n0 < Tile::kN ? N - n0 : Tile::kN) / W;
  const Then& then = p.then;
  const auto each = [&](const auto& f) {
#pragma unroll 1
    for (int i = threadIdx.x; i < rows * packs; i += Tile::kThreads) {
      const int64_t at = static_cast<int64_t>(m0 + i / packs) * N + n0 + i % packs * W;
      float v[W], x[W] = {};
      cuda::load<W>(v, static_cast<const T*>(p.c.data) + at);
      if (then.other) cuda::load<W>(x, static_cast<const T*>(then.other) + at);
      for (int k = 0; k < W; ++k) v[k] = f(v[k], x[k]);
      cuda::store<W>(static_cast<T*>(then.to) + at, v);
    }
  };
  if constexpr (Backward) {
    by_kind(then.function, [&](auto act) { each([](float v, float x) { return v * decltype(act)::slope(x); }); });
  } else {
    if (then.kind == Then::sum) return each([](float v, float x) { return v + x; });
    by_kind(then.function, [&](auto act) { each([](float v, float) { return decltype(act)::value(v); }); });
  }
}

// budget: 255 registers, 32 KiB shared, 0 spills
template <class Tile, class T, bool Backward>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks) products_kernel(const __grid_constant__ Products all) {
  SHARED_ARRAY(uint4, shared, [kSharedChunks<Tile, kPlanes<T>, kPlanes<T>>]);
  int which = 0;
  while (which + 1 < all.count && blockIdx.x >= all.of[which + 1].first) ++which;
  const Product& p = all.of[which];
  Work w = p.work;
  const unsigned tiles = w.tiles_m * w.tiles_n, tile = (blockIdx.x - p.first) % tiles, split = (blockIdx.x - p.first) / tiles;
  const int m0 = w.tile_m(Tile::kM, tile), n0 = w.tile_n(Tile::kN, tile);

  Sums<Tile> sums;
  int64_t begin = static_cast<int64_t>(split) * w.depth, end = begin + w.depth;  // of all parts, one after the other
#pragma unroll 1
  for (int i = 0; i < p.count && end > 0; ++i) {
    const Part& part = p.parts[i];
    add_part<Backward, T>(sums, shared, p, part, m0, n0, static_cast<int>(begin < 0 ? 0 : begin), static_cast<int>(end < part.K ? end : part.K));
    begin -= whole_steps(part.K);
    end -= whole_steps(part.K);
  }

  store(sums, w, m0, n0, split, p.c);
  if (w.partial) {
    if (!last_block(p.arrived + tile, w.splits, shared)) return;
    const int64_t size = static_cast<int64_t>(w.M) * w.N;
    sums.each_pair(m0, n0, [&](int m, int n, float& a, float& b) {
      if (m >= w.M || n >= w.N) return;
      const float* from = w.partial + static_cast<int64_t>(m) * w.N + n;
      a = b = 0;
#pragma unroll 1
      for (unsigned z = 0; z < w.splits; ++z, from += size) {
        a += from[0];
        if (n + 1 < w.N) b += from[1];
      }
    });
    w.partial = nullptr;
    store(sums, w, m0, n0, 0, p.c);
  }
  if (p.then.kind == Then::nothing) return;
  __syncthreads();  // the tile has been stored
  if (p.then.packs) finish<Tile, T, kWidth<T>, Backward>(p, m0, n0);
  else finish<Tile, T, 1, Backward>(p, m0, n0);
}

// Few tiles and long sums are cut, so that all multiprocessors have work.
template <class Tile>
int64_t plan(const Stream& s, Scratch& scratch, Products& all) {
  int64_t tiles = 0, first = 0, counters = 0;
  for (int i = 0; i < all.count; ++i) {
    Work& w = all.of[i].work;
    w.tiles_m = static_cast<unsigned>((w.M + Tile::kM - 1) / Tile::kM);
    w.tiles_n = static_cast<unsigned>((w.N + Tile::kN - 1) / Tile::kN);
    tiles += static_cast<int64_t>(w.tiles_m) * w.tiles_n;
  }
  const int64_t wanted = 2 * s.multiprocessors, cuts = 2 * tiles < wanted ? (wanted + tiles - 1) / tiles : 1;
  for (int i = 0; i < all.count; ++i) {
    Product& p = all.of[i];
    Work& w = p.work;
    constexpr int64_t least = 256;
    const int64_t splits = std::max<int64_t>(1, std::min(cuts, w.K / least)), of_p = static_cast<int64_t>(w.tiles_m) * w.tiles_n;
    w.depth = whole_steps(static_cast<int>((w.K + splits - 1) / splits));
    w.splits = w.depth == 0 ? 1 : static_cast<unsigned>((w.K + w.depth - 1) / w.depth);
    p.first = static_cast<unsigned>(first);
    p.arrived = s.counters + counters;
    if (w.splits > 1) {
      w.partial = scratch.take<float>(w.splits * int64_t{w.M} * w.N);
      counters += of_p;
    }
    first += of_p * w.splits;
    if (first > INT32_MAX) break;
  }
  return first;
}

}  // namespace

Product& Products::add(int64_t M, int64_t N, const Matrix& c) {
  check_sides(M, N, 0);
  Product& p = of[count];
  p = Product{};
  p.c = c;
  p.work = {static_cast<int>(M), static_cast<int>(N)};
  if (M > 0 && N > 0) ++count;
  return p;
}

namespace {

Factor factor_of(const View& v, DType beside) {
  check_sides(v.rows(), v.cols(), 0);
  const bool packs = aligned16({v.data}) && v.cols() * static_cast<int64_t>(dtype_bytes(v.dtype)) % 16 == 0;
  return {v.data, static_cast<int>(v.rows()), static_cast<int>(v.cols()), packs, v.dtype != beside};
}
void add_part(Product& p, const View& a, const View& b, int64_t K) {
  check_sides(K, p.work.K, int64_t{p.work.K} + K + kDepth);
  p.parts[p.count++] = {factor_of(a, a.dtype), factor_of(b, a.dtype), static_cast<int>(K)};
  p.work.K += whole_steps(static_cast<int>(K));
}

}  // namespace

void add_forward(Product& p, const View& x, const View& w) { add_part(p, x, w, x.cols()); }
void add_dx(Product& p, const View& dy, const View& w) { add_part(p, dy, w, dy.cols()); }
void add_dw(Product& p, const View& dy, const View& x) {
  p.of_weight = true;
  add_part(p, dy, x, dy.rows());
}

void launch_products(Stream& s, Scratch& scratch, DType dtype, bool backward, Products& all) {
  if (all.count == 0) return;
  // The longest first: what ends last began first.
  std::stable_sort(all.of, all.of + all.count, [](const Product& a, const Product& b) { return a.work.K > b.work.K; });
  by_dtype(dtype, [&](auto t) {
    using T = decltype(t);
    using Tile = std::conditional_t<sizeof(T) == 4, Exact, Middle>;  // a wide tile has no registers for several forms of product: it spilled
    const dim3 grid = grid_of(plan<Tile>(s, scratch, all));
    if (backward) launch<products_kernel<Tile, T, true>>(s, grid, Tile::kThreads, 0, all);
    else launch<products_kernel<Tile, T, false>>(s, grid, Tile::kThreads, 0, all);
  });
}

}  // namespace anymal::cuda::gemm
