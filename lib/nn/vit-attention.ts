// Self-attention of vision transformers, and of CLIP's text tower: every token sees all others, or those before it.
import type { Tensor } from "../core/tensor.js";
import { add, attention } from "../ops/index.js";
import { IN_PROJECTION, InProjection, projected } from "./in-projection.js";
import { type LinearLayer, storedLinear } from "./linear.js";
import { Module, matching } from "./module.js";
import { spellingOf, type VitNames } from "./vit-names.js";
import { type Weights, zeros } from "./weights.js";

export interface VitAttentionConfig {
  width: number;
  heads: number;
  /** A token sees those before it only. */
  causal?: boolean;
  /** Fresh weights have q, k and v in one matrix; stored ones are taken as they are. */
  fused?: boolean;
  /** Biases of q, k and v: all of them (default), none, or VideoMAE's, which leaves out k. */
  qkvBias?: boolean | "qv";
  /** Has k one where q and v have theirs? Default true; Whisper's has none. */
  kBias?: boolean;
}

export class VitAttention extends Module {
  q: LinearLayer | undefined;
  k: LinearLayer | undefined;
  v: LinearLayer | undefined;
  inProj: LinearLayer | undefined;
  qBias: Tensor | undefined; // (C), where k has none
  vBias: Tensor | undefined; // (C)
  out: LinearLayer;
  readonly #config: VitAttentionConfig;
  readonly #names: Readonly<Record<string, string>>;

  /** `std`: of fresh weights of q, k and v; `residual`: of those that add to the stream. */
  constructor(at: Weights, names: VitNames, config: VitAttentionConfig, { std, residual }: { std: number; residual: number }) {
    super();
    const { width, qkvBias = true, kBias = true } = config;
    this.#config = config;
    this.#names = spellingOf(names).attention;
    const name = (field: string) => this.stateName(field);
    const dense = (field: string, normal: number, bias = true) =>
      storedLinear(at.at(name(field)), width, width, { bias, init: { normal } });
    const fused = InProjection.stored(at) || (config.fused === true && !at.has(`${name("q")}.weight`));
    const own = (field: string, bias = true) => (fused ? undefined : dense(field, std, qkvBias === true && bias));
    this.q = own("q");
    this.k = own("k", kBias);
    this.v = own("v");
    this.inProj = fused ? new InProjection(at, width, { normal: std }) : undefined;
    this.qBias = qkvBias === "qv" ? at.parameter(name("qBias"), [width], zeros) : undefined;
    this.vBias = qkvBias === "qv" ? at.parameter(name("vBias"), [width], zeros) : undefined;
    this.out = dense("out", residual);
  }

  get width(): number {
    return this.#config.width;
  }

  protected override stateName(field: string): string {
    return field === "inProj" ? IN_PROJECTION : (this.#names[field] ?? super.stateName(field));
  }

  /** (N,T,C) → (N,T,C). */
  forward(x: Tensor): Tensor {
    const { heads, width, causal = false } = this.#config;
    const [N, T] = x.shape as [number, number];
    const [q, k, v] = this.#project(x).map((y) => y.reshape([N, T, heads, width / heads])) as [Tensor, Tensor, Tensor];
    return this.out.forward(attention(q, k, v, { causal }).reshape([N, T, width]));
  }

  #project(x: Tensor): Tensor[] {
    if (this.inProj) return projected(this.inProj, x, [0, 1, 2]);
    const [q, k, v] = [this.q, this.k, this.v] as [LinearLayer, LinearLayer, LinearLayer];
    return [biased(q.forward(x), this.qBias), k.forward(x), biased(v.forward(x), this.vBias)];
  }
}

const biased = (x: Tensor, by: Tensor | undefined): Tensor => (by ? add(x, matching(by, x)) : x);
