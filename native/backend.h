// THE contract between the core and a backend: every op, its shapes and its dtypes.
//
// Letters, the same in every file of this repository:
//   B batch, T query positions, S key positions, C width, H query heads, K key/value heads, D head size, V vocabulary,
//   N rows (= product of all leading sizes), I / O in / out features, r LoRA rank, E quantisation block,
//   G groups, L length, HW image height and width, M rows of a table that an index points into.
//
// Conventions, stated once:
//   * Destination first. The role of an argument is its type: `In` is read; `InOpt` is read when given; `Out` is written
//     whole (its old bytes are garbage); `OutOpt` likewise, but absent when the caller does not want it; `InOut` is read
//     and written; `Acc` is a gradient that is ADDED to when given ("+=") and always f32.
//   * Tensors are contiguous and row-major. A shape written (N,C) takes any leading sizes whose product is N.
//   * "x" stands for f32 or bf16, one dtype for all arguments marked x of one call. Arithmetic and sums are f32
//     (f64 where a comment says so). Nothing is promoted.
//   * The checks of native/shapes/ ran before: an entry may trust shapes, dtypes and scalars. It must not trust VALUES of index
//     tensors, which arrive later: an index out of range makes the entry throw std::out_of_range with the index in words.
//   * An entry throws std::exception (bad_alloc, runtime_error, out_of_range); the queue catches. It never exits or aborts.
//   * What fails poisons what depends on it and nothing else, on every backend. A command that throws, and one that reads something poisoned (it
//     is not run then), poisons all that it would have written: `Out`, `InOut` and `Acc` alike. Whoever awaits something poisoned is told why;
//     a whole overwrite heals. The unit is the buffer: views of one tensor share their fate, and so does all that one capture writes. A backend that
//     finds a bad value only after the command was issued reports it through `faults`, and the queue poisons what has been computed from it since.
//   * Sizes may be zero. Nothing is allocated from the system in the steady state: scratch comes from the stream.
//   * Same inputs, same bits, whatever the number of threads.
#pragma once
#include <cstddef>
#include <cstdint>

namespace anymal {

inline constexpr uint32_t kBackendVersion = 8;
inline constexpr int kMaxRank = 6;

enum class DType : int32_t { f32 = 0, bf16 = 1, i32 = 2, u8 = 3 };
constexpr size_t dtype_bytes(DType t) { return t == DType::u8 ? 1 : t == DType::bf16 ? 2 : 4; }

// A kernel's sight of a tensor. `data` is null when an optional argument is absent.
struct View {
  void* data = nullptr;
  DType dtype = DType::f32;
  int32_t rank = 0;
  int64_t shape[kMaxRank] = {};

