// Rotary position embedding in half-split form (RoFormer, arXiv 2104.09864; Hugging Face's rotate_half): (a, b) = (x[i], x[i + D/2]) turns by
// the angle of its position. The inverse turns back: it is the gradient. Queries and keys turn in one launch, which in decoding puts keys and values
// into their caches too.
#include "elementwise.cuh"

namespace anymal::cuda {
namespace {

// Where rows of keys and values go: `room` rows for each batch row, from its slot on. Without slots they go where they stand.
struct Room {
  const int32_t* slot = nullptr;
  int64_t T = 1, room = 0;
};
// One tensor's heads of each row.
template <class T>
struct Heads {
  T* to = nullptr;
  const T* from = nullptr;
  uint32_t count = 0;
};

// The heads of a row stand after each other: those of q, of k, and of v, which do not turn.
template <class T>
struct Turning {
  Heads<T> q = {}, k = {}, v = {};
  Room room = {};
  const float* table = nullptr;
  const int32_t* positions = nullptr;
  int64_t rows = 0, half = 0, limit = 0;  // limit: rows of the table
  float sign = 1;
};

// `threads` of a block share a row, W pairs to a thread at a time.
template <class T, int W>
__global__ void rope_kernel(Turning<T> n, int threads, FaultSink fault) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kThreads / threads) + threadIdx.x / threads;
  if (row >= n.rows) return;
  const int32_t at = n.positions[row];
  const bool holds = index_holds(fault, Fault::position, row, at, 0, n.limit);
  int64_t place = row;  // of keys and values
  bool fits = true;
  if (n.room.slot) {
    const int64_t b = row / n.room.T, slot = n.room.slot[b];
    fits = index_holds(fault, Fault::position, b, slot, 0, n.room.room - n.room.T + 1);
    place = b * n.room.room + slot + (row - b * n.room.T);
  }
  const float* angles = n.table + at * n.half * 2;
  const uint32_t per_head = static_cast<uint32_t>(n.half / W), items = per_head * (n.q.count + n.k.count + n.v.count);
  for (uint32_t item = threadIdx.x % threads; item < items; item += threads) {
    uint32_t h = item / per_head;
    const uint32_t i = (item - h * per_head) * W;
    const bool is_q = h < n.q.count, turns = h < n.q.count + n.k.count;
    h -= is_q ? 0 : turns ? n.q.count : n.q.count + n.k.count;
    const uint32_t count = is_q ? n.q.count : n.k.count;  // v has as many as k
    const T* from = (is_q ? n.q.from : turns ? n.k.from : n.v.from) + (row * count + h) * 2 * n.half + i;
    T* to = (is_q ? n.q.to : turns ? n.k.to : n.v.to) + ((is_q ? row : place) * count + h) * 2 * n.half + i;
    float a[W], b[W], turn[2 * W] = {};
    load<W>(a, from);
    load<W>(b, from + n.half);
    if (turns) {
      if (holds) {
        if constexpr (W == 1) {
          turn[0] = angles[2 * i];
          turn[1] = angles[2 * i + 1];
        } else {
          load<2 * W>(turn, angles + 2 * i);
        }
      }
      for (int k = 0; k < W; ++k) {
        const float cosine = turn[2 * k], sine = n.sign * turn[2 * k + 1], p = a[k], q = b[k];
        a[k] = p * cosine - q * sine;
        b[k] = q * cosine + p * sine;
      }
    }
    if (is_q || fits) {
      store<W>(to, a);
      store<W>(to + n.half, b);
    }
  }
}

template <class T>
Heads<T> heads_of(const View& to, const View& from) {
  return {to.as<T>(), from.as<T>(), static_cast<uint32_t>(from.dim(2))};
}

template <class T>
void turn(Stream& s, Turning<T> n, const View& shape, const View& table, const View& positions, bool inverse) {
  n.table = table.as<float>();
  n.positions = positions.as<int32_t>();
  n.rows = shape.dim(0) * shape.dim(1);
  n.half = shape.dim(3) / 2;
  n.limit = table.dim(0);
  n.sign = inverse ? -1.0f : 1.0f;
  const int64_t heads = static_cast<int64_t>(n.q.count) + n.k.count + n.v.count;
  if (n.half == 0 || heads == 0) return;
  const auto run = [&](auto w) {
    const int64_t items = heads * (n.half / w());
    int threads = 8;
    while (threads < kThreads && threads < items) threads *= 2;
    const int64_t per = kThreads / threads;
    launch<rope_kernel<T, w()>>(s, grid_of((n.rows + per - 1) / per), kThreads, 0, n, threads, s.fault);
  };
  const bool packs = aligned16({n.q.to, n.q.from, n.k.to, n.k.from, n.v.to, n.v.from, n.table});
  if (n.half % kWidth<T> == 0 && packs) run(std::integral_constant<int, kWidth<T>>{});
  else run(std::integral_constant<int, 1>{});
}

}  // namespace

void rope(Stream& s, Out y, In x, In table, In positions, bool inverse) {
  by_dtype(x.dtype, [&](auto t) {
    using T = decltype(t);
    turn<T>(s, {heads_of<T>(y, x)}, x, table, positions, inverse);
  });
}

void rope_pair(Stream& s, Out yq, Out yk, In q, In k, In table, In positions, bool inverse) {
  by_dtype(q.dtype, [&](auto t) {
    using T = decltype(t);
    turn<T>(s, {heads_of<T>(yq, q), heads_of<T>(yk, k)}, q, table, positions, inverse);
  });
}

void rope_cached(Stream& s, Out y, InOut k_cache, InOut v_cache, In q, In k, In v, In table, In positions, In slot) {
  by_dtype(q.dtype, [&](auto t) {
    using T = decltype(t);
    Turning<T> n{heads_of<T>(y, q), heads_of<T>(k_cache, k), heads_of<T>(v_cache, v)};
    n.room = {slot.as<int32_t>(), q.dim(1), k_cache.dim(1)};
    turn<T>(s, n, q, table, positions, false);
  });
}

}  // namespace anymal::cuda
