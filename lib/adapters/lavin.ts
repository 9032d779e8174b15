// LaVIN (arXiv 2305.15023; github.com/luogen1996/LaVIN): mixtures of modality adapters in every layer of the language model, chosen between by a row that says
// whether there is a picture and that no token sees, and in every block of the image tower, chosen between by the class token.
import { is, type Schema } from "../core/checks.js";
import { Tensor } from "../core/tensor.js";
import { CausalDecoder } from "../models/causal-decoder.js";
import { CausalSelfAttention } from "../nn/attention.js";
import { FusedSelfAttention } from "../nn/fused-attention.js";
import { innermost, places } from "../nn/layer.js";
import { Linear } from "../nn/linear.js";
import { MixedAttention, type Routing } from "../nn/mixed-attention.js";
import { Module } from "../nn/module.js";
import type { Attention } from "../nn/pre-adapter.js";
import type { LeadSource, Sequence } from "../nn/sequence.js";
import { VitAttention } from "../nn/vit-attention.js";
import type { Weights } from "../nn/weights.js";
import { activation, gatherRows } from "../ops/index.js";
import { CONFIG } from "./adapter-files.js";
import { type AdapterKind, type AdapterPlan, adapterFault, completed, type Json } from "./kind.js";

export interface LavinConfig {
  /** Width of the bottleneck, 8 as published, in so many groups that outputs share. */
  hidden: number;
  groups: number;
  /** By which the router's logits are divided: 10 for 7 B, 5 for 13 B. */
  temperature: number;
  scale: number;
  /** Default 0.1. */
  dropout: number;
  /**
   * class: as the paper says it. published: as the released code computes, in an image tower for one picture at a time; in a language model tokens of an
   * answer stand one place earlier than in training.
   */
  routing: Routing;
  /** Widths of the projection that the language model's file may hold for a picture's rows; without them a bridge makes what stands in the text. */
  clipDim: number | undefined;
  projHidden: number | undefined;
  baseModel: string | undefined;
}

const fail = adapterFault("LaVIN");
const schema: Schema = {
  hidden: is.upTo(65_536, 1),
  groups: is.upTo(65_536, 1),
  temperature: is.number(0),
  scale: is.number(),
  dropout: is.number(0, 1),
  routing: is.oneOf("class", "published"),
  clipDim: is.integer(1),
  projHidden: is.integer(1),
  baseModel: is.text,
};
const DEFAULTS: LavinConfig = {
  ...({ hidden: 8, groups: 2, temperature: 10, scale: 1, dropout: 0.1, routing: "class" } as const),
  ...{ clipDim: undefined, projHidden: undefined, baseModel: undefined },
};

function complete(options: Partial<LavinConfig>): LavinConfig {
  const config = completed({ name: "LaVIN", schema, fail }, options, DEFAULTS);
  const { hidden, groups, temperature, clipDim, projHidden } = config;
  if (hidden % groups) throw fail(`groups that divide hidden ${hidden}`, `${groups}`);
  if (!(temperature > 0)) throw fail("a temperature above 0", `${temperature}`);
  if ((clipDim === undefined) !== (projHidden === undefined)) throw fail("clipDim and projHidden, or neither", "one of them");
  return config;
}

/** The two layers that the published file has for a picture's rows: (B,S,d) → (B,S,C). */
class AdapterProj extends Module {
  convA: Linear;
  convB: Linear;
  constructor(at: Weights, dim: number, hidden: number, width: number) {
    super();
    this.convA = new Linear(at.at("conv_A"), dim, hidden);
    this.convB = new Linear(at.at("conv_B"), hidden, width);
  }
  protected override stateName(field: string): string {
    return { convA: "conv_A", convB: "conv_B" }[field] ?? super.stateName(field);
  }
  forward(rows: Tensor): Tensor {
    return this.convB.forward(activation(this.convA.forward(rows), "silu"));
  }
}
const MODALITY = "adapter_modality_embedding.weight";