  explicit operator bool() const { return data != nullptr; }
  // A view of an empty tensor may carry a null pointer too; kernels ask for size() before they read.
  int64_t size() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= shape[i];
    return n;
  }
  int64_t dim(int i) const { return shape[i < 0 ? rank + i : i]; }  // dim(-1) is the last
  int64_t cols() const { return rank ? shape[rank - 1] : 1; }
  int64_t rows() const {  // product of all but the last size
    int64_t n = 1;
    for (int i = 0; i + 1 < rank; ++i) n *= shape[i];
    return n;
  }
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

struct In : View {};
struct InOpt : View {};
struct Out : View {};
struct OutOpt : View {};
struct InOut : View {};
struct Acc : View {};
// Several tensors of one role. `items` lives as long as the call.
struct InList {
  const View* items;
  int64_t count;
};
struct InOutList {
  const View* items;
  int64_t count;
};
struct OutList {
  const View* items;
  int64_t count;
};
struct AccList {
  const View* items;
  int64_t count;
};
// Several numbers, one for each tensor of a list.
struct Numbers {
  const double* items;
  int64_t count;
};

enum class Activation : int32_t {
  relu = 0,
  squared_relu = 1,  // max(0,x)^2 (Flamingo, arXiv 2204.14198, appendix)
  gelu = 2,          // erf form
  gelu_tanh = 3,
  quick_gelu = 4,  // x * sigmoid(1.702 x) (OpenAI CLIP)
  silu = 5,
  tanh = 6,
  sigmoid = 7,
  identity = 8,
};

// Numbers of 4-bit codes and the 8-bit blockwise maps: native/quant/.
enum class QuantFormat : int32_t { nf4 = 0, fp4 = 1, int8 = 2 };

// How contrastive_loss turns its scalar parameter into the factor of the logits.
enum class TemperatureForm : int32_t { exp = 0, reciprocal = 1 };  // CLIP: exp(s); IMU2CLIP: 1/s

// What a benchmark calls 100 %.
enum class Peak : int32_t { f32 = 0, bf16 = 1, bandwidth = 2 };  // FLOP/s of matrix products by dtype of their operands; bytes/s of memory

struct Stream;  // a backend's own: queue of work, scratch, threads

// Scratch is a stream's own, but is counted with everything else and held to the same limit. Called by the op that runs, from any of its threads.
struct ScratchAccount {
  virtual ~ScratchAccount() = default;
  virtual void take(size_t bytes) = 0;  // before scratch is taken from the system; throws std::bad_alloc where the device's limit leaves no room
  virtual void give_back(size_t bytes) noexcept = 0;
  // When the system refused: gives cached buffers back to it. False where there were none, or where that must not be done now.
  virtual bool reclaim() noexcept = 0;
};

// A bad value found after its command was issued.
struct DeferredFault {
  int64_t command;    // as told to issue(); 0: one of those since the last wait, nobody knows which
  char message[160];  // an index out of range, in words
};

struct Backend {
  uint32_t version;  // == kBackendVersion, else the loader refuses
  const char* name;  // "cpu", "cuda", "emulated"

  // ---- device -----------------------------------------------------------------------------------------------------
  // `options` is "key=value;key=value" (cpu: threads, level; cuda: index). Throws when the device cannot be had.
  Stream* (*stream_create)(const char* options);
  void (*stream_destroy)(Stream*);
  void (*account_scratch)(Stream&, ScratchAccount*);  // from now on; null: nobody counts
  void (*synchronize)(Stream&);                       // waits for everything issued; throws the device's own errors
  // Null where nobody needs to know: while `more` is true one command follows another without a pause, so threads between two of them may stay awake.
  void (*region)(Stream&, bool more);
  // For backends that find bad values late, else null. issue: the kernels launched from now on belong to this command (> 0); in a graph they keep it.
  // faults: after a wait, what was found since the last call; returns how many, `most` at most.
  void (*issue)(Stream&, int64_t command);
  int64_t (*faults)(Stream&, DeferredFault*, int64_t most);
  const char* (*describe)(Stream&);          // one line for humans: dispatch level and threads, or the card and its driver
  void* (*allocate)(Stream&, size_t bytes);  // 64-byte aligned at least; throws std::bad_alloc
  void (*release)(Stream&, void*);
  void (*copy_from_host)(Stream&, void* dst, const void* src, size_t bytes);
  void (*copy_to_host)(Stream&, void* dst, const void* src, size_t bytes);  // complete when it returns
  // Measured, with all threads: register-only arithmetic, or the better of reading and copying a block far larger than the caches.
  double (*measure_peak)(Stream&, Peak);
  // Graph capture: null where the queue replays its own list (CPU).
  void (*capture_begin)(Stream&);
  void* (*capture_end)(Stream&);
  void (*capture_replay)(Stream&, void* graph);
  void (*capture_destroy)(Stream&, void* graph);

