// Causal self-attention whose queries, keys and values come out of one matrix, as MPT has it: all queries, then all keys, then all values. How far apart tokens
// are is what the sequence's bias says.
import { keep } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { activation, add, cast, scale, scaleAdd, sliceCopy } from "../ops/index.js";
import { attended } from "./attention.js";
import { type LinearLayer, storedLinear } from "./linear.js";
import { Module } from "./module.js";
import { BareLayerNorm } from "./norm.js";
import type { Heads, Sequence } from "./sequence.js";
import type { Weights } from "./weights.js";

export interface FusedAttentionOptions {
  width: number;
  heads: number;
  headDim: number;
  /** Default 1/√headDim. */
  scale?: number | undefined;
  /** No query, key or value is further from zero. */
  clip?: number | undefined;
  /** Norms over all heads of the queries and over all of the keys, without biases: MosaicML's qk_ln. */
  normEps?: number | undefined;
}

export class FusedSelfAttention extends Module {
  wqkv: LinearLayer;
  oProj: LinearLayer;
  qLn: BareLayerNorm | undefined;
  kLn: BareLayerNorm | undefined;
  readonly #options: FusedAttentionOptions;
  readonly #layer: number;
  /** (3C) f32 of -clip. */
  #limit: Tensor | undefined;

  constructor(at: Weights, layer: number, options: FusedAttentionOptions) {
    super();
    const { width, heads, headDim, normEps } = options;
    this.#options = options;
    this.#layer = layer;
    this.wqkv = storedLinear(at.at("Wqkv"), width, 3 * heads * headDim, { bias: false });
    this.oProj = storedLinear(at.at("out_proj"), heads * headDim, width, { bias: false });
    this.qLn = normEps === undefined ? undefined : new BareLayerNorm(at.at("q_ln"), heads * headDim, normEps);
    this.kLn = normEps === undefined ? undefined : new BareLayerNorm(at.at("k_ln"), heads * headDim, normEps);
  }

  protected override stateName(field: string): string {
    return { wqkv: "Wqkv", oProj: "out_proj" }[field] ?? super.stateName(field);
  }
  get width(): number {
    return this.#options.width;
  }
  get numHeads(): number {
    return this.#options.heads;
  }

  /** x (B,T,C) → (B,T,C). */
  forward(x: Tensor, sequence: Sequence): Tensor {
    return this.out(this.attend(this.heads(x, sequence), sequence));
  }

  /** Of x (B,T,C): queries, keys and values (B,T,H,D). */
  heads(x: Tensor, _sequence: Sequence): Heads {
    const all = this.#projected(x);
    return { q: this.#part(all, 0, this.qLn), k: this.#part(all, 1, this.kLn), v: this.#part(all, 2) };
  }

  /** Keys and values (…,H,D) of rows (…,C). */
  keysOf(rows: Tensor): { k: Tensor; v: Tensor } {
    const all = this.#projected(rows);
    return { k: this.#part(all, 1, this.kLn), v: this.#part(all, 2) };
  }

  /** What the queries find, (B,T,H,D), in these keys and in those of the cache, where these are put too. */
  attend(heads: Heads, sequence: Sequence): Tensor {
    const { headDim, scale = 1 / Math.sqrt(headDim) } = this.#options;
    return attended(this.#layer, heads, sequence, { scale, window: 0 });
  }

  /** (B,T,H,D) → (B,T,C). */
  out(y: Tensor): Tensor {
    const [B, T, H, D] = y.shape as [number, number, number, number];
    return this.oProj.forward(y.reshape([B, T, H * D]));
  }

  #projected(x: Tensor): Tensor {
    const all = this.wqkv.forward(x);
    if (this.#options.clip === undefined) return all;
    this.#limit ??= keep(Tensor.full([all.shape.at(-1) as number], -this.#options.clip, { device: all.device }));
    return clipped(all, this.#limit);
  }
  #part(all: Tensor, i: number, norm?: BareLayerNorm): Tensor {
    const { heads, headDim } = this.#options;
    const part = sliceCopy(all, -1, i * heads * headDim, heads * headDim);
    return (norm ? norm.forward(part) : part).reshape([...all.shape.slice(0, -1), heads, headDim]);
  }

  override dispose(): void {
    super.dispose();
    this.#limit?.dispose();
  }
}

/** x without what lies beyond ±limit: to the bit what it was where nothing does. `minus` (C) is -limit, f32; so are the sums, whatever x is. */
function clipped(x: Tensor, minus: Tensor): Tensor {
  const wide = x.dtype === "f32" ? x : cast(x, "f32");
  const above = activation(add(wide, minus), "relu");
  const below = activation(add(scale(wide, -1), minus), "relu");
  const within = scaleAdd(scaleAdd(wide, above, 1, -1), below, 1, 1);
  return x.dtype === "f32" ? within : cast(within, x.dtype);
}
