// Rows moved by an index: gather_rows (Swin's windows, patch merging), splice_rows (media tokens between text tokens), embedding, and their
// gradients. A row whose index is out of range becomes zeros, adds to nothing, and is told of (Fault).
//
// A gradient adds up the rows that share a target in their order, without atomics on floats: the rows of each target are counted, laid one target
// after another, ordered within each, and then every element of the table has one thread that adds its rows.
#include "elementwise.cuh"

namespace anymal::cuda {
namespace {

// Threads of a block that share a row of `units`: a power of two.
int row_threads(int64_t units) {
  int n = 4;
  while (n < kThreads && n < units) n *= 2;
  return n;
}
dim3 row_blocks(int64_t rows, int threads) {
  const int64_t per = kThreads / threads;
  return grid_of((rows + per - 1) / per);
}

struct Tables {
  const void *first, *second;  // rows from first_rows on are the second's
  int64_t first_rows, rows;    // of both
};

// y row i <- row index[i] of the tables, or zeros where it is -1.
template <class U>
__global__ void gather_kernel(U* y, Tables tables, const int32_t* index, int64_t n, int64_t units, int threads, int64_t low, Fault::Kind kind,
                              FaultLog fault) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * (kThreads / threads) + threadIdx.x / threads;
  if (i >= n) return;
  const int64_t at = index[i];
  const bool holds = index_holds(fault, kind, i, at, low, tables.rows) && at >= 0;
  const U* from = !holds                   ? nullptr
                  : at < tables.first_rows ? static_cast<const U*>(tables.first) + at * units
                                           : static_cast<const U*>(tables.second) + (at - tables.first_rows) * units;
  for (int64_t c = threadIdx.x % threads; c < units; c += threads) y[i * units + c] = from ? from[c] : U{};
}

void gather(Stream& s, const View& y, const Tables& tables, const View& index, int64_t low, Fault::Kind kind) {
  const int64_t bytes = y.cols() * static_cast<int64_t>(dtype_bytes(y.dtype)), n = index.size();
  if (bytes == 0) return;
  const auto run = [&](auto u) {
    using U = decltype(u);
    const int64_t units = bytes / static_cast<int64_t>(sizeof(U));
    const int threads = row_threads(units);
    launch<gather_kernel<U>>(s, row_blocks(n, threads), kThreads, 0, y.as<U>(), tables, index.as<int32_t>(), n, units, threads, low, kind,
                             s.fault_log());
  };
  if (bytes % 16 == 0 && aligned16({y.data, tables.first, tables.second})) run(uint4{});
  else if (y.dtype == DType::bf16) run(uint16_t{});
  else if (y.dtype == DType::u8) run(uint8_t{});
  else run(uint32_t{});
}

// The rows of each target: those of target r are order[first[r]] to order[first[r] + count[r] - 1], ascending.
struct Inverse {
  int32_t *count, *first, *order;
};

__global__ void count_kernel(int64_t n, int32_t* count, int32_t* place, const int32_t* index, int64_t low, int64_t rows, Fault::Kind kind,
                             FaultLog fault) {
  for (int64_t i = first_index(); i < n; i += index_stride()) {
    const int32_t r = index[i];
    if (index_holds(fault, kind, i, r, low, rows) && r >= 0) place[i] = atomicAdd(&count[r], 1);
  }
}

// first = exclusive sums of count, by one block.
constexpr int kScanThreads = 1024;
__global__ void scan_kernel(int32_t* first, const int32_t* count, int64_t rows) {
  SHARED_ARRAY(int32_t, totals, [kScanThreads / 32]);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int32_t before = 0;
  for (int64_t begin = 0; begin < rows; begin += kScanThreads) {
    const int64_t r = begin + threadIdx.x;
    const int32_t own = r < rows ? count[r] : 0;
    int32_t sum = own;
    for (int o = 1; o < 32; o *= 2) {
      const int32_t below = __shfl_up_sync(~0u, sum, o);
      sum += lane >= o ? below : 0;
    }
    if (lane == 31) totals[warp] = sum;
    __syncthreads();
    int32_t all = 0;
    for (int w = 0; w < kScanThreads / 32; ++w) {
      if (w == warp) sum += all;
      all += totals[w];
    }
    if (r < rows) first[r] = before + sum - own;
    before += all;
    __syncthreads();
  }
}

// Which of a target's rows took which place depends on the run; their ranks do not.
__global__ void lay_kernel(int64_t n, int32_t* laid, const int32_t* place, const int32_t* first, const int32_t* index, int64_t rows) {
  for (int64_t i = first_index(); i < n; i += index_stride()) {
    const int32_t r = index[i];
    if (r >= 0 && r < rows) laid[first[r] + place[i]] = static_cast<int32_t>(i);
  }
}
__global__ void order_kernel(int64_t n, int32_t* order, const int32_t* laid, const int32_t* first, const int32_t* count, const int32_t* index,
                             int64_t rows) {
  for (int64_t i = first_index(); i < n; i += index_stride()) {
    const int32_t r = index[i];
    if (r < 0 || r >= rows) continue;
    const int32_t* of_target = laid + first[r];
    int32_t rank = 0;
    for (int32_t j = 0, k = count[r]; j < k; ++j) rank += of_target[j] < i;
    order[first[r] + rank] = static_cast<int32_t>(i);
  }
}

Inverse invert(Stream& s, Scratch& scratch, const View& index, int64_t low, int64_t rows, Fault::Kind kind) {
  const int64_t n = index.size();
  const int32_t* at = index.as<int32_t>();
  int32_t *count = scratch.take<int32_t>(rows), *first = scratch.take<int32_t>(rows), *place = scratch.take<int32_t>(n),
          *laid = scratch.take<int32_t>(n), *order = scratch.take<int32_t>(n);
  clear(s, count, rows * 4);
  launch_items<count_kernel>(s, n, count, place, at, low, rows, kind, s.fault_log());
  if (rows) launch<scan_kernel>(s, 1, kScanThreads, 0, first, count, rows);
  launch_items<lay_kernel>(s, n, laid, place, first, at, rows);
  launch_items<order_kernel>(s, n, order, laid, first, count, at, rows);
  return {count, first, order};
}

// to row r = the sum of the rows of dy whose target is base + r; Add: on top of what is there.
template <class T, class To, bool Add, int W>
__global__ void scatter_kernel(To* to, const T* dy, Inverse inverse, int64_t base, int64_t rows, int64_t cols, int threads) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * (kThreads / threads) + threadIdx.x / threads;
  if (r >= rows) return;
  const int32_t count = inverse.count[base + r];
  const int32_t* order = inverse.order + inverse.first[base + r];
  if (Add && count == 0) return;
  for (int64_t c = threadIdx.x % threads * W; c < cols; c += threads * W) {
    float sum[W] = {}, v[W];
    if constexpr (Add) load<W>(sum, to + r * cols + c);
#pragma unroll 4
    for (int32_t i = 0; i < count; ++i) {
      load<W>(v, dy + order[i] * cols + c);
      for (int k = 0; k < W; ++k) sum[k] += v[k];
    }
    store<W>(to + r * cols + c, sum);
  }
}

