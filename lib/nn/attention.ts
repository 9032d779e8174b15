import type { Tensor } from "../core/tensor.js";
import { concat, ropePair, sliceCopy } from "../ops/index.js";
import { causalAttention } from "./alibi.js";
import { type LinearLayer, storedLinear } from "./linear.js";
import { Module } from "./module.js";
import { RMSNorm } from "./norm.js";
import { attendedApart } from "./packed.js";
import type { Heads, Sequence } from "./sequence.js";
import { together } from "./together.js";
import type { Weights } from "./weights.js";

export interface SelfAttentionOptions {
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
  /** Are queries and keys turned by their positions? Default true. */
  rotary?: boolean;
  /** What the output projection is called. Default o_proj. */
  outputName?: string;
}

/** How queries meet keys. */
export interface Attended {
  scale: number;
  window: number;
}

/** Causal self-attention with grouped heads and rotary positions. */
export class CausalSelfAttention extends Module {
  qProj: LinearLayer;
  kProj: LinearLayer;
  vProj: LinearLayer;
  oProj: LinearLayer;
  qNorm: RMSNorm | undefined;
  kNorm: RMSNorm | undefined;
  readonly #options: SelfAttentionOptions;
  readonly #layer: number;

  constructor(at: Weights, layer: number, options: SelfAttentionOptions) {
    super();
    const { width, heads, kvHeads, headDim, bias = false, outputBias = bias, headNormEps, outputName = "o_proj" } = options;
    this.#options = options;
    this.#layer = layer;
    this.qProj = storedLinear(at.at("q_proj"), width, heads * headDim, { bias });
    this.kProj = storedLinear(at.at("k_proj"), width, kvHeads * headDim, { bias });
    this.vProj = storedLinear(at.at("v_proj"), width, kvHeads * headDim, { bias });
    this.oProj = storedLinear(at.at(outputName), heads * headDim, width, { bias: outputBias });
    this.qNorm = headNormEps === undefined ? undefined : new RMSNorm(at.at("q_norm"), headDim, headNormEps);
    this.kNorm = headNormEps === undefined ? undefined : new RMSNorm(at.at("k_norm"), headDim, headNormEps);
  }

  protected override stateName(field: string): string {
    return field === "oProj" ? (this.#options.outputName ?? "o_proj") : super.stateName(field);
  }

  get width(): number {
    return this.#options.width;
  }
  get numHeads(): number {
    return this.#options.heads;
  }

  /** x (B,T,C) → (B,T,C). */
  forward(x: Tensor, sequence: Sequence): Tensor {
    const heads = this.#unturned(x);
    const found = this.#rotary ? sequence.cache?.attendTurning(this.#layer, heads, sequence, this.#attended) : undefined;
    return this.out(found ?? this.attend(this.#turned(heads, sequence), sequence));
  }

  /** Of x (B,T,C): queries (B,T,H,D), keys and values (B,T,K,D), where they stand. */
  heads(x: Tensor, sequence: Sequence): Heads {
    return this.#turned(this.#unturned(x), sequence);
  }
  get #rotary(): boolean {
    return this.#options.rotary ?? true;
  }
  #turned({ q, k, v }: Heads, { table, positions }: Sequence): Heads {
    if (!this.#rotary) return { q, k, v };
    const [turnedQ, turnedK] = ropePair(q, k, table, positions);
    return { q: turnedQ, k: turnedK, v };
  }
  #unturned(x: Tensor): Heads {
    const { heads, headDim } = this.#options;
    const [B, T] = x.shape as [number, number];
    const [queries, keys, values] = together([this.qProj, this.kProj, this.vProj], x);
    let q = queries.reshape([B, T, heads, headDim]);
    if (this.qNorm) q = this.qNorm.forward(q);
    return { q, ...this.#keyHeads(keys, values) };
  }

  /** Keys and values (…,K,D) of rows (…,C) that stand nowhere: not turned by a position. */
  keysOf(rows: Tensor): { k: Tensor; v: Tensor } {
    return this.#keyHeads(this.kProj.forward(rows), this.vProj.forward(rows));
  }
  #keyHeads(keys: Tensor, values: Tensor): { k: Tensor; v: Tensor } {
    const { kvHeads, headDim } = this.#options;
    const shape = [...keys.shape.slice(0, -1), kvHeads, headDim];
    const k = keys.reshape(shape);
    return { k: this.kNorm ? this.kNorm.forward(k) : k, v: values.reshape(shape) };
  }

  /** What the queries find, (B,T,H,D), in these keys and in those of the cache, where these are put too. */
  attend(heads: Heads, sequence: Sequence): Tensor {
    return attended(this.#layer, heads, sequence, this.#attended);
  }
  get #attended(): Attended {
    const { headDim, window = 0 } = this.#options;
    return { scale: 1 / Math.sqrt(headDim), window };
  }

  /** (B,T,H,D) → (B,T,C). */
  out(y: Tensor): Tensor {
    const [B, T, H, D] = y.shape as [number, number, number, number];
    return this.oProj.forward(y.reshape([B, T, H * D]));
  }
}

/** What the queries of layer number `layer` find, (B,T,H,D), in these keys and in those of the cache, where these are put too. */
export function attended(layer: number, heads: Heads, sequence: Sequence, options: Attended): Tensor {
  const { cache, range, lead, bias, slopes, packed } = sequence;
  if (packed) return attendedApart(heads, packed, { bias, slopes, ...options });
  const y = cache
    ? cache.attend(layer, heads, sequence, options)
    : causalAttention(heads.q, heads.k, heads.v, { range, bias, slopes, ...options });
  return lead?.hidden && lead.rows ? withOwn(y, heads, lead.length, { bias, slopes, ...options }) : y;
}

/** Rows of a lead that the tokens do not see: `range` hides them from each other too, who see each other as tokens do. */
function withOwn(
  y: Tensor,
  { q, k, v }: Heads,
  length: number,
  { bias, ...options }: Attended & Pick<Sequence, "bias" | "slopes">,
): Tensor {
  const [ownQ, ownK, ownV] = [q, k, v].map((x) => sliceCopy(x, 1, 0, length)) as [Tensor, Tensor, Tensor];
  const ownBias = bias && sliceCopy(sliceCopy(bias, 2, 0, length), 3, 0, length);
  const own = causalAttention(ownQ, ownK, ownV, { bias: ownBias, ...options });
  return concat([own, sliceCopy(y, 1, length, (y.shape[1] as number) - length)], 1);
}
