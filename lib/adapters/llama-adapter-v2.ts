// LLaMA-Adapter V2 (arXiv 2304.15010): norms that train, a bias and a scale at linear layers, prompts in the last layers, a picture in the first ones. Three
// forms: that of the paper, and the two that were released (github.com/OpenGVLab/LLaMA-Adapter), which differ from it and from each other.
import { is, type Schema } from "../core/checks.js";
import type { Tensor } from "../core/tensor.js";
import { QueryVitProjector } from "../models/bridges/query-vit.js";
import { AffineLinear, type AffineOptions } from "../nn/affine.js";
import { EarlyFusion } from "../nn/early-fusion.js";
import { innermost, type MakeWrap, places } from "../nn/layer.js";
import { Linear, type LinearLayer } from "../nn/linear.js";
import { Module } from "../nn/module.js";
import { LayerNorm, RMSNorm } from "../nn/norm.js";
import type { Stored } from "../nn/overwriting.js";
import { PromptedAttention } from "../nn/prompted-attention.js";
import { QuantizedLinear } from "../nn/quantized-linear.js";
import { ones, type Weights, zeros } from "../nn/weights.js";
import { CONFIG } from "./adapter-files.js";
import { type Overlay, parametersOf } from "./exchange.js";
import { type AdapterKind, type AdapterPlan, type Attached, adapterFault, completed, type Json } from "./kind.js";
import { master } from "./overlays.js";
import { ATTENTION, attentionLayers, between, part, prompted, storedPrompts, TABLE } from "./prompted-layers.js";

/** paper: y = s ⊙ (Wx + b), the picture in the first layers. chat65b: y = W(x ⊙ s) + b, no picture. multimodal7b: y = Wx + b but at k and v, a row of the picture on each prompt. */
const FORMS = ["paper", "chat65b", "multimodal7b"] as const;

/** Of the path that an adapter of the released form brings for pictures itself. */
export interface V2Visual {
  dim: number;
  depth: number;
  heads: number;
}
export interface LlamaAdapterV2Config {
  form: (typeof FORMS)[number];
  /** Per layer. */
  prompts: number;
  /** That have prompts, counted from the top; 0: none has. */
  layers: number;
  /** Of the paper's form: those that read the picture, counted from the bottom. */
  early: number;
  /** Width of a picture's rows, where the adapter's own file has the way for them; without it a bridge makes what stands beside the text. */
  clipDim: number | undefined;
  visual: V2Visual | undefined;
  baseModel: string | undefined;
}

const fail = adapterFault("LLaMA-Adapter V2");
const visual = {
  wanted: "{ dim, depth, heads }, integers of at least 1",
  fits: (v: unknown) =>
    typeof v === "object" && v !== null && ["dim", "depth", "heads"].every((key) => is.integer(1).fits((v as Json)[key])),
};
const schema: Schema = {
  form: is.oneOf(...FORMS),
  prompts: is.integer(0),
  layers: is.integer(0),
  early: is.integer(0),
  clipDim: is.integer(1),
  visual,
  baseModel: is.text,
};
/** Of LLaMA-7B's 32 layers the first reads the picture, and the others have prompts; 65B was tuned without any. */
const DEFAULTS: LlamaAdapterV2Config = {
  ...{ form: "paper", prompts: 10, layers: 31, early: 1, clipDim: undefined, visual: undefined, baseModel: undefined },
};

function complete(options: Partial<LlamaAdapterV2Config>): LlamaAdapterV2Config {
  const { form = "paper" } = options;
  const none = form === "chat65b" ? { prompts: 0, layers: 0 } : {};
  const config = completed({ name: "LLaMA-Adapter V2", schema, fail }, options, {
    ...DEFAULTS,
    ...(form !== "paper" && { early: 0 }),
    ...none,
  });
  if (config.layers > 0 && !config.prompts) throw fail("prompts for the layers that have some", "0 in a layer");
  if (form !== "paper" && config.early) throw fail("early layers in the paper's form alone", `${config.early} of ${form}`);
  if (form === "chat65b" && config.clipDim) throw fail("no picture in the form chat65b", `clipDim ${config.clipDim}`);
  if (form === "multimodal7b" && config.clipDim && !config.visual) throw fail("visual beside clipDim", "none");
  return config;
}

/** What the file of the paper's form has for pictures: (B,S,d) → rows (B,S,C), to be given as beside.rows. */
export class V2Projection extends Module {
  visualProjection: Linear;
  visualNorm: LayerNorm;
  constructor(at: Weights, dim: number, width: number) {
    super();
    this.visualProjection = new Linear(at.at("visual_projection"), dim, width);
    this.visualNorm = new LayerNorm(at.at("visual_norm"), width);
  }
  forward(rows: Tensor): Tensor {
    return this.visualNorm.forward(this.visualProjection.forward(rows));
  }
}
/** And that of the released one: (B,S,d) → a row for each prompt (B,K,C). */
export class V2VisualPath extends Module {
  visual: QueryVitProjector;
  constructor(at: Weights, dim: number, { dim: width, depth: layers, heads }: V2Visual, queries: number, dimLlm: number) {
    super();
    this.visual = new QueryVitProjector(at.at("visual"), { dim, dimLlm, queries, layers, width, heads });
  }
  forward(rows: Tensor): Tensor {
    return this.visual.forward(rows);
  }
}