  // ---- movement ---------------------------------------------------------------------------------------------------
  void (*copy)(Stream&, Out y, In x);                      // any dtype, same shape
  void (*fill)(Stream&, InOut y, double value);            // any dtype; value is rounded to it
  void (*cast)(Stream&, Out y, In x);                      // f32 <-> bf16 (round to nearest even), i32 <-> f32 (truncates), u8 -> f32/i32
  void (*concat)(Stream&, Out y, InList xs, int64_t dim);  // any one dtype; sizes differ only along dim
  void (*slice_copy)(Stream&, Out y, In x, int64_t dim, int64_t start, int64_t length);  // y = x[..., start:start+length, ...]
  void (*slice_place)(Stream&, Out y, In x, int64_t dim, int64_t start, int64_t full);   // inverse: zeros but for the slice
  void (*transpose_copy)(Stream&, Out y, In x, int64_t dim0, int64_t dim1);              // swaps two dims; any dtype
  // y (N,C) <- x (M,C) by index (N) i32; index -1 gives a row of zeros. Swin's window moves and patch merging are such an index.
  void (*gather_rows)(Stream&, Out y, In x, In index);
  void (*gather_rows_backward)(Stream&, Out dx, In dy, In index, int64_t rows);  // dx (M,C), M = rows; repeated indices add up in row order
  // y (N,C) <- index (N) i32: i < Nt takes text row i, else media row i - Nt; -1 gives zeros. text (Nt,C), media (Nm,C): x
  void (*splice_rows)(Stream&, Out y, In text, In media, In index);
  void (*splice_rows_backward)(Stream&, OutOpt dtext, OutOpt dmedia, In dy, In index, int64_t text_rows, int64_t media_rows);
  void (*random_uniform)(Stream&, InOut y, double low, double high, int64_t seed, int64_t offset);  // Philox 4x32-10; x
  void (*random_normal)(Stream&, InOut y, double mean, double std, int64_t seed, int64_t offset);   // Box-Muller of the same

  // ---- arithmetic -------------------------------------------------------------------------------------------------
  void (*add)(Stream&, Out y, In a, In b);                                      // x; b's shape is a suffix of a's (broadcast over leading sizes)
  void (*mul)(Stream&, Out y, In a, In b);                                      // likewise; layer scale is mul by (C)
  void (*mul_backward)(Stream&, OutOpt da, Acc db, In dy, In a, In b);          // db has b's shape: summed over the leading sizes
  void (*sum_leading)(Stream&, Acc db, In dy);                                  // db (suffix shape) += dy summed over leading sizes
  void (*scale_add)(Stream&, Out y, In x, InOpt r, double alpha, double beta);  // y = alpha*x + beta*r; x
  void (*scale_by)(Stream&, Out y, In x, In s);                                 // y = x * s (1) f32, read on the device; x
  void (*accumulate)(Stream&, InOut y, In x, double alpha);                     // y += alpha*x; y f32, x f32 or bf16
  void (*activation)(Stream&, Out y, In x, Activation kind);                    // x
  void (*activation_backward)(Stream&, Out dx, In dy, In x, Activation kind);
  // y = act(gate) * up: swiglu (silu), geglu (gelu). All (N,C) x.
  void (*gated_activation)(Stream&, Out y, In gate, In up, Activation kind);
  void (*gated_activation_backward)(Stream&, Out dgate, Out dup, In dy, In gate, In up, Activation kind);
  // y = residual + tanh(g) * x (Flamingo 2.2). x (...,G,W) with g (G), or g (1) and any shape; g f32; residual may be absent.
  void (*tanh_gate)(Stream&, Out y, In x, InOpt residual, In g);
  void (*tanh_gate_backward)(Stream&, Out dx, Acc dg, In dy, In x, In g);
  // Keeps an element with probability 1-p and scales it by 1/(1-p). The mask is a function of (seed, offset, position).
  void (*dropout)(Stream&, Out y, In x, double p, int64_t seed, int64_t offset);  // its own backward, given dy

