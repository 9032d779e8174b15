// Flamingo's gated cross-attention (arXiv 2204.14198, section 2.2) as OpenFlamingo builds it: text attends to media rows, and what it finds
// enters through tanh gates that start at 0, so the frozen language model is unchanged at first.
import { scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import type { Found } from "../nn/beside.js";
import { Linear, type LinearLayer } from "../nn/linear.js";
import { asMet, feedForwardThrough, isPlain, throughPlain } from "../nn/linear-fused.js";
import { Module } from "../nn/module.js";
import { LayerNorm } from "../nn/norm.js";
import { biasOf, type Span } from "../nn/sequence.js";
import { type Weights, zeros } from "../nn/weights.js";
import { attention, cast, linearResidual, sliceCopy, tanhGate } from "../ops/index.js";

export interface GatedCrossAttentionConfig {
  dim: number;
  dimVisual: number;
  heads: number;
  dimHead: number;
  ffMult?: number;
  /** A token sees only the latest image before it; otherwise all before it. */
  onlyAttendImmediateMedia?: boolean;
}

/** What stands before a decoder layer. Without anything to find its attention adds nothing; its feed-forward acts all the same. */
export interface GatedBlock extends Module {
  /** Of media rows (B,S,d). */
  keysOf(rows: Tensor): { k: Tensor; v: Tensor };
  /** x (B,T,C) → (B,T,C). */
  gated(x: Tensor, found: Found | undefined): Tensor;
}

/** The kernel's gates are f32, whatever the model computes in. */
export const gateOf = (gate: Tensor): Tensor => (gate.dtype === "f32" ? gate : cast(gate, "f32"));

class MaskedCrossAttention extends Module {
  norm: LayerNorm;
  toQ: LinearLayer;
  toKv: LinearLayer; // rows: all of k, then all of v
  toOut: LinearLayer;
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

  keysOf(rows: Tensor): { k: Tensor; v: Tensor } {
    const inner = this.#heads * this.#dimHead;
    if (isPlain(this.toKv)) {
      const weight = asMet(this.toKv.weight, rows);
      const part = (i: number) => this.#split(linearResidual(rows, { weight, start: i * inner, length: inner }, undefined, undefined));
      return { k: part(0), v: part(1) };
    }
    const both = this.toKv.forward(rows);
    const part = (i: number) => this.#split(sliceCopy(both, 2, i * inner, inner));
    return { k: part(0), v: part(1) };
  }

  /** x (B,T,C). */
  forward(x: Tensor, { k, v, bias, range }: Found): Tensor {
    const [B, T] = x.shape as [number, number];
    const q = this.#split(throughPlain(this.toQ, this.norm.forward(x)));
    const y = attention(q, k, v, { bias, range, scale: 1 / Math.sqrt(this.#dimHead) });
    return throughPlain(this.toOut, y.reshape([B, T, this.#heads * this.#dimHead]));
  }

  #split(y: Tensor): Tensor {
    return y.reshape([y.shape[0] as number, y.shape[1] as number, this.#heads, this.#dimHead]);
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
    return feedForwardThrough(this.fc1, this.fc2, "gelu", this.norm.forward(x));
  }
}

export class GatedCrossAttention extends Module implements GatedBlock {
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

  keysOf(rows: Tensor): { k: Tensor; v: Tensor } {
    return this.attn.keysOf(rows);
  }
  gated(x: Tensor, found: Found | undefined): Tensor {
    const y = found ? tanhGate(this.attn.forward(x, found), x, gateOf(this.attnGate)) : x;
    return tanhGate(this.ff.forward(y), y, gateOf(this.ffGate));
  }

  /** x (B,T,C), media (B,items,R,dv); mediaLocations has a 1 where a text token stands for an image. */
  forward(x: Tensor, media: Tensor, mediaLocations: readonly ArrayLike<number>[]): Tensor {
    return scope(() => {
      const [B, items, R, dv] = media.shape as [number, number, number, number];
      const seen = seenOf(mediaLocations, items, R, this.config.onlyAttendImmediateMedia ?? true);
      const bias = Tensor.from(biasOf(seen, items * R), [B, 1, x.shape[1] as number, items * R], { device: x.device });
      return this.gated(x, { ...this.keysOf(media.reshape([B, items * R, dv])), bias });
    });
  }
}

/** Of each token the rows of the `items` media of R rows that it sees. A token that stands for an image sees it; before the first there is none. */
export function seenOf(mediaLocations: readonly ArrayLike<number>[], items: number, R: number, onlyLatest: boolean): Span[][] {
  return mediaLocations.map((row) => {
    let count = 0;
    return Array.from(row, (here) => {
      if (here) ++count;
      const first = onlyLatest ? Math.max(0, count - 1) : 0;
      return first < items ? { start: first * R, end: Math.min(count, items) * R } : { start: 0, end: 0 };
    });
  });
}
