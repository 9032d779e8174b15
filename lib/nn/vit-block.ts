// The pre-norm block of CLIP's towers (arXiv 2103.00020): x + attention(norm(x)), then x + mlp(norm(x)). Fields keep two spellings in checkpoints.
import { scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { type ActivationKind, activation, add, attention, linear } from "../ops/index.js";
import { type LinearLayer, storedLinear } from "./linear.js";
import { Module, matching } from "./module.js";
import { LayerNorm } from "./norm.js";
import { type Weights, zeros } from "./weights.js";

export interface VitBlockConfig {
  width: number;
  heads: number;
  hidden: number;
  activation: ActivationKind;
  eps: number;
  /** Of the tower: CLIP's first weights get smaller with it. */
  layers: number;
  /** A token sees those before it only. */
  causal?: boolean;
}

/** huggingface: q, k and v on their own; openai: their rows in one matrix. */
const NAMES = {
  huggingface: {
    norm1: "layer_norm1",
    q: "self_attn.q_proj",
    k: "self_attn.k_proj",
    v: "self_attn.v_proj",
    out: "self_attn.out_proj",
    norm2: "layer_norm2",
    fc1: "mlp.fc1",
    fc2: "mlp.fc2",
  },
  openai: {
    norm1: "ln_1",
    inWeight: "attn.in_proj_weight",
    inBias: "attn.in_proj_bias",
    out: "attn.out_proj",
    norm2: "ln_2",
    fc1: "mlp.c_fc",
    fc2: "mlp.c_proj",
  },
} as const;
export type VitNames = keyof typeof NAMES;

export class VitBlock extends Module {
  norm1: LayerNorm;
  q: LinearLayer | undefined;
  k: LinearLayer | undefined;
  v: LinearLayer | undefined;
  inWeight: Tensor | undefined; // (3C,C): all of q, all of k, all of v
  inBias: Tensor | undefined; // (3C)
  out: LinearLayer;
  norm2: LayerNorm;
  fc1: LinearLayer;
  fc2: LinearLayer;
  readonly #config: VitBlockConfig;
  readonly #names: Readonly<Record<string, string>>;

  constructor(at: Weights, names: VitNames, config: VitBlockConfig) {
    super();
    const { width, hidden, eps, layers } = config;
    this.#config = config;
    this.#names = NAMES[names];
    const place = (field: string) => at.at(this.stateName(field));
    const dense = (field: string, from: number, to: number, std: number) => storedLinear(place(field), from, to, { init: { normal: std } });
    const std = width ** -0.5; // the start of openai/CLIP, clip/model.py, initialize_parameters
    const residual = std * (2 * layers) ** -0.5;
    const fused = names === "openai";
    this.norm1 = new LayerNorm(place("norm1"), width, eps);
    this.q = fused ? undefined : dense("q", width, width, std);
    this.k = fused ? undefined : dense("k", width, width, std);
    this.v = fused ? undefined : dense("v", width, width, std);
    this.inWeight = fused ? at.parameter(NAMES.openai.inWeight, [3 * width, width], { normal: std }) : undefined;
    this.inBias = fused ? at.parameter(NAMES.openai.inBias, [3 * width], zeros) : undefined;
    this.out = dense("out", width, width, residual);
    this.norm2 = new LayerNorm(place("norm2"), width, eps);
    this.fc1 = dense("fc1", width, hidden, (2 * width) ** -0.5);
    this.fc2 = dense("fc2", hidden, width, residual);
  }

  protected override stateName(field: string): string {
    return this.#names[field] ?? super.stateName(field);
  }

  /** (N,T,C) → (N,T,C). */
  forward(x: Tensor): Tensor {
    return scope(() => {
      const h = add(x, this.#attend(this.norm1.forward(x)));
      return add(h, this.fc2.forward(activation(this.fc1.forward(this.norm2.forward(h)), this.#config.activation)));
    });
  }

  #attend(x: Tensor): Tensor {
    const { heads, width, causal = false } = this.#config;
    const [N, T] = x.shape as [number, number];
    const [q, k, v] = this.#project(x).map((y) => y.reshape([N, T, heads, width / heads])) as [Tensor, Tensor, Tensor];
    return this.out.forward(attention(q, k, v, { causal }).reshape([N, T, width]));
  }

  #project(x: Tensor): Tensor[] {
    if (this.q && this.k && this.v) return [this.q, this.k, this.v].map((layer) => layer.forward(x));
    const { width } = this.#config;
    const [w, b] = [matching(this.inWeight as Tensor, x), matching(this.inBias as Tensor, x)];
    return [0, 1, 2].map((i) => linear(x, w.slice(i * width, width), b.slice(i * width, width)));
  }
}

/** A tower's blocks, one after the other. */
export class VitStack extends Module {
  blocks: VitBlock[];
  readonly #field: string;

  constructor(at: Weights, names: VitNames, config: VitBlockConfig) {
    super();
    this.#field = names === "openai" ? "resblocks" : "layers";
    this.blocks = Array.from({ length: config.layers }, (_, i) => new VitBlock(at.at(this.#field).at(i), names, config));
  }

  protected override stateName(field: string): string {
    return field === "blocks" ? this.#field : super.stateName(field);
  }

  /** Hidden state number `index` (0 is x itself) and the last. */
  forward(x: Tensor, index = this.blocks.length): { hidden: Tensor; last: Tensor } {
    let [last, hidden] = [x, x];
    for (const [i, block] of this.blocks.entries()) {
      const next = block.forward(last);
      if (last !== x && last !== hidden) last.dispose(); // nobody outside sees it, and the tape holds what backward needs
      last = next;
      if (i + 1 === index) hidden = last;
    }
    return { hidden, last };
  }
}