  // ---- matmul -----------------------------------------------------------------------------------------------------
  void (*linear)(Stream&, Out y, In x, In w, InOpt b);      // y (N,O) <- x (N,I), w (O,I), b (O); all x
  void (*linear_dx)(Stream&, Out dx, In dy, In w);          // dx (N,I) = dy (N,O) . w
  void (*linear_dw)(Stream&, Acc dw, Acc db, In dy, In x);  // dw (O,I) += dy^T . x, db (O) += column sums of dy
  // For the next four a weight may be f32 whatever x is: it counts as rounded to x.
  // y = residual + act(pre), pre = x.w^T + b, each rounded to x: pre (N,O) is stored where its slope will be asked for. Without a residual y =
  // act(pre). With a residual there is no activation: kind is identity, and pre is not given.
  void (*linear_fused)(Stream&, Out y, OutOpt pre, In x, In w, InOpt b, InOpt residual, Activation kind);
  // dx (N,I) = dy.w, rounded, times act'(pre) where pre (N,I) is given: that of the layer before. dw, db as linear_dw has them. x with dw, w with dx.
  void (*linear_fused_backward)(Stream&, OutOpt dx, Acc dw, Acc db, In dy, InOpt x, InOpt w, InOpt pre, Activation kind);
  // Perceiver's projections: q = x2.wq^T, k and v of x1 and of x2 by wk and wv. x1 (...,I), x2 (...,I); w (O,I).
  void (*project_two_source)(Stream&, Out q, Out k1, Out v1, Out k2, Out v2, In x1, In x2, In wq, In wk, In wv);
  void (*project_two_source_backward)(Stream&, OutOpt dx1, OutOpt dx2, Acc dwq, Acc dwk, Acc dwv, In dq, In dk1, In dv1, In dk2, In dv2, In x1, In x2,
                                      In wq, In wk, In wv);
  // Quantised weight W (O,I) = `codes` in THIS backend's packed layout + block scales in bitsandbytes' order:
  //   nf4, fp4: absmax f32 (nb), or u8 (nb) with nested_absmax f32 (ceil(nb/256)) and nested_offset f32 (1); nb = ceil(O*I/E)
  //   int8:     absmax = SCB f32 (O), block = 0
  // int8 with threshold > 0 is LLM.int8 (arXiv 2208.07339): columns of x with any |x| >= threshold go in full precision, the
  // others are quantised per row to 8 bit; threshold 0 quantises every column. dx is always dy . dequantised(W).
  void (*linear_quantized)(Stream&, Out y, In x, In codes, In absmax, InOpt nested_absmax, InOpt nested_offset, InOpt b, QuantFormat format,
                           int64_t block, int64_t out_features, double threshold);
  void (*linear_quantized_dx)(Stream&, Out dx, In dy, In codes, In absmax, InOpt nested_absmax, InOpt nested_offset, QuantFormat format,
                              int64_t block, int64_t in_features);
  // y = x.W^T + b + s * dropout(x).A^T.B^T (QLoRA, arXiv 2305.14314 eq. 3) in one accumulation. A (r,I), B (O,r): x. u (N,r) = dropout(x).A^T is
  // saved.
  void (*linear_quantized_lora)(Stream&, Out y, Out u, In x, In codes, In absmax, InOpt nested_absmax, InOpt nested_offset, InOpt b, In lora_a,
                                In lora_b, QuantFormat format, int64_t block, int64_t out_features, double threshold, double scaling, double dropout,
                                int64_t seed, int64_t offset);
  void (*linear_quantized_lora_backward)(Stream&, OutOpt dx, Acc da, Acc db, In dy, In x, In u, In codes, In absmax, InOpt nested_absmax,
                                         InOpt nested_offset, In lora_a, In lora_b, QuantFormat format, int64_t block, double scaling, double dropout,
                                         int64_t seed, int64_t offset);
  // Up to three weights W_i (O_i,I) of one format and block over one x, as of q, k and v, or of gate and up: y_i (N,O_i) is bit for bit that of
  // linear_quantized, or, where a branch is W_i's, of linear_quantized_lora. Lists of weights are as long as y; nested_* and biases may be empty.
  // Branch j is weight of[j]'s, ascending, with a scaling and an offset of its own; u (N * sum of ranks) has their u (N,r), one's behind the other's.
  void (*linear_quantized_group)(Stream&, OutList y, OutOpt u, In x, InList codes, InList absmax, InList nested_absmax, InList nested_offset,
                                 InList biases, InList lora_a, InList lora_b, Numbers out_features, Numbers of, Numbers scaling, Numbers offset,
                                 QuantFormat format, int64_t block, double threshold, double dropout, int64_t seed);
  // dx (N,I) of all weights and branches in one f32 sum, rounded once. da, db: as many as branches, or none. x, u: where branches are.
  void (*linear_quantized_group_backward)(Stream&, OutOpt dx, AccList da, AccList db, InList dy, InOpt x, InOpt u, InList codes, InList absmax,
                                          InList nested_absmax, InList nested_offset, InList lora_a, InList lora_b, Numbers of, Numbers scaling,
                                          Numbers offset, QuantFormat format, int64_t block, int64_t in_features, double dropout, int64_t seed);

