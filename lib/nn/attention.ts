import type { Tensor } from "../core/tensor.js";
import { attention, rope } from "../ops/index.js";
import type { KVCache } from "./kv-cache.js";
import { type LinearLayer, storedLinear } from "./linear.js";
import { Module } from "./module.js";
import { RMSNorm } from "./norm.js";
import type { Weights } from "./weights.js";

export interface AttentionOptions {
  width: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  /** Biases on q, k, v and on the output projection. */
  bias?: boolean;
  outputBias?: boolean;
  /** Qwen3: RMSNorm on every head of q and k. */
  headNormEps?: number | undefined;
  /** Keys further back than this are hidden; 0 hides none. */
  window?: number;
}

/** What every layer of one forward is told. All tensors are i32 but the table. */
export interface Sequence {
  table: Tensor; // (P,D/2,2) f32
  positions: Tensor; // (B,T)
  range: Tensor | undefined; // (B,2)
  cache: KVCache | undefined;
  /** first: nothing is cached yet; extend: several tokens follow; decode: one token follows. */
  step: "first" | "extend" | "decode";
}

/** Causal self-attention with grouped heads and rotary positions. */
export class CausalSelfAttention extends Module {
  qProj: LinearLayer;
  kProj: LinearLayer;
  vProj: LinearLayer;
  oProj: LinearLayer;
  qNorm: RMSNorm | undefined;
  kNorm: RMSNorm | undefined;
  readonly #options: AttentionOptions;
  readonly #layer: number;

  constructor(at: Weights, layer: number, options: AttentionOptions) {
    super();
    const { width, heads, kvHeads, headDim, bias = false, outputBias = bias, headNormEps } = options;
    this.#options = options;
    this.#layer = layer;
    this.qProj = storedLinear(at.at("q_proj"), width, heads * headDim, { bias });
    this.kProj = storedLinear(at.at("k_proj"), width, kvHeads * headDim, { bias });
    this.vProj = storedLinear(at.at("v_proj"), width, kvHeads * headDim, { bias });
    this.oProj = storedLinear(at.at("o_proj"), heads * headDim, width, { bias: outputBias });
    this.qNorm = headNormEps === undefined ? undefined : new RMSNorm(at.at("q_norm"), headDim, headNormEps);
    this.kNorm = headNormEps === undefined ? undefined : new RMSNorm(at.at("k_norm"), headDim, headNormEps);
  }

  /** x (B,T,C) → (B,T,C). */
  forward(x: Tensor, sequence: Sequence): Tensor {
    const { heads, kvHeads, headDim } = this.#options;
    const [B, T] = x.shape as [number, number];
    const { table, positions } = sequence;
    let q = this.qProj.forward(x).reshape([B, T, heads, headDim]);
    let k = this.kProj.forward(x).reshape([B, T, kvHeads, headDim]);
    const v = this.vProj.forward(x).reshape([B, T, kvHeads, headDim]);
    if (this.qNorm) q = this.qNorm.forward(q);
    if (this.kNorm) k = this.kNorm.forward(k);
    const y = this.#attend(rope(q, table, positions), rope(k, table, positions), v, sequence);
    return this.oProj.forward(y.reshape([B, T, heads * headDim]));
  }

  #attend(q: Tensor, k: Tensor, v: Tensor, { cache, range, step }: Sequence): Tensor {
    const { headDim, window = 0 } = this.#options;
    const scale = 1 / Math.sqrt(headDim);
    cache?.write(this.#layer, k, v);
    if (cache && range && step === "decode") return cache.decode(this.#layer, q, range, scale, window);
    if (cache && range && step === "extend") return cache.extend(this.#layer, q, range, scale, window);
    return attention(q, k, v, { range, scale, causal: true, window });
  }
}