template <class T, class To, bool Add>
void scatter(Stream& s, const View& to, const View& dy, const Inverse& inverse, int64_t base) {
  const int64_t rows = to.rows(), cols = to.cols();
  if (cols == 0) return;
  constexpr int W = kWidth<T>;
  const bool packs = cols % W == 0 && aligned16({to.data, dy.data});
  const int threads = row_threads(packs ? cols / W : cols);
  const dim3 blocks = row_blocks(rows, threads);
  if (packs) launch<scatter_kernel<T, To, Add, W>>(s, blocks, kThreads, 0, to.as<To>(), dy.as<T>(), inverse, base, rows, cols, threads);
  else launch<scatter_kernel<T, To, Add, 1>>(s, blocks, kThreads, 0, to.as<To>(), dy.as<T>(), inverse, base, rows, cols, threads);
}

}  // namespace

void gather_rows(Stream& s, Out y, In x, In index) { gather(s, y, {x.data, nullptr, x.rows(), x.rows()}, index, -1, Fault::row_index); }

void gather_rows_backward(Stream& s, Out dx, In dy, In index, int64_t rows) {
  Scratch scratch(s);
  const Inverse inverse = invert(s, scratch, index, -1, rows, Fault::row_index);
  by_dtype(dy.dtype, [&](auto t) { scatter<decltype(t), decltype(t), false>(s, dx, dy, inverse, 0); });
}

void splice_rows(Stream& s, Out y, In text, In media, In index) {
  gather(s, y, {text.data, media.data, text.rows(), text.rows() + media.rows()}, index, -1, Fault::splice_index);
}

void splice_rows_backward(Stream& s, OutOpt dtext, OutOpt dmedia, In dy, In index, int64_t text_rows, int64_t media_rows) {
  Scratch scratch(s);
  const Inverse inverse = invert(s, scratch, index, -1, text_rows + media_rows, Fault::splice_index);
  by_dtype(dy.dtype, [&](auto t) {
    if (dtext) scatter<decltype(t), decltype(t), false>(s, dtext, dy, inverse, 0);
    if (dmedia) scatter<decltype(t), decltype(t), false>(s, dmedia, dy, inverse, text_rows);
  });
}

void embedding(Stream& s, Out y, In ids, In w) { gather(s, y, {w.data, nullptr, w.dim(0), w.dim(0)}, ids, 0, Fault::token); }

void embedding_backward(Stream& s, Acc dw, In dy, In ids) {
  if (!dw) return;
  Scratch scratch(s);
  const Inverse inverse = invert(s, scratch, ids, 0, dw.dim(0), Fault::token);
  by_dtype(dy.dtype, [&](auto t) { scatter<decltype(t), float, true>(s, dw, dy, inverse, 0); });
}

}  // namespace anymal::cuda