  // ---- quantisation (numbers of bitsandbytes; native/quant/) --------------------------------------------------------
  // Row-major codes as on disk: nf4/fp4 two per byte, first element in the high nibble, u8 ((n+1)/2); absmax f32 (ceil(n/E)); w: f32 or bf16.
  void (*quantize_4bit)(Stream&, Out codes, Out absmax, In w, QuantFormat format, int64_t block);
  void (*dequantize_4bit)(Stream&, Out w, In codes, In absmax, QuantFormat format, int64_t block);  // w's shape is the output's; f32 or bf16
  void (*quantize_rows_int8)(Stream&, Out codes, Out scale, In w);   // codes u8 (O,I) holding int8, scale = row absmax f32 (O)
  void (*dequantize_rows_int8)(Stream&, Out w, In codes, In scale);  // codes * scale / 127
  void (*quantize_dynamic)(Stream&, Out codes, Out absmax, In x, int64_t block, bool is_signed);   // 8-bit dynamic map, u8 (n), f32 (ceil(n/E))
  void (*dequantize_dynamic)(Stream&, Out x, In codes, In absmax, int64_t block, bool is_signed);  // f32
  // Double quantisation: offset (1) = mean(absmax), (absmax - offset) through the signed dynamic map with block 256.
  void (*quantize_absmax)(Stream&, Out codes, Out nested_absmax, Out offset, In absmax);
  void (*dequantize_absmax)(Stream&, Out absmax, In codes, In nested_absmax, In offset);
  // Row-major codes <-> this backend's layout. The packed size is packed_bytes().
  void (*pack_codes)(Stream&, Out packed, In codes, QuantFormat format, int64_t out_features, int64_t in_features);
  void (*unpack_codes)(Stream&, Out codes, In packed, QuantFormat format, int64_t out_features, int64_t in_features);
  int64_t (*packed_bytes)(QuantFormat format, int64_t out_features, int64_t in_features);

