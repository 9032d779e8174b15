// Which tiles of keys meet which tiles of queries, and how those that meet one tile of queries add up its dq: each in its turn, keys in ascending
// order, so that a sum has the same bits whatever a card runs first. A turn is waited for by blocks that took a higher number as they began than the
// block they wait for: that one runs or has ended, in whatever order and however few at a time a card begins its blocks.
#pragma once
#include "backward.cuh"

namespace anymal::cuda::flash {

// The first of n numbers that `holds` is true of, n if none: it stays true from there on.
template <class F>
__device__ __forceinline__ int first_that(int n, const F& holds) {
  int low = 0, high = n;
#pragma unroll 1
  while (low < high) {
    const int middle = (low + high) / 2;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

template <int Keys, int Queries>
struct Meetings {
  const KeyTiles<Keys> keys;
  const int steps;  // tiles of queries

  template <class X>
  __device__ __forceinline__ explicit Meetings(const Job<X>& j) : keys(j, {0, j.source[0].S}), steps((j.T + Queries - 1) / Queries) {}

  // Keys of the first source that any query of the tile sees; queries see no less than what is between the first one's first and the last one's last.
  template <class X>
  static __device__ __forceinline__ Span seen_by_any(const Job<X>& j, Span range, int step) {
    return {keys_seen(j, range, step * Queries).begin, keys_seen(j, range, last_query(j, step)).end};
  }
  template <class X>
  static __device__ __forceinline__ Span seen_by_all(const Job<X>& j, Span range, int step) {
    return {keys_seen(j, range, last_query(j, step)).begin, keys_seen(j, range, step * Queries).end};
  }
  // The first source's tiles that tile `step` of queries meets. Both ends grow with `step`. Where no query sees a key it meets the tile nearest to
  // what they would see: somebody has to say that dq is zero.
  template <class X>
  __device__ __forceinline__ Span met(const Job<X>& j, Span range, int step) const {
    if (keys.first == 0) return {0, 0};
    Span seen = seen_by_any(j, range, step);
    if (seen.end <= seen.begin) {
      seen.begin = clamp(seen.begin > range.begin ? seen.begin - 1 : seen.begin, 0, j.source[0].S - 1);
      seen.end = seen.begin + 1;
    }
    return {seen.begin / Keys, (seen.end - 1) / Keys + 1};
  }
  // The tiles of queries that tile `tile` of keys meets.
  template <class X>
  __device__ __forceinline__ Span queries(const Job<X>& j, Span range, int tile) const {
    if (tile >= keys.first) return {0, steps};
    return {first_that(steps, [&](int step) { return met(j, range, step).end > tile; }),
            first_that(steps, [&](int step) { return met(j, range, step).begin > tile; })};
  }
  // Which of the tiles of keys that meet tile `step` is `tile`, and how many they are.
  struct Turn {
    int before, all;
    __device__ __forceinline__ bool first() const { return before == 0; }
    __device__ __forceinline__ bool last() const { return before + 1 == all; }
  };
  template <class X>
  __device__ __forceinline__ Turn turn(const Job<X>& j, Span range, int step, int tile) const {
    const Span of_first = met(j, range, step);
    const int count = of_first.end - of_first.begin;
    return {tile < keys.first ? tile - of_first.begin : count + tile - keys.first, count + keys.total - keys.first};
  }

 private:
  template <class X>
  static __device__ __forceinline__ int last_query(const Job<X>& j, int step) {
    return (step + 1) * Queries < j.T ? (step + 1) * Queries - 1 : j.T - 1;
  }
};

// One thread: has the turn of who comes behind `before` others begun? What those have written is there for whoever meets this thread at a barrier.
__device__ __forceinline__ void await_turn(unsigned* arrived, int before) {
  while (atomicAdd(arrived, 0u) != static_cast<unsigned>(before)) __nanosleep(40);
  __threadfence();
}
// One thread, behind a barrier after the block's writes.
__device__ __forceinline__ void end_turn(unsigned* arrived) {
  __threadfence();
  atomicAdd(arrived, 1u);
}

}  // namespace anymal::cuda::flash