export const LLAMA_ADAPTER_V2: AdapterKind<LlamaAdapterV2Config> = {
  name: "llama-adapter-v2",
  schema,
  files: { weights: "adapter.safetensors", config: CONFIG },
  complete,
  plan,
  read(json) {
    const { mode: form, prompts, layers, early, clip_dim: clipDim, visual: path, base: baseModel } = json;
    const given = Object.entries({ form, prompts, layers, early, clipDim, visual: path, baseModel });
    return complete(Object.fromEntries(given.filter(([, value]) => value !== undefined && value !== null)) as object);
  },
  write: ({ form, prompts, layers, early, clipDim, visual: path, baseModel }): Json => ({
    kind: "llama-adapter-v2",
    ...(baseModel !== undefined && { base: baseModel }),
    ...{ mode: form, prompts, layers },
    ...(form === "paper" && { early }), // 0 too: without it one layer is meant
    ...(clipDim !== undefined && { clip_dim: clipDim }),
    ...(path && { visual: path }),
  }),
  key: (path, name) => (path ? `${path}.${name}` : name),
  /** Early gates are told from late ones, so that a stage can open them alone; in the file all are `gate`. */
  *stored({ wraps, overlays, shared }: Attached<LlamaAdapterV2Config>): Generator<Stored> {
    yield* storedPrompts([...wraps.values()].flatMap((wrap) => (wrap instanceof PromptedAttention ? [wrap.prompt] : [])));
    for (const [path, wrap] of wraps)
      for (const [name, tensor] of wrap.own())
        if (name !== TABLE) yield { keys: [`${path}.${name === "early_gate" ? "gate" : name}`], tensor };
    for (const { keys, tensor } of overlays) yield { keys, tensor };
    for (const [name, tensor] of shared?.namedParameters() ?? []) yield { keys: [name], tensor };
  },
  fail,
};

function plan(model: Module, config: LlamaAdapterV2Config, at: Weights, owner: string): AdapterPlan {
  const { form, prompts, layers, early, clipDim, visual: path } = config;
  const all = attentionLayers(model, ATTENTION, "all", fail);
  if (early + layers > all.length)
    throw fail(`early and late layers among the ${all.length} that the model has`, `${early} early and ${layers} late ones`);
  const width = all[0]?.attention.width as number;
  const late = all.slice(all.length - layers);
  const table = layers && at.checkpoint ? at.parameter(`${TABLE}.weight`, [layers * prompts, width], zeros) : undefined;
  const gateOf = (place: string, heads: number) => at.at(place).parameter("gate", [1, heads, 1, 1], zeros);
  const wraps: [string, MakeWrap][] = all.slice(0, early).map(({ path: place, attention }) => {
    const gate = gateOf(place, attention.numHeads);
    return [place, between((base) => new EarlyFusion(base, owner, gate), fail)];
  });
  for (const [i, { path: place, attention }] of late.entries()) {
    const prompt = table ? part(table, i * prompts, prompts) : at.parameter(TABLE, [prompts, width], { normal: 1 });
    const gate = gateOf(place, attention.numHeads);
    const names = { prompt: TABLE, gate: "gate" };
    wraps.push([place, prompted({ owner, prompt, gate, names, form: "tanh", picture: form === "multimodal7b" }, fail)]);
  }
  table?.dispose();
  // The released file has a gate in every layer; those of layers without prompts nobody reads.
  for (const { path: place } of all.slice(early, all.length - layers)) if (at.at(place).has("gate")) at.at(place).take("gate");
  wraps.push(...linears(model, form, at, owner));
  const shared =
    clipDim === undefined ? undefined : path ? new V2VisualPath(at, clipDim, path, prompts, width) : new V2Projection(at, clipDim, width);
  return { wraps, overlays: norms(model, at), shared };
}

/** Around every linear layer of attention and feed-forward; as released for pictures not around what makes keys and values, which prompts go through too. */
function linears(model: Module, form: LlamaAdapterV2Config["form"], at: Weights, owner: string): [string, MakeWrap][] {
  const made: [string, AffineLinear][] = [];
  for (const [path, module] of places(model)) {
    const layer = innermost(module);
    if (!(layer instanceof Linear || layer instanceof QuantizedLinear) || path.endsWith("lm_head")) continue;
    if (form === "multimodal7b" && /\.[kv]_proj$/.test(path)) continue;
    const scale = (size: number) => ({ name: "scale", shape: [size] });
    const vectors: AffineOptions = {
      bias: { name: "bias", shape: [layer.outFeatures] },
      ...(form === "paper" && { out: scale(layer.outFeatures) }),
      ...(form === "chat65b" && { in: scale(layer.inFeatures) }),
    };
    made.push([path, new AffineLinear(at.at(path), module as LinearLayer, { owner, ...vectors })]);
  }
  return made.map(([path, wrap]) => [path, () => wrap]);
}

/** All norms have others in their place. */
function norms(model: Module, at: Weights): Overlay[] {
  const all = new Set<string>();
  for (const [path, module] of places(model))
    if (module instanceof RMSNorm || module instanceof LayerNorm) for (const [name] of module.namedParameters(path)) all.add(name);
  return [...parametersOf(model)].flatMap(([path, original]) => {
    if (!all.has(path)) return [];
    // Of shapes alone there is nothing to copy.
    const tensor = at.checkpoint || original.disposed ? at.parameter(path, original.shape, ones) : master(original);
    return [{ paths: [path], keys: [path], tensor, trains: true }];
  });
}
