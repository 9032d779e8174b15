// Attention in blocks of keys (FlashAttention, arXiv 2205.14135): what the op (ops/attention.cc) asks of a dispatch level's kernels (flash/forward.h,
// flash/backward.h, compiled with the products in linear/kernels/<level>.cc).
//
//   Keys of one (batch row, key/value head) are cut into blocks, which count from the first key that the row can see, and are packed once for all
//   queries and heads that meet them. A call takes some queries of one head. Its scores stand as (keys, queries): a lane belongs to a query, whose
//   maximum and sum run down the lane and meet no other's. So a query's bits depend on nothing but itself and the keys that it sees: a key that is
//   hidden from it adds 0 to sums whose order counts from the first key.
#pragma once
#include <cstdint>

namespace anymal::cpu::flash {

// One source of keys: those that the batch row can see, [first, end).
struct Keys {
  int64_t first, end;
  const char* packed;  // blocks, block_bytes apart
  int64_t column;      // of key `first` in a row of bias
  float *dk, *dv;      // backward: sums to add to, (blocks * block, width(D)) of f32, of q and dy
};

struct Queries {
  const void* q;
  int64_t row;  // elements from query to query, also of y, dy and dq
  int64_t n, D;
  float scale;
  const int64_t *begin, *end;  // (n): the keys of the first source that each sees; those of the second are all seen
  const float* bias;           // of the first query, or null
  float* dbias;                // is added to; as bias, or null
  int64_t bias_row;
  int64_t block;  // keys that the packed blocks have room for
  Keys keys[2];
  int sources;
  void* y;
  float* lse;
  const void* dy;
  void* dq;
};

constexpr int64_t kMostQueries = 128;  // of a call

struct Kernel {
  int64_t block, step;                        // most keys of a block; sums of dk and dv are written in whole steps of keys
  int64_t forward_queries, backward_queries;  // the most that a call may take
  int64_t lanes;                              // queries that cost no more than one
  int64_t (*width)(int64_t D);
  // `block` here: keys that a block has room for, `block` above or, where there are fewer, these up to a whole step.
  int64_t (*block_bytes)(int64_t D, int64_t block, bool backward);
  // `count` keys of a head, `row` elements apart.
  void (*pack)(char* to, const void* k, const void* v, int64_t row, int64_t count, int64_t D, int64_t block, bool backward);
  int64_t (*forward_room)(int64_t D, int64_t block, int64_t queries);
  void (*forward)(const Queries&, char* room);  // y, lse
  int64_t (*backward_room)(int64_t D, int64_t block, int64_t queries, int64_t blocks);
  void (*backward)(const Queries&, char* room);  // dq; adds to keys[].dk, dv (not yet times scale) and dbias
};

}  // namespace anymal::cpu::flash
