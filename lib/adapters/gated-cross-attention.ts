// Flamingo's gated cross-attention (arXiv 2204.14198, section 2.2) as OpenFlamingo builds it: text attends to media rows, and what it finds
// enters through tanh gates that start at 0, so the frozen language model is unchanged at first.
import { scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { Linear } from "../nn/linear.js";
import { Module, matching } from "../nn/module.js";
import { LayerNorm } from "../nn/norm.js";
import { type Weights, zeros } from "../nn/weights.js";
import { activation, attention, linear, tanhGate } from "../ops/index.js";

export interface GatedCrossAttentionConfig {
  dim: number;
  dimVisual: number;
  heads: number;
  dimHead: number;
  ffMult?: number;
  /** A token sees only the latest image before it; otherwise all before it. */
  onlyAttendImmediateMedia?: boolean;
}

class MaskedCrossAttention extends Module {
  norm: LayerNorm;
  toQ: Linear;
  toKv: Linear; // rows: all of k, then all of v
  toOut: Linear;
  readonly #heads: number;
  readonly #dimHead: number;

  constructor(at: Weights, { dim, dimVisual, heads, dimHead }: GatedCrossAttentionConfig) {
    super();
    const inner = heads * dimHead;
    this.#heads = heads;
    this.#dimHead = dimHead;
    this.norm = new LayerNorm(at.at("norm"), dim);
    this.toQ = new Linear(at.at("to_q"), dim, inner, { bias: false });
    this.toKv = new Linear(at.at("to_kv"), dimVisual, 2 * inner, { bias: false });
    this.toOut = new Linear(at.at("to_out"), inner, dim, { bias: false });
  }

  /** x (B,T,C), media (B,S,dv), bias (B,1,T,S): 0 where visible, -∞ where not. */
  forward(x: Tensor, media: Tensor, bias: Tensor): Tensor {
    const inner = this.#heads * this.#dimHead;
    const split = (y: Tensor) => y.reshape([y.shape[0] as number, y.shape[1] as number, this.#heads, this.#dimHead]);
    const kv = matching(this.toKv.weight, media);
    const q = split(this.toQ.forward(this.norm.forward(x)));
    const k = split(linear(media, kv.slice(0, inner)));
    const v = split(linear(media, kv.slice(inner, inner)));
    const y = attention(q, k, v, { bias, scale: 1 / Math.sqrt(this.#dimHead) });
    return this.toOut.forward(y.reshape([x.shape[0] as number, x.shape[1] as number, inner]));
  }
}

/** OpenFlamingo's names: a Sequential of norm (0), linear (1), GELU (2), linear (3). */
class FeedForward extends Module {
  norm: LayerNorm;
  fc1: Linear;
  fc2: Linear;

  constructor(at: Weights, dim: number, mult: number) {
    super();
    this.norm = new LayerNorm(at.at("0"), dim);
    this.fc1 = new Linear(at.at("1"), dim, mult * dim, { bias: false });
    this.fc2 = new Linear(at.at("3"), mult * dim, dim, { bias: false });
  }
  protected override stateName(field: string): string {
    return { norm: "0", fc1: "1", fc2: "3" }[field] ?? super.stateName(field);
  }
  forward(x: Tensor): Tensor {
    return this.fc2.forward(activation(this.fc1.forward(this.norm.forward(x)), "gelu"));
  }
}

export class GatedCrossAttention extends Module {
  attn: MaskedCrossAttention;
  attnGate: Tensor; // (1)
  ff: FeedForward;
  ffGate: Tensor; // (1)
  readonly config: GatedCrossAttentionConfig;

  constructor(at: Weights, config: GatedCrossAttentionConfig) {
    super();
    this.config = config;
    this.attn = new MaskedCrossAttention(at.at("attn"), config);
    this.attnGate = at.parameter("attn_gate", [1], zeros);
    this.ff = new FeedForward(at.at("ff"), config.dim, config.ffMult ?? 4);
    this.ffGate = at.parameter("ff_gate", [1], zeros);
  }

  /** x (B,T,C), media (B,items,R,dv); mediaLocations has a 1 where a text token stands for an image. */
  forward(x: Tensor, media: Tensor, mediaLocations: readonly ArrayLike<number>[]): Tensor {
    return scope(() => {
      const [B, items, R, dv] = media.shape as [number, number, number, number];
      const T = x.shape[1] as number;
      const mask = mediaBias(mediaLocations, items, R, this.config.onlyAttendImmediateMedia ?? true);
      const bias = Tensor.from(mask, [B, 1, T, items * R], { device: x.device });
      const attended = tanhGate(this.attn.forward(x, media.reshape([B, items * R, dv]), bias), x, this.attnGate);
      return tanhGate(this.ff.forward(attended), attended, this.ffGate);
    });
  }
}

/** (B,1,T,items·R): which media rows a text token sees. Before the first image it sees none, and its attention is zero. */
export function mediaBias(mediaLocations: readonly ArrayLike<number>[], items: number, R: number, onlyLatest: boolean): Float32Array {
  const T = mediaLocations[0]?.length ?? 0;
  const bias = new Float32Array(mediaLocations.length * T * items * R).fill(-Infinity);
  for (const [b, row] of mediaLocations.entries()) {
    let seen = 0;
    for (let t = 0; t < T; ++t) {
      if (row[t]) ++seen;
      const first = onlyLatest ? seen - 1 : 0;
      const from = (b * T + t) * items * R;
      if (seen > 0 && first < items) bias.fill(0, from + first * R, from + Math.min(seen, items) * R);
    }
  }
  return bias;
}
