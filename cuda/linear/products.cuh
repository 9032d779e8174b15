// Several dense products in one launch, and what is done to their results element by element (a residual, an activation, its slope) where they are
// made: layers of few rows, such as a resampler's, take as long as their launches.
//
// A product's sum may have several parts, whose factors lie apart: the gradient of what is projected three times, or of a weight that two sources
// share. Sums that are cut end in the launch, in a fixed order: which tile, which cut and which rounding a result has depends on sizes alone.
#pragma once
#include "linear/gemm.cuh"

namespace anymal::cuda::gemm {

// Rows of memory; `wide`: f32 beside bf16 ones, rounded on the way.
struct Factor {
  const void* data;
  int rows, cols;
  bool packs, wide;
};

// A (M,K) . B (N,K)^T, where B, or both, may lie the other way round (Direction).
struct Part {
  Factor a, b;
  int K;
};

// What is done to a result once it has been rounded to its dtype: `to` = result + other, f(result), result f'(other); `to` may be the result itself.
struct Then {
  enum Kind : int32_t { nothing = 0, sum, value, slope };
  Kind kind = nothing;
  Activation function = Activation::identity;
  void* to = nullptr;
  const void* other = nullptr;
  bool packs = false;  // whole packs lie in a row and at their addresses
};

constexpr int kMostParts = 3, kMostProducts = 5;

struct Product {
  Part parts[kMostParts];
  int count = 0;
  bool of_weight = false;  // both factors lie the other way round
  Matrix c;
  Then then;
  Work work;  // its K is of all parts, each in whole steps

  // For launch_products to fill in.
  unsigned first;     // of the launch's blocks
  unsigned* arrived;  // a counter for each tile
};

struct Products {
  Product of[kMostProducts];
  int count = 0;

  // To be filled in; forget it where a result is empty.
  Product& add(int64_t M, int64_t N, const Matrix& c);
};

// y (N,O) = x.w^T; dx (N,I) = dy.w; dw (O,I) = dy^T.x, in each case added to what the product has so far.
void add_forward(Product& p, const View& x, const View& w);
void add_dx(Product& p, const View& dy, const View& w);
void add_dw(Product& p, const View& dy, const View& x);

// `backward`: its products are of add_dx and add_dw, else of add_forward. No result may be another's factor.
void launch_products(Stream& s, Scratch& scratch, DType dtype, bool backward, Products& all);

}  // namespace anymal::cuda::gemm
