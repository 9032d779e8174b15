// IDEFICS' gated cross-attention (transformers' IdeficsGatedCrossAttentionLayer): LLaMA's norms and feed-forward, gates of one number or of one a channel.
import type { Tensor } from "../core/tensor.js";
import type { Found } from "../nn/beside.js";
import { type LinearLayer, storedLinear } from "../nn/linear.js";
import { GatedMlp } from "../nn/mlp.js";
import { Module } from "../nn/module.js";
import { RMSNorm } from "../nn/norm.js";
import { type Weights, zeros } from "../nn/weights.js";
import { type ActivationKind, attention, tanhGate } from "../ops/index.js";
import { type GatedBlock, gateOf } from "./gated-cross-attention.js";

export interface IdeficsBlockConfig {
  dim: number;
  dimVisual: number;
  heads: number;
  dimHead: number;
  /** Width of the feed-forward. */
  hidden: number;
  activation?: ActivationKind;
  eps?: number;
  /** RMSNorm on each head of queries and keys. */
  headNorm?: boolean;
  /** A gate for each channel. */
  vectorGates?: boolean;
}

class CrossAttention extends Module {
  qProj: LinearLayer;
  kProj: LinearLayer;
  vProj: LinearLayer;
  oProj: LinearLayer;
  qLayerNorm: RMSNorm | undefined;
  kLayerNorm: RMSNorm | undefined;
  readonly #heads: number;
  readonly #dimHead: number;

  constructor(at: Weights, { dim, dimVisual, heads, dimHead, headNorm = false, eps = 1e-6 }: IdeficsBlockConfig) {
    super();
    const inner = heads * dimHead;
    this.#heads = heads;
    this.#dimHead = dimHead;
    const project = (name: string, from: number, to: number) => storedLinear(at.at(name), from, to, { bias: false });
    this.qProj = project("q_proj", dim, inner);
    this.kProj = project("k_proj", dimVisual, inner);
    this.vProj = project("v_proj", dimVisual, inner);
    this.oProj = project("o_proj", inner, dim);
    this.qLayerNorm = headNorm ? new RMSNorm(at.at("q_layer_norm"), dimHead, eps) : undefined;
    this.kLayerNorm = headNorm ? new RMSNorm(at.at("k_layer_norm"), dimHead, eps) : undefined;
  }

  keysOf(rows: Tensor): { k: Tensor; v: Tensor } {
    const k = this.#split(this.kProj.forward(rows));
    return { k: this.kLayerNorm?.forward(k) ?? k, v: this.#split(this.vProj.forward(rows)) };
  }
  /** x (B,T,C). */
  forward(x: Tensor, { k, v, bias, range }: Found): Tensor {
    const [B, T] = x.shape as [number, number];
    const q = this.#split(this.qProj.forward(x));
    const y = attention(this.qLayerNorm?.forward(q) ?? q, k, v, { bias, range, scale: 1 / Math.sqrt(this.#dimHead) });
    return this.oProj.forward(y.reshape([B, T, this.#heads * this.#dimHead]));
  }
  #split(y: Tensor): Tensor {
    return y.reshape([y.shape[0] as number, y.shape[1] as number, this.#heads, this.#dimHead]);
  }
}

export class IdeficsGatedBlock extends Module implements GatedBlock {
  crossAttn: CrossAttention;
  mlp: GatedMlp;
  inputLayernorm: RMSNorm;
  postAttentionLayernorm: RMSNorm;
  alphaCrossAttn: Tensor; // (1) or (1,1,C)
  alphaDense: Tensor;

  constructor(at: Weights, config: IdeficsBlockConfig) {
    super();
    const { dim, hidden, activation = "silu", eps = 1e-6, vectorGates = false } = config;
    const gate = (name: string) => at.parameter(name, vectorGates ? [1, 1, dim] : [1], zeros);
    this.crossAttn = new CrossAttention(at.at("cross_attn"), config);
    this.mlp = new GatedMlp(at.at("mlp"), dim, hidden, activation);
    this.inputLayernorm = new RMSNorm(at.at("input_layernorm"), dim, eps);
    this.postAttentionLayernorm = new RMSNorm(at.at("post_attention_layernorm"), dim, eps);
    this.alphaCrossAttn = gate("alpha_cross_attn");
    this.alphaDense = gate("alpha_dense");
  }

  keysOf(rows: Tensor): { k: Tensor; v: Tensor } {
    return this.crossAttn.keysOf(rows);
  }
  gated(x: Tensor, found: Found | undefined): Tensor {
    const y = found ? through(this.crossAttn.forward(this.inputLayernorm.forward(x), found), x, this.alphaCrossAttn) : x;
    return through(this.mlp.forward(this.postAttentionLayernorm.forward(y)), y, this.alphaDense);
  }
}

/** residual + tanh(alpha) · y; a gate of one a channel is the kernel's of one a row of width 1. */
function through(y: Tensor, residual: Tensor, alpha: Tensor): Tensor {
  const gate = gateOf(alpha);
  if (gate.size === 1) return tanhGate(y, residual, gate.reshape([1]));
  const apart = (x: Tensor) => x.reshape([...x.shape, 1]);
  return tanhGate(apart(y), apart(residual), gate.reshape([gate.size])).reshape(y.shape);
}
