// The block of EVA's vision transformer (arXiv 2211.07636; lavis/models/eva_vit.py), as BLIP-2's towers have it: pre-norm like CLIP's, with q, k and v in one
// linear layer, whose bias may be missing (published ones have that of k at zero).
import { scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { type ActivationKind, add, attention } from "../ops/index.js";
import { projected } from "./in-projection.js";
import { type LinearLayer, storedLinear } from "./linear.js";
import { Mlp } from "./mlp.js";
import { Module } from "./module.js";
import { LayerNorm } from "./norm.js";
import type { VitBlock } from "./vit-block.js";
import { VitStack } from "./vit-stack.js";
import type { Weights } from "./weights.js";

export interface EvaBlockConfig {
  width: number;
  heads: number;
  hidden: number;
  activation: ActivationKind;
  eps: number;
  layers: number;
  /** Default true. */
  qkvBias?: boolean;
  /** How the checkpoint spells them. Default: as transformers' BLIP-2. */
  names?: EvaNames;
}
export interface EvaNames {
  attention: string;
  projection: string;
  norm1: string;
  norm2: string;
}
const TRANSFORMERS: EvaNames = { attention: "self_attn", projection: "projection", norm1: "layer_norm1", norm2: "layer_norm2" };
/** Of timm's Block, from which LAVIS' descends. */
export const TIMM: EvaNames = { attention: "attn", projection: "proj", norm1: "norm1", norm2: "norm2" };

class EvaAttention extends Module {
  qkv: LinearLayer;
  projection: LinearLayer;

  constructor(
    at: Weights,
    readonly width: number,
    readonly heads: number,
    bias: boolean,
    private readonly outName: string,
  ) {
    super();
    const init = { normal: width ** -0.5 };
    this.qkv = storedLinear(at.at("qkv"), width, 3 * width, { bias, init });
    this.projection = storedLinear(at.at(outName), width, width, { init });
  }
  protected override stateName(field: string): string {
    return field === "projection" ? this.outName : super.stateName(field);
  }

  /** (N,T,C) → (N,T,C). */
  forward(x: Tensor): Tensor {
    const { width, heads } = this;
    const [N, T] = x.shape as [number, number];
    const [q, k, v] = projected(this.qkv, x, [0, 1, 2]).map((y) => y.reshape([N, T, heads, width / heads])) as [Tensor, Tensor, Tensor];
    return this.projection.forward(attention(q, k, v).reshape([N, T, width]));
  }
}

export class EvaBlock extends Module {
  selfAttn: EvaAttention;
  norm1: LayerNorm;
  mlp: Mlp;
  norm2: LayerNorm;
  readonly #names: EvaNames;

  constructor(at: Weights, config: EvaBlockConfig) {
    super();
    const { width, heads, hidden, activation, eps, qkvBias = true, names = TRANSFORMERS } = config;
    this.#names = names;
    this.selfAttn = new EvaAttention(at.at(names.attention), width, heads, qkvBias, names.projection);
    this.norm1 = new LayerNorm(at.at(this.stateName("norm1")), width, eps);
    this.mlp = new Mlp(at.at("mlp"), width, hidden, activation);
    this.norm2 = new LayerNorm(at.at(this.stateName("norm2")), width, eps);
  }

  protected override stateName(field: string): string {
    const { attention: selfAttn, norm1, norm2 } = this.#names;
    return { selfAttn, norm1, norm2 }[field] ?? super.stateName(field);
  }

  /** (N,T,C) → (N,T,C). */
  forward(x: Tensor): Tensor {
    return scope(() => {
      const h = add(x, this.selfAttn.forward(this.norm1.forward(x)));
      return add(h, this.mlp.forward(this.norm2.forward(h)));
    });
  }
}

/** A tower of them. A stack asks of its blocks no more than their forward. */
export class EvaStack extends VitStack {
  constructor(at: Weights, config: EvaBlockConfig) {
    super(at, "huggingface", { ...config, layers: 0 });
    const blocks = Array.from({ length: config.layers }, (_, i) => new EvaBlock(at.at("layers").at(i), config));
    this.blocks = blocks as Module[] as VitBlock[];
  }
}