/** What is no layer's own: a row for each of "text alone" and "with a picture", and the projection where the file has one. */
export class LavinShared extends Module {
  modality: Tensor; // (2,C)
  adapterProj: AdapterProj | undefined;
  constructor(at: Weights, width: number, { clipDim, projHidden }: LavinConfig) {
    super();
    this.modality = at.parameter(MODALITY, [2, width], { normal: 1 });
    this.adapterProj = clipDim && projHidden ? new AdapterProj(at.at("adapter_proj"), clipDim, projHidden, width) : undefined;
  }
  protected override stateName(field: string): string {
    return field === "modality" ? MODALITY : super.stateName(field);
  }
}

export const LAVIN: AdapterKind<LavinConfig> = {
  name: "lavin",
  schema,
  files: { weights: "adapter.safetensors", config: CONFIG },
  complete,
  plan,
  read(json) {
    const {
      hidden,
      groups,
      t: temperature,
      s: scale,
      dropout,
      routing,
      clip_dim: clipDim,
      proj_hidden: projHidden,
      base: baseModel,
    } = json;
    const given = Object.entries({ hidden, groups, temperature, scale, dropout, routing, clipDim, projHidden, baseModel });
    return complete(Object.fromEntries(given.filter(([, value]) => value !== undefined && value !== null)) as object);
  },
  write: ({ hidden, groups, temperature, scale, dropout, routing, clipDim, projHidden, baseModel }): Json => ({
    kind: "lavin",
    ...(baseModel !== undefined && { base: baseModel }),
    ...{ hidden, groups, t: temperature, s: scale, dropout },
    ...(routing !== "class" && { routing }),
    ...(clipDim !== undefined && { clip_dim: clipDim, proj_hidden: projHidden }),
  }),
  key: (path, name) => (path ? `${parentOf(path)}.${name}` : name),
  fail,
};

/** Where an attention stands, without what transformers calls the tower around it: the mixture stands beside it in the file. */
const parentOf = (path: string): string => path.replace(/^vision_model\./, "").replace(/\.[^.]+$/, "");

function plan(model: Module, config: LavinConfig, at: Weights, owner: string): AdapterPlan {
  const { clipDim: _c, projHidden: _p, baseModel: _b, routing, ...rest } = config;
  const wraps: [string, MixedAttention][] = [];
  for (const [path, module] of places(model)) {
    const attention = innermost(module);
    if (!(attention instanceof CausalSelfAttention || attention instanceof FusedSelfAttention || attention instanceof VitAttention))
      continue;
    const { width } = attention;
    if (width % config.groups) throw fail(`groups that divide the width ${width}`, `${config.groups}`);
    const here = at.at(parentOf(path)).at("adapter_attn");
    wraps.push([path, new MixedAttention(here, module as Attention<[Sequence?]>, owner, { ...rest, width }, routing)]);
  }
  if (!wraps.length) throw fail("layers with self-attention to stand in", "none in this model");
  const made = wraps.map(([path, wrap]) => [path, () => wrap] as const);
  if (!(model instanceof CausalDecoder)) {
    if (config.clipDim !== undefined) throw fail("clipDim on a language model alone", `a ${model.constructor.name}`);
    return { wraps: made };
  }
  const shared = new LavinShared(at, model.width, config);
  return { wraps: made, shared, lead: leadOf(shared, routing) };
}

/** The row that chooses: text alone, or with a picture. */
const leadOf = (shared: LavinShared, routing: Routing): LeadSource => ({
  length: 1,
  steers: true,
  make({ rows, media }) {
    const { modality } = shared;
    const which = Int32Array.from({ length: rows }, (_, b) => (media?.[b] ? 1 : 0));
    const chosen = gatherRows(modality, Tensor.from(which, [rows], { device: modality.device }));
    return { length: 1, rows: chosen.reshape([rows, 1, modality.shape[1] as number]), hidden: true, uncounted: routing === "published" };
  },
});