  // ---- norms --------------------------------------------------------------------------------------------------------
  // w, b: f32 or x. rstd, mean: f32 (N). Statistics in f32 over two passes.
  void (*rms_norm)(Stream&, Out y, Out rstd, In x, In w, double eps);  // (N,C)
  // sum = a + b, rounded to x; y and rstd are rms_norm of it. Its backward is that of rms_norm, with what flows into the sum as `past`.
  void (*add_rms_norm)(Stream&, Out sum, Out y, Out rstd, In a, In b, In w, double eps);
  // past (N,C): what flows into x past the norm. It is added to dx before that is rounded.
  void (*rms_norm_backward)(Stream&, OutOpt dx, Acc dw, In dy, In x, In w, In rstd, InOpt past);
  void (*layer_norm)(Stream&, Out y, Out mean, Out rstd, In x, InOpt w, InOpt b, double eps);
  void (*layer_norm_backward)(Stream&, OutOpt dx, Acc dw, Acc db, In dy, In x, InOpt w, In mean, In rstd);
  void (*group_norm)(Stream&, Out y, Out mean, Out rstd, In x, In w, In b, int64_t groups, double eps);  // x (B,C,...), statistics (B,G)
  void (*group_norm_backward)(Stream&, OutOpt dx, Acc dw, Acc db, In dy, In x, In w, In mean, In rstd, int64_t groups);
  void (*batch_norm_inference)(Stream&, Out y, In x, In mean, In var, In w, In b, double eps);  // x (B,C,...), running statistics (C) f32
  void (*batch_norm_inference_backward)(Stream&, OutOpt dx, Acc dw, Acc db, In dy, In x, In mean, In var, In w, double eps);
  void (*l2_normalize)(Stream&, Out y, Out norm, In x, double eps);  // rows: y = x / max(|x|, eps); norm f32 (N)
  void (*l2_normalize_backward)(Stream&, Out dx, In dy, In y, In norm, double eps);

  // ---- attention ----------------------------------------------------------------------------------------------------
  // x (B,T,H,D) rotated in half-split form (pairs i, i + D/2) by table (P,D/2,2) f32 of (cos, sin) at positions (B,T) i32. inverse: by -angle.
  void (*rope)(Stream&, Out y, In x, In table, In positions, bool inverse);
  // The same of queries q (B,T,H,D) and keys k (B,T,K,D).
  void (*rope_pair)(Stream&, Out yq, Out yk, In q, In k, In table, In positions, bool inverse);
  // y (B,T,H,D) = q turned; k (B,T,K,D) turned and v like k as it is land in their caches (B,Smax,K,D) of x at slot (B) i32 + t.
  void (*rope_cached)(Stream&, Out y, InOut k_cache, InOut v_cache, In q, In k, In v, In table, In positions, In slot);
  // y (B,T,H,D), lse (B,H,T) f32 <- q (B,T,H,D), k, v (B,S,K,D); head h reads kv head h / (H/K).
  //   causal: query t sees keys s <= t + S - T.  window > 0: and s > t + S - T - window.
  //   range (B,2) i32: keys outside [start, end) are hidden.  bias f32 (Bb,Hb,T,S), Bb divides B (row b uses b mod Bb), Hb is 1 or H: added to
  //   scale*q.k before softmax; -inf hides. A query that sees no key gives zeros, lse -inf and no gradient.
  void (*attention)(Stream&, Out y, Out lse, In q, In k, In v, InOpt range, InOpt bias, double scale, bool causal, int64_t window);
  void (*attention_backward)(Stream&, Out dq, Out dk, Out dv, Acc dbias, In dy, In q, In k, In v, In y, In lse, InOpt range, InOpt bias, double scale,
                             bool causal, int64_t window);
  // Keys in two buffers, first k1 (B,S1,K,D) then k2 (B,S2,K,D): Perceiver's [media; latents], nothing concatenated. range hides keys of the first.
  void (*attention_two_source)(Stream&, Out y, Out lse, In q, In k1, In v1, In k2, In v2, InOpt range, double scale);
  void (*attention_two_source_backward)(Stream&, Out dq, Out dk1, Out dv1, Out dk2, Out dv2, In dy, In q, In k1, In v1, In k2, In v2, In y, In lse,
                                        InOpt range, double scale);
  // One query per row against a cache (B,Smax,K,D): q, y (B,1,H,D); keys [range[b,0], range[b,1]) count, window > 0 keeps the last `window` of them.
  // The cache is x; with k_scale, v_scale f32 (B,Smax,K), the largest of each row of D, it is u8 holding int8 (quantize_rows_int8).
  void (*attention_decode)(Stream&, Out y, In q, In k_cache, In v_cache, InOpt k_scale, InOpt v_scale, In range, double scale, int64_t window);
  // cache (B,Smax,K,D) of any dtype, rows (B,T,K,D) land at position (B) i32 + t
  void (*cache_write)(Stream&, InOut cache, In rows, In position);

