// The pre-norm block of vision transformers (arXiv 2010.11929; CLIP's 2103.00020): x + attention(norm(x)), then x + mlp(norm(x)). DINOv2 scales
// both branches and may gate the second (SwiGLU). Checkpoints spell the fields in several ways.
import { scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { type ActivationKind, activation, add, attention, gatedActivation, linear, mul, sliceCopy } from "../ops/index.js";
import { type LinearLayer, storedLinear } from "./linear.js";
import { Module, matching } from "./module.js";
import { LayerNorm } from "./norm.js";
import { ones, type Weights, zeros } from "./weights.js";

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
  /** Biases of q, k and v: all of them (default), none, or VideoMAE's, which leaves out k. */
  qkvBias?: boolean | "qv";
  /** Each branch times a vector of its own before it is added. */
  layerScale?: boolean;
}

const DINOV2 = {
  norm1: "norm1",
  q: "attention.attention.query",
  k: "attention.attention.key",
  v: "attention.attention.value",
  out: "attention.output.dense",
  scale1: "layer_scale1.lambda1",
  norm2: "norm2",
  fc1: "mlp.fc1",
  fc2: "mlp.fc2",
  scale2: "layer_scale2.lambda1",
} as const;
/** huggingface: CLIP and SigLIP, q, k and v on their own; openai: CLIP with their rows in one matrix, as OpenCLIP and ViCLIP have them. */
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
  dinov2: DINOV2,
  dinov2Gated: {
    ...DINOV2,
    fc1: "mlp.weights_in", // (2·hidden,C): the gate's rows, then those of what it lets through
    fc2: "mlp.weights_out",
  },
  videomae: {
    norm1: "layernorm_before",
    q: "attention.attention.query",
    k: "attention.attention.key",
    v: "attention.attention.value",
    qBias: "attention.attention.q_bias",
    vBias: "attention.attention.v_bias",
    out: "attention.output.dense",
    norm2: "layernorm_after",
    fc1: "intermediate.dense",
    fc2: "output.dense",
  },
} as const;
/** What a tower calls the list of its blocks. */
const LISTS = { huggingface: "layers", openai: "resblocks", dinov2: "layer", dinov2Gated: "layer", videomae: "layer" } as const;
export type VitNames = keyof typeof NAMES;

export class VitBlock extends Module {
  norm1: LayerNorm;
  q: LinearLayer | undefined;
  k: LinearLayer | undefined;
  v: LinearLayer | undefined;
  inWeight: Tensor | undefined; // (3C,C): all of q, all of k, all of v
  inBias: Tensor | undefined; // (3C)
  qBias: Tensor | undefined; // (C), where k has none
  vBias: Tensor | undefined; // (C)
  out: LinearLayer;
  scale1: Tensor | undefined; // (C)
  norm2: LayerNorm;
  fc1: LinearLayer;
  fc2: LinearLayer;
  scale2: Tensor | undefined; // (C)
  readonly #config: VitBlockConfig;
  readonly #names: Readonly<Record<string, string>>;
  /** The feed-forward is silu(gate) · up, each as wide as `hidden`. */
  readonly #gated: boolean;

  constructor(at: Weights, names: VitNames, config: VitBlockConfig) {
    super();
    const { width, hidden, eps, layers, qkvBias = true, layerScale = false } = config;
    const [fused, gated] = [names === "openai", names === "dinov2Gated"];
    this.#config = config;
    this.#names = NAMES[names];
    this.#gated = gated;
    const name = (field: string) => this.stateName(field);
    const dense = (field: string, from: number, to: number, std: number, bias = true) =>
      storedLinear(at.at(name(field)), from, to, { bias, init: { normal: std } });
    const vector = (field: string, init = zeros) => at.parameter(name(field), [width], init);
    const std = width ** -0.5; // the start of openai/CLIP, clip/model.py, initialize_parameters
    const residual = std * (2 * layers) ** -0.5;
    const own = (field: string) => (fused ? undefined : dense(field, width, width, std, qkvBias === true));
    this.norm1 = new LayerNorm(at.at(name("norm1")), width, eps);
    this.q = own("q");
    this.k = own("k");
    this.v = own("v");
    this.inWeight = fused ? at.parameter(name("inWeight"), [3 * width, width], { normal: std }) : undefined;
    this.inBias = fused ? at.parameter(name("inBias"), [3 * width], zeros) : undefined;
    this.qBias = qkvBias === "qv" ? vector("qBias") : undefined;
    this.vBias = qkvBias === "qv" ? vector("vBias") : undefined;
    this.out = dense("out", width, width, residual);
    this.scale1 = layerScale ? vector("scale1", ones) : undefined;
    this.norm2 = new LayerNorm(at.at(name("norm2")), width, eps);
    this.fc1 = dense("fc1", width, gated ? 2 * hidden : hidden, (2 * width) ** -0.5);
    this.fc2 = dense("fc2", hidden, width, residual);
    this.scale2 = layerScale ? vector("scale2", ones) : undefined;
  }

  protected override stateName(field: string): string {
    return this.#names[field] ?? super.stateName(field);
  }

  /** (N,T,C) → (N,T,C). */
  forward(x: Tensor): Tensor {
    return scope(() => {
      const h = add(x, scaled(this.#attend(this.norm1.forward(x)), this.scale1));
      return add(h, scaled(this.fc2.forward(this.#activate(this.fc1.forward(this.norm2.forward(h)))), this.scale2));
    });
  }

  #activate(x: Tensor): Tensor {
    const { hidden, activation: kind } = this.#config;
    return this.#gated ? gatedActivation(sliceCopy(x, -1, 0, hidden), sliceCopy(x, -1, hidden, hidden), "silu") : activation(x, kind);
  }

  #attend(x: Tensor): Tensor {
    const { heads, width, causal = false } = this.#config;
    const [N, T] = x.shape as [number, number];
    const [q, k, v] = this.#project(x).map((y) => y.reshape([N, T, heads, width / heads])) as [Tensor, Tensor, Tensor];
    return this.out.forward(attention(q, k, v, { causal }).reshape([N, T, width]));
  }

  #project(x: Tensor): Tensor[] {
    if (this.q && this.k && this.v)
      return [biased(this.q.forward(x), this.qBias), this.k.forward(x), biased(this.v.forward(x), this.vBias)];
    const { width } = this.#config;
    const [w, b] = [matching(this.inWeight as Tensor, x), matching(this.inBias as Tensor, x)];
    return [0, 1, 2].map((i) => linear(x, w.slice(i * width, width), b.slice(i * width, width)));
  }
}

const scaled = (x: Tensor, by: Tensor | undefined): Tensor => (by ? mul(x, matching(by, x)) : x);
const biased = (x: Tensor, by: Tensor | undefined): Tensor => (by ? add(x, matching(by, x)) : x);

/** A tower's blocks, one after the other. */
export class VitStack extends Module {
  blocks: VitBlock[];
  readonly #field: string;

  constructor(at: Weights, names: VitNames, config: VitBlockConfig) {
    super();
    this.#field = LISTS[names];
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
