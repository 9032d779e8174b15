// One shape rule per op of native/ops.def; how parameters follow from the Backend entry is said in native/shapes.h.
#pragma once
#include "shapes.h"

namespace anymal::shapes {

// movement
SpecList copy(const Spec& x);
SpecList fill(const Spec& y, double value);
SpecList cast(const Spec& x, DType dtype);
SpecList concat(const SpecList& xs, int64_t dim);
SpecList slice_copy(const Spec& x, int64_t dim, int64_t start, int64_t length);
SpecList slice_place(const Spec& x, int64_t dim, int64_t start, int64_t full);
SpecList transpose_copy(const Spec& x, int64_t dim0, int64_t dim1);
SpecList gather_rows(const Spec& x, const Spec& index);
SpecList gather_rows_backward(const Spec& dy, const Spec& index, int64_t rows);
SpecList splice_rows(const Spec& text, const Spec& media, const Spec& index);
SpecList splice_rows_backward(bool dtext, bool dmedia, const Spec& dy, const Spec& index, int64_t text_rows, int64_t media_rows);
SpecList random_uniform(const Spec& y, double low, double high, int64_t seed, int64_t offset);
SpecList random_normal(const Spec& y, double mean, double std, int64_t seed, int64_t offset);

// arithmetic
SpecList add(const Spec& a, const Spec& b);
SpecList mul(const Spec& a, const Spec& b);
SpecList mul_backward(bool da, const Spec* db, const Spec& dy, const Spec& a, const Spec& b);
SpecList sum_leading(const Spec* db, const Spec& dy);
SpecList scale_add(const Spec& x, const Spec* r, double alpha, double beta);
SpecList scale_by(const Spec& x, const Spec& s);
SpecList accumulate(const Spec& y, const Spec& x, double alpha);
SpecList activation(const Spec& x, Activation kind);
SpecList activation_backward(const Spec& dy, const Spec& x, Activation kind);
SpecList gated_activation(const Spec& gate, const Spec& up, Activation kind);
SpecList gated_activation_backward(const Spec& dy, const Spec& gate, const Spec& up, Activation kind);
SpecList tanh_gate(const Spec& x, const Spec* residual, const Spec& g);
SpecList tanh_gate_backward(const Spec* dg, const Spec& dy, const Spec& x, const Spec& g);
SpecList dropout(const Spec& x, double p, int64_t seed, int64_t offset);

// matmul
SpecList linear(const Spec& x, const Spec& w, const Spec* b);
SpecList linear_dx(const Spec& dy, const Spec& w);
SpecList linear_dw(const Spec* dw, const Spec* db, const Spec& dy, const Spec& x);
SpecList linear_fused(bool pre, const Spec& x, const Spec& w, const Spec* b, const Spec* residual, Activation kind);
SpecList linear_fused_backward(bool dx, const Spec* dw, const Spec* db, const Spec& dy, const Spec* x, const Spec* w, const Spec* pre,
                               Activation kind);
SpecList project_two_source(const Spec& x1, const Spec& x2, const Spec& wq, const Spec& wk, const Spec& wv);
SpecList project_two_source_backward(bool dx1, bool dx2, const Spec* dwq, const Spec* dwk, const Spec* dwv, const Spec& dq, const Spec& dk1,
                                     const Spec& dv1, const Spec& dk2, const Spec& dv2, const Spec& x1, const Spec& x2, const Spec& wq,
                                     const Spec& wk, const Spec& wv);
SpecList linear_quantized(const Spec& x, const Spec& codes, const Spec& absmax, const Spec* nested_absmax, const Spec* nested_offset, const Spec* b,
                          QuantFormat format, int64_t block, int64_t out_features, double threshold);
SpecList linear_quantized_dx(const Spec& dy, const Spec& codes, const Spec& absmax, const Spec* nested_absmax, const Spec* nested_offset,
                             QuantFormat format, int64_t block, int64_t in_features);
SpecList linear_quantized_lora(const Spec& x, const Spec& codes, const Spec& absmax, const Spec* nested_absmax, const Spec* nested_offset,
                               const Spec* b, const Spec& lora_a, const Spec& lora_b, QuantFormat format, int64_t block, int64_t out_features,
                               double threshold, double scaling, double dropout, int64_t seed, int64_t offset);
SpecList linear_quantized_lora_backward(bool dx, const Spec* da, const Spec* db, const Spec& dy, const Spec& x, const Spec& u, const Spec& codes,
                                        const Spec& absmax, const Spec* nested_absmax, const Spec* nested_offset, const Spec& lora_a,
                                        const Spec& lora_b, QuantFormat format, int64_t block, double scaling, double dropout, int64_t seed,
                                        int64_t offset);
SpecList linear_quantized_group(int64_t count, bool u, const Spec& x, const SpecList& codes, const SpecList& absmax, const SpecList& nested_absmax,
                                const SpecList& nested_offset, const SpecList& biases, const SpecList& lora_a, const SpecList& lora_b,
                                const NumberList& out_features, const NumberList& of, const NumberList& scaling, const NumberList& offset,
                                QuantFormat format, int64_t block, double threshold, double dropout, int64_t seed);
SpecList linear_quantized_group_backward(bool dx, const SpecList& da, const SpecList& db, const SpecList& dy, const Spec* x, const Spec* u,
                                         const SpecList& codes, const SpecList& absmax, const SpecList& nested_absmax, const SpecList& nested_offset,
                                         const SpecList& lora_a, const SpecList& lora_b, const NumberList& of, const NumberList& scaling,
                                         const NumberList& offset, QuantFormat format, int64_t block, int64_t in_features, double dropout,
                                         int64_t seed);
SpecList linear_eight_bit(bool y1, bool y2, const Spec& x, const SpecList& codes, const SpecList& absmax, const SpecList& nested_absmax,
                          const SpecList& nested_offset, const SpecList& biases, QuantFormat format, int64_t block, int64_t out_features,
                          int64_t out_features1, int64_t out_features2);

// quantisation
SpecList quantize_4bit(const Spec& w, QuantFormat format, int64_t block);
SpecList dequantize_4bit(const Spec& codes, const Spec& absmax, QuantFormat format, int64_t block, DType dtype, const Shape& shape);
SpecList quantize_rows_int8(const Spec& w);
SpecList dequantize_rows_int8(const Spec& codes, const Spec& scale, DType dtype);
SpecList quantize_dynamic(const Spec& x, int64_t block, bool is_signed);
SpecList dequantize_dynamic(const Spec& codes, const Spec& absmax, int64_t block, bool is_signed);
SpecList quantize_absmax(const Spec& absmax);
SpecList dequantize_absmax(const Spec& codes, const Spec& nested_absmax, const Spec& offset);
// The packed size is the backend's to say: the caller asks its packed_bytes() first.
SpecList pack_codes(const Spec& codes, QuantFormat format, int64_t out_features, int64_t in_features, int64_t packed_bytes);
SpecList unpack_codes(const Spec& packed, QuantFormat format, int64_t out_features, int64_t in_features);

// norms
SpecList rms_norm(const Spec& x, const Spec& w, double eps);
SpecList add_rms_norm(const Spec& a, const Spec& b, const Spec& w, double eps);
SpecList rms_norm_backward(bool dx, const Spec* dw, const Spec& dy, const Spec& x, const Spec& w, const Spec& rstd, const Spec* past);
SpecList layer_norm(const Spec& x, const Spec* w, const Spec* b, double eps);
SpecList layer_norm_backward(bool dx, const Spec* dw, const Spec* db, const Spec& dy, const Spec& x, const Spec* w, const Spec& mean,
                             const Spec& rstd);
SpecList group_norm(const Spec& x, const Spec& w, const Spec& b, int64_t groups, double eps);
SpecList group_norm_backward(bool dx, const Spec* dw, const Spec* db, const Spec& dy, const Spec& x, const Spec& w, const Spec& mean,
                             const Spec& rstd, int64_t groups);
SpecList batch_norm_inference(const Spec& x, const Spec& mean, const Spec& var, const Spec& w, const Spec& b, double eps);
SpecList batch_norm_inference_backward(bool dx, const Spec* dw, const Spec* db, const Spec& dy, const Spec& x, const Spec& mean, const Spec& var,
                                       const Spec& w, double eps);
SpecList l2_normalize(const Spec& x, double eps);
SpecList l2_normalize_backward(const Spec& dy, const Spec& y, const Spec& norm, double eps);

// attention
SpecList rope(const Spec& x, const Spec& table, const Spec& positions, bool inverse);
SpecList rope_pair(const Spec& q, const Spec& k, const Spec& table, const Spec& positions, bool inverse);
SpecList rope_cached(const Spec& k_cache, const Spec& v_cache, const Spec& q, const Spec& k, const Spec& v, const Spec& table, const Spec& positions,
                     const Spec& slot);
SpecList attention(const Spec& q, const Spec& k, const Spec& v, const Spec* range, const Spec* bias, double scale, bool causal, int64_t window);
SpecList attention_backward(const Spec* dbias, const Spec& dy, const Spec& q, const Spec& k, const Spec& v, const Spec& y, const Spec& lse,
                            const Spec* range, const Spec* bias, double scale, bool causal, int64_t window);
SpecList attention_two_source(const Spec& q, const Spec& k1, const Spec& v1, const Spec& k2, const Spec& v2, const Spec* range, double scale);
SpecList attention_two_source_backward(const Spec& dy, const Spec& q, const Spec& k1, const Spec& v1, const Spec& k2, const Spec& v2, const Spec& y,
                                       const Spec& lse, const Spec* range, double scale);
SpecList attention_decode(const Spec& q, const Spec& k_cache, const Spec& v_cache, const Spec* k_scale, const Spec* v_scale, const Spec& range,
                          double scale, int64_t window);
SpecList cache_write(const Spec& cache, const Spec& rows, const Spec& position);

// convolution and pooling
SpecList conv1d(const Spec& x, const Spec& w, const Spec* b, int64_t stride, int64_t padding, int64_t dilation);
SpecList conv1d_backward(bool dx, const Spec* dw, const Spec* db, const Spec& dy, const Spec& x, const Spec& w, int64_t stride, int64_t padding,
                         int64_t dilation);
SpecList conv2d(const Spec& x, const Spec& w, const Spec* b, int64_t stride_h, int64_t stride_w, int64_t padding_h, int64_t padding_w);
SpecList conv2d_backward(bool dx, const Spec* dw, const Spec* db, const Spec& dy, const Spec& x, const Spec& w, int64_t stride_h, int64_t stride_w,
                         int64_t padding_h, int64_t padding_w);
SpecList max_pool1d(const Spec& x, int64_t kernel, int64_t stride);
SpecList max_pool1d_backward(const Spec& dy, const Spec& index, int64_t length);
SpecList mean_pool(const Spec& x, int64_t dim);
SpecList mean_pool_backward(const Spec& dy, int64_t dim, int64_t length);
SpecList interpolate_bicubic(const Spec& x, int64_t out_h, int64_t out_w, bool align_corners, bool antialias);
SpecList interpolate_bicubic_backward(const Spec& dy, int64_t in_h, int64_t in_w, bool align_corners, bool antialias);

// recurrence
SpecList gru(const Spec& x, const Spec& w_ih, const Spec& w_hh, const Spec& b_ih, const Spec& b_hh);
SpecList gru_backward(bool dx, const Spec* dw_ih, const Spec* dw_hh, const Spec* db_ih, const Spec* db_hh, const Spec& dh, const Spec& h,
                      const Spec& saved, const Spec& x, const Spec& w_ih, const Spec& w_hh);

// embedding and losses
SpecList embedding(const Spec& ids, const Spec& w);
SpecList embedding_backward(const Spec* dw, const Spec& dy, const Spec& ids);
SpecList softmax_cross_entropy(const Spec& logits, const Spec& target, int64_t ignore);
SpecList softmax_cross_entropy_backward(const Spec& dloss, const Spec& logits, const Spec& lse, const Spec& target, int64_t ignore);
SpecList head_cross_entropy(bool dx, const Spec* dw, const Spec& x, const Spec& w, const Spec& target, const Spec* row_scale, int64_t ignore,
                            int64_t first);
SpecList contrastive_loss(const Spec& a, const Spec& b, const Spec& t, TemperatureForm form);
SpecList contrastive_loss_backward(bool da, bool db, const Spec* dt, const Spec& dloss, const Spec& a, const Spec& b, const Spec& t,
                                   const Spec& logits, TemperatureForm form);

// reductions and sampling
SpecList sum(const Spec& x, double scale);
SpecList argmax(const Spec& x);
SpecList sample_categorical(const Spec& logits, const Spec& counter, int64_t seed);
SpecList increment(const Spec& x, int64_t by);

// optimisers
SpecList adamw(const SpecList& p, const SpecList& g, const SpecList& m, const SpecList& v, const Spec* scale, double lr, double beta1, double beta2,
               double eps, double weight_decay, int64_t step);
SpecList adamw_8bit(const SpecList& p, const SpecList& g, const SpecList& m, const SpecList& m_absmax, const SpecList& v, const SpecList& v_absmax,
                    const Spec* scale, double lr, double beta1, double beta2, double eps, double weight_decay, int64_t step);
SpecList adamw_clipped(const SpecList& p, const SpecList& g, const SpecList& m, const SpecList& v, const SpecList& m_absmax, const SpecList& v_absmax,
                       const NumberList& lr, const NumberList& weight_decay, const NumberList& step, double beta1, double beta2, double eps,
                       double max_norm);
SpecList grad_norm(const SpecList& g);
SpecList clip_scale(const Spec& norm, double max_norm);

}  // namespace anymal::shapes