  // ---- convolution and pooling ----------------------------------------------------------------------------------------
  void (*conv1d)(Stream&, Out y, In x, In w, InOpt b, int64_t stride, int64_t padding, int64_t dilation);  // y (B,O,L') <- x (B,I,L), w (O,I,k)
  void (*conv1d_backward)(Stream&, OutOpt dx, Acc dw, Acc db, In dy, In x, In w, int64_t stride, int64_t padding, int64_t dilation);
  void (*conv2d)(Stream&, Out y, In x, In w, InOpt b, int64_t stride_h, int64_t stride_w, int64_t padding_h,
                 int64_t padding_w);  // y (B,O,H',W') <- x (B,I,H,W), w (O,I,kh,kw)
  void (*conv2d_backward)(Stream&, OutOpt dx, Acc dw, Acc db, In dy, In x, In w, int64_t stride_h, int64_t stride_w, int64_t padding_h,
                          int64_t padding_w);
  void (*max_pool1d)(Stream&, Out y, Out index, In x, int64_t kernel, int64_t stride);  // y (B,C,L'), index i32 into L (first of equals)
  void (*max_pool1d_backward)(Stream&, Out dx, In dy, In index, int64_t length);
  void (*mean_pool)(Stream&, Out y, In x, int64_t dim);  // mean over one dim, which disappears
  void (*mean_pool_backward)(Stream&, Out dx, In dy, int64_t dim, int64_t length);
  // y (B,C,H',W') <- x (B,C,H,W): torch's bicubic (a = -0.75; with antialias a = -0.5 and PIL's widening filter).
  void (*interpolate_bicubic)(Stream&, Out y, In x, int64_t out_h, int64_t out_w, bool align_corners, bool antialias);
  void (*interpolate_bicubic_backward)(Stream&, Out dx, In dy, int64_t in_h, int64_t in_w, bool align_corners, bool antialias);

  // ---- recurrence -----------------------------------------------------------------------------------------------------
  // torch.nn.GRU, one layer, h0 = 0: h (B,T,H) <- x (B,T,I), w_ih (3H,I), w_hh (3H,H), b_ih, b_hh (3H), gates r,z,n. saved (B,T,4H) f32: r, z, n,
  // W_hn h + b_hn.
  void (*gru)(Stream&, Out h, Out saved, In x, In w_ih, In w_hh, In b_ih, In b_hh);  // all f32
  void (*gru_backward)(Stream&, OutOpt dx, Acc dw_ih, Acc dw_hh, Acc db_ih, Acc db_hh, In dh, In h, In saved, In x, In w_ih, In w_hh);

  // ---- embedding and losses -------------------------------------------------------------------------------------------
  void (*embedding)(Stream&, Out y, In ids, In w);                                                  // y (N,C) <- ids (N) i32, w (V,C): x
  void (*embedding_backward)(Stream&, Acc dw, In dy, In ids);                                       // dw (V,C), added in row order
  void (*softmax_cross_entropy)(Stream&, Out loss, Out lse, In logits, In target, int64_t ignore);  // loss, lse f32 (N); ignored rows give 0
  void (*softmax_cross_entropy_backward)(Stream&, Out dlogits, In dloss, In logits, In lse, In target,
                                         int64_t ignore);  // dlogits may be the logits' own buffer
  // loss (N) f32 = cross entropy of x (N,C) . w^T (V,C), logits only in chunks. dx (N,C) and dw are of sum_n row_scale[n] * loss[n] (row_scale
  // absent: 1). dw (R,C) is of the rows [first, first + R) of w: tokens that were added train alone.
  void (*head_cross_entropy)(Stream&, Out loss, OutOpt dx, Acc dw, In x, In w, In target, InOpt row_scale, int64_t ignore, int64_t first);
  // Symmetric InfoNCE (CLIP): a, b (B,C) unit rows f32; logits = f(t) a.b^T; loss (1) = (CE(rows) + CE(columns)) / 2. t (1).
  void (*contrastive_loss)(Stream&, Out loss, Out logits, In a, In b, In t, TemperatureForm form);
  void (*contrastive_loss_backward)(Stream&, OutOpt da, OutOpt db, Acc dt, In dloss, In a, In b, In t, In logits, TemperatureForm form);

