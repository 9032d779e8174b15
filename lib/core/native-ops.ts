// The ops of the addon, typed. Named as in native/backend.h; arguments follow the entry's order without its plain outputs (native/node/bind.h).

import type { NativeProducts } from "./native-products.js";

/** A tensor on the native side: slot and generation in one number. */
export type Handle = number;
type Optional = Handle | undefined;

export interface NativeOps extends NativeProducts {
  copy(x: Handle): Handle;
  fill(y: Handle, value: number): void;
  cast(x: Handle, dtype: number): Handle;
  concat(xs: readonly Handle[], dim: number): Handle;
  slice_copy(x: Handle, dim: number, start: number, length: number): Handle;
  slice_place(x: Handle, dim: number, start: number, full: number): Handle;
  transpose_copy(x: Handle, dim0: number, dim1: number): Handle;
  gather_rows(x: Handle, index: Handle): Handle;
  gather_rows_backward(dy: Handle, index: Handle, rows: number): Handle;
  splice_rows(text: Handle, media: Handle, index: Handle): Handle;
  splice_rows_backward(
    wantDtext: boolean,
    wantDmedia: boolean,
    dy: Handle,
    index: Handle,
    textRows: number,
    mediaRows: number,
  ): [Optional, Optional];
  random_uniform(y: Handle, low: number, high: number, seed: number, offset: number): void;
  random_normal(y: Handle, mean: number, std: number, seed: number, offset: number): void;
  add(a: Handle, b: Handle): Handle;
  mul(a: Handle, b: Handle): Handle;
  mul_backward(wantDa: boolean, db: Optional, dy: Handle, a: Handle, b: Handle): Optional;
  sum_leading(db: Optional, dy: Handle): void;
  scale_add(x: Handle, r: Optional, alpha: number, beta: number): Handle;
  scale_by(x: Handle, s: Handle): Handle;
  accumulate(y: Handle, x: Handle, alpha: number): void;
  activation(x: Handle, kind: number): Handle;
  activation_backward(dy: Handle, x: Handle, kind: number): Handle;
  gated_activation(gate: Handle, up: Handle, kind: number): Handle;
  gated_activation_backward(dy: Handle, gate: Handle, up: Handle, kind: number): [Handle, Handle];
  tanh_gate(x: Handle, residual: Optional, g: Handle): Handle;
  tanh_gate_backward(dg: Optional, dy: Handle, x: Handle, g: Handle): Handle;
  dropout(x: Handle, p: number, seed: number, offset: number): Handle;
  quantize_4bit(w: Handle, format: number, block: number): [Handle, Handle];
  dequantize_4bit(codes: Handle, absmax: Handle, format: number, block: number, dtype: number, shape: readonly number[]): Handle;
  quantize_rows_int8(w: Handle): [Handle, Handle];
  dequantize_rows_int8(codes: Handle, scale: Handle, dtype: number): Handle;
  quantize_dynamic(x: Handle, block: number, isSigned: boolean): [Handle, Handle];
  dequantize_dynamic(codes: Handle, absmax: Handle, block: number, isSigned: boolean): Handle;
  quantize_absmax(absmax: Handle): [Handle, Handle, Handle];
  dequantize_absmax(codes: Handle, nestedAbsmax: Handle, offset: Handle): Handle;
  pack_codes(codes: Handle, format: number, outFeatures: number, inFeatures: number, packedBytes: number): Handle;
  unpack_codes(packed: Handle, format: number, outFeatures: number, inFeatures: number): Handle;
  rms_norm(x: Handle, w: Handle, eps: number): [Handle, Handle];
  add_rms_norm(a: Handle, b: Handle, w: Handle, eps: number): [Handle, Handle, Handle];
  rms_norm_backward(wantDx: boolean, dw: Optional, dy: Handle, x: Handle, w: Handle, rstd: Handle, past: Optional): Optional;
  layer_norm(x: Handle, w: Optional, b: Optional, eps: number): [Handle, Handle, Handle];
  layer_norm_backward(
    wantDx: boolean,
    dw: Optional,
    db: Optional,
    dy: Handle,
    x: Handle,
    w: Optional,
    mean: Handle,
    rstd: Handle,
  ): Optional;
  group_norm(x: Handle, w: Handle, b: Handle, groups: number, eps: number): [Handle, Handle, Handle];
  group_norm_backward(
    wantDx: boolean,
    dw: Optional,
    db: Optional,
    dy: Handle,
    x: Handle,
    w: Handle,
    mean: Handle,
    rstd: Handle,
    groups: number,
  ): Optional;
  batch_norm_inference(x: Handle, mean: Handle, variance: Handle, w: Handle, b: Handle, eps: number): Handle;
  batch_norm_inference_backward(
    wantDx: boolean,
    dw: Optional,
    db: Optional,
    dy: Handle,
    x: Handle,
    mean: Handle,
    variance: Handle,
    w: Handle,
    eps: number,
  ): Optional;
  l2_normalize(x: Handle, eps: number): [Handle, Handle];
  l2_normalize_backward(dy: Handle, y: Handle, norm: Handle, eps: number): Handle;
  rope(x: Handle, table: Handle, positions: Handle, inverse: boolean): Handle;
  rope_pair(q: Handle, k: Handle, table: Handle, positions: Handle, inverse: boolean): [Handle, Handle];
  rope_cached(kCache: Handle, vCache: Handle, q: Handle, k: Handle, v: Handle, table: Handle, positions: Handle, slot: Handle): Handle;
  attention(
    q: Handle,
    k: Handle,
    v: Handle,
    range: Optional,
    bias: Optional,
    scale: number,
    causal: boolean,
    window: number,
  ): [Handle, Handle];
  attention_backward(
    dbias: Optional,
    dy: Handle,
    q: Handle,
    k: Handle,
    v: Handle,
    y: Handle,
    lse: Handle,
    range: Optional,
    bias: Optional,
    scale: number,
    causal: boolean,
    window: number,
  ): [Handle, Handle, Handle];
  attention_two_source(q: Handle, k1: Handle, v1: Handle, k2: Handle, v2: Handle, range: Optional, scale: number): [Handle, Handle];
  attention_two_source_backward(
    dy: Handle,
    q: Handle,
    k1: Handle,
    v1: Handle,
    k2: Handle,
    v2: Handle,
    y: Handle,
    lse: Handle,
    range: Optional,
    scale: number,
  ): [Handle, Handle, Handle, Handle, Handle];
  attention_decode(
    q: Handle,
    kCache: Handle,
    vCache: Handle,
    kScale: Handle | undefined,
    vScale: Handle | undefined,
    range: Handle,
    scale: number,
    window: number,
  ): Handle;
  cache_write(cache: Handle, rows: Handle, position: Handle): void;
  conv1d(x: Handle, w: Handle, b: Optional, stride: number, padding: number, dilation: number): Handle;
  conv1d_backward(
    wantDx: boolean,
    dw: Optional,
    db: Optional,
    dy: Handle,
    x: Handle,
    w: Handle,
    stride: number,
    padding: number,
    dilation: number,
  ): Optional;
  conv2d(x: Handle, w: Handle, b: Optional, strideH: number, strideW: number, paddingH: number, paddingW: number): Handle;
  conv2d_backward(
    wantDx: boolean,
    dw: Optional,
    db: Optional,
    dy: Handle,
    x: Handle,
    w: Handle,
    strideH: number,
    strideW: number,
    paddingH: number,
    paddingW: number,
  ): Optional;
  max_pool1d(x: Handle, kernel: number, stride: number): [Handle, Handle];
  max_pool1d_backward(dy: Handle, index: Handle, length: number): Handle;
  mean_pool(x: Handle, dim: number): Handle;
  mean_pool_backward(dy: Handle, dim: number, length: number): Handle;
  interpolate_bicubic(x: Handle, outH: number, outW: number, alignCorners: boolean, antialias: boolean): Handle;
  interpolate_bicubic_backward(dy: Handle, inH: number, inW: number, alignCorners: boolean, antialias: boolean): Handle;
  gru(x: Handle, wIh: Handle, wHh: Handle, bIh: Handle, bHh: Handle): [Handle, Handle];
  gru_backward(
    wantDx: boolean,
    dwIh: Optional,
    dwHh: Optional,
    dbIh: Optional,
    dbHh: Optional,
    dh: Handle,
    h: Handle,
    saved: Handle,
    x: Handle,
    wIh: Handle,
    wHh: Handle,
  ): Optional;
  embedding(ids: Handle, w: Handle): Handle;
  embedding_backward(dw: Optional, dy: Handle, ids: Handle): void;
  softmax_cross_entropy(logits: Handle, target: Handle, ignore: number): [Handle, Handle];
  softmax_cross_entropy_backward(dloss: Handle, logits: Handle, lse: Handle, target: Handle, ignore: number): Handle;
  head_cross_entropy(
    wantDx: boolean,
    dw: Optional,
    x: Handle,
    w: Handle,
    target: Handle,
    rowScale: Optional,
    ignore: number,
    firstRow: number,
  ): [Handle, Optional];
  contrastive_loss(a: Handle, b: Handle, t: Handle, form: number): [Handle, Handle];
  contrastive_loss_backward(
    wantDa: boolean,
    wantDb: boolean,
    dt: Optional,
    dloss: Handle,
    a: Handle,
    b: Handle,
    t: Handle,
    logits: Handle,
    form: number,
  ): [Optional, Optional];
  sum(x: Handle, scale: number): Handle;
  argmax(x: Handle): Handle;
  sample_categorical(logits: Handle, counter: Handle, seed: number): Handle;
  increment(x: Handle, by: number): void;
  adamw(
    p: readonly Handle[],
    g: readonly Handle[],
    m: readonly Handle[],
    v: readonly Handle[],
    scale: Optional,
    lr: number,
    beta1: number,
    beta2: number,
    eps: number,
    weightDecay: number,
    step: number,
  ): void;
  adamw_8bit(
    p: readonly Handle[],
    g: readonly Handle[],
    m: readonly Handle[],
    mAbsmax: readonly Handle[],
    v: readonly Handle[],
    vAbsmax: readonly Handle[],
    scale: Optional,
    lr: number,
    beta1: number,
    beta2: number,
    eps: number,
    weightDecay: number,
    step: number,
  ): void;
  adamw_clipped(
    p: readonly Handle[],
    g: readonly Handle[],
    m: readonly Handle[],
    v: readonly Handle[],
    mAbsmax: readonly Handle[],
    vAbsmax: readonly Handle[],
    lr: readonly number[],
    weightDecay: readonly number[],
    step: readonly number[],
    beta1: number,
    beta2: number,
    eps: number,
    maxNorm: number,
  ): Handle;
  grad_norm(g: readonly Handle[]): Handle;
  clip_scale(norm: Handle, maxNorm: number): Handle;
}
