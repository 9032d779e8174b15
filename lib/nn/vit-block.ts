// The pre-norm block of vision transformers (arXiv 2010.11929; CLIP's 2103.00020): x + attention(norm(x)), then x + mlp(norm(x)). DINOv2 scales
// both branches and may gate the second (SwiGLU). Checkpoints spell the fields in several ways.
import { scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { type ActivationKind, add, mul } from "../ops/index.js";
import { Mlp } from "./mlp.js";
import { Module, matching } from "./module.js";
import { LayerNorm } from "./norm.js";
import { VitAttention, type VitAttentionConfig } from "./vit-attention.js";
import { spellingOf, type VitNames } from "./vit-names.js";
import { ones, type Weights } from "./weights.js";

export type { VitNames } from "./vit-names.js";

export interface VitBlockConfig extends VitAttentionConfig {
  hidden: number;
  activation: ActivationKind;
  eps: number;
  /** Of the tower: CLIP's first weights get smaller with it. */
  layers: number;
  /** Each branch times a vector of its own before it is added. */
  layerScale?: boolean;
  /** The feed-forward is silu(gate) · up, each as wide as `hidden`. */
  gated?: boolean;
}

export class VitBlock extends Module {
  norm1: LayerNorm;
  attention: VitAttention;
  scale1: Tensor | undefined; // (C)
  norm2: LayerNorm;
  mlp: Mlp;
  scale2: Tensor | undefined; // (C)
  readonly #names: Readonly<Record<string, string>>;

  constructor(at: Weights, names: VitNames, config: VitBlockConfig) {
    super();
    const { width, hidden, activation, eps, layers, layerScale = false, gated = false } = config;
    const spelling = spellingOf(names);
    this.#names = spelling.block;
    const place = (field: string) => at.at(this.stateName(field));
    const scale = (field: string) => (layerScale ? at.parameter(this.stateName(field), [width], ones) : undefined);
    const std = width ** -0.5; // the start of openai/CLIP, clip/model.py, initialize_parameters
    const residual = std * (2 * layers) ** -0.5;
    this.norm1 = new LayerNorm(place("norm1"), width, eps);
    this.attention = new VitAttention(place("attention"), names, config, { std, residual });
    this.scale1 = scale("scale1");
    this.norm2 = new LayerNorm(place("norm2"), width, eps);
    this.mlp = new Mlp(place("mlp"), width, hidden, activation, {
      gated,
      names: gated ? (spelling.gated ?? spelling.mlp) : spelling.mlp,
      init: [{ normal: (2 * width) ** -0.5 }, { normal: residual }],
    });
    this.scale2 = scale("scale2");
  }

  protected override stateName(field: string): string {
    return this.#names[field] ?? super.stateName(field);
  }

  /** (N,T,C) → (N,T,C). */
  forward(x: Tensor): Tensor {
    return scope(() => {
      const h = add(x, scaled(this.attention.forward(this.norm1.forward(x)), this.scale1));
      return add(h, scaled(this.mlp.forward(this.norm2.forward(h)), this.scale2));
    });
  }
}

const scaled = (x: Tensor, by: Tensor | undefined): Tensor => (by ? mul(x, matching(by, x)) : x);