  // ---- reductions and sampling ------------------------------------------------------------------------------------------
  void (*sum)(Stream&, Out y, In x, double scale);  // y (1) f32 = scale * sum of all, pairwise
  void (*argmax)(Stream&, Out y, In x);             // y (N) i32 <- x (N,V), first of equals
  void (*sample_categorical)(Stream&, Out y, In logits, In counter,
                             int64_t seed);         // y (N) i32 ~ softmax(logits (N,V)); draw = f(seed, counter (1) i32, row)
  void (*increment)(Stream&, InOut x, int64_t by);  // i32, every element

  // ---- optimisers -------------------------------------------------------------------------------------------------------
  // torch.optim.AdamW: decoupled decay first. Lists run in parallel: p, m, v f32, g f32. scale (1) multiplies g when given. step counts from 1.
  void (*adamw)(Stream&, InOutList p, InList g, InOutList m, InOutList v, InOpt scale, double lr, double beta1, double beta2, double eps,
                double weight_decay, int64_t step);
  // bitsandbytes' blockwise 8-bit AdamW, block 256: m, v u8 codes of the signed and unsigned dynamic map with absmax f32; decay after the step.
  void (*adamw_8bit)(Stream&, InOutList p, InList g, InOutList m, InOutList m_absmax, InOutList v, InOutList v_absmax, InOpt scale, double lr,
                     double beta1, double beta2, double eps, double weight_decay, int64_t step);
  // A whole step of an optimiser: norm (1) = grad_norm of g, each g times clip_scale of it (times 1 where max_norm is infinite), and the update of
  // each tensor with a rate, a decay and a count of its own. m[i] and v[i] are f32 as adamw has them or u8 as adamw_8bit has them; m_absmax and
  // v_absmax are those of the u8 ones, in their order.
  void (*adamw_clipped)(Stream&, Out norm, InOutList p, InList g, InOutList m, InOutList v, InOutList m_absmax, InOutList v_absmax, Numbers lr,
                        Numbers weight_decay, Numbers step, double beta1, double beta2, double eps, double max_norm);
  void (*grad_norm)(Stream&, Out norm, InList g);  // norm (1) = global L2, f64 sums
  void (*clip_scale)(Stream&, Out scale, In norm,
                     double max_norm);  // scale (1) = min(1, max_norm / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_

  // ---- the CPU's alone: null elsewhere ----------------------------------------------------------------------------
  // y = x.W^T + b, and y1, y2 with a second and a third weight, as of linear_quantized, where each 64 inputs of a row are rounded to 8 bit and the
  // values of a code book to integers (cpu/linear/eight_bit/problem.h). Weights of one format and block; the lists are as long as there are weights,
  // or, where maxima are not quantised or there is no bias, empty.
  void (*linear_eight_bit)(Stream&, Out y, OutOpt y1, OutOpt y2, In x, InList codes, InList absmax, InList nested_absmax, InList nested_offset,
                           InList biases, QuantFormat format, int64_t block, int64_t out_features, int64_t out_features1, int64_t out_features2);
};

}  // namespace anymal
