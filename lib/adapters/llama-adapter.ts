// LLaMA-Adapter V1 (arXiv 2303.16199) in the last layers of a decoder: in the published files, where all prompts are one table, and in PEFT's
// (ADAPTION_PROMPT), which has a gate per layer in place of one per head, and none of the pictures.

import { is, type Schema, shown } from "../core/checks.js";
import type { Tensor } from "../core/tensor.js";
import type { MakeWrap } from "../nn/layer.js";
import { Linear } from "../nn/linear.js";
import { Module } from "../nn/module.js";
import type { Stored } from "../nn/overwriting.js";
import type { PromptedAttention } from "../nn/prompted-attention.js";
import { type Weights, zeros } from "../nn/weights.js";
import { activation, concat } from "../ops/index.js";
import { CONFIG } from "./adapter-files.js";
import { type AdapterKind, type Attached, adapterFault, completed, type Json } from "./kind.js";
import { ROOT } from "./overlays.js";
import { ATTENTION, attentionLayers, part, prompted, storedPrompts, TABLE } from "./prompted-layers.js";

export interface LlamaAdapterConfig {
  /** Per layer. */
  prompts: number;
  /** Counted from the top. */
  layers: number;
  /** With a picture: widths of its vectors, which are joined and projected to one row. None: text alone. */
  visualDims: readonly number[];
  visualHidden: number;
  /** Does the row of a picture that stands beside the text steer the prompts? It does with widths; without them somebody else makes the row. */
  picture: boolean;
  baseModel: string | undefined;
}
export interface AdaptionPromptConfig {
  prompts: number;
  layers: number;
  /** How the paths of the attention layers end. */
  targetModules: string;
  baseModel: string | undefined;
}

const text = { wanted: "a text", fits: (v: unknown) => typeof v === "string" };
const schema: Schema = {
  prompts: is.integer(1),
  layers: is.integer(1),
  visualDims: is.listOf(is.integer(1)),
  visualHidden: is.integer(1),
  picture: is.flag,
  baseModel: text,
};
/** Of the paper, on LLaMA-7B. */
const DEFAULTS: LlamaAdapterConfig = { prompts: 10, layers: 30, visualDims: [], visualHidden: 1, picture: false, baseModel: undefined };
const fail = adapterFault("LLaMA-Adapter");

/** What a picture adds to every prompt: its vectors (B,I), joined, → (B,1,C), to be given as beside.rows. */
export class VisualProjection extends Module {
  inner: Linear;
  outer: Linear;
  constructor(at: Weights, dims: readonly number[], hidden: number, width: number) {
    super();
    this.inner = new Linear(
      at.at(0),
      dims.reduce((a, b) => a + b, 0),
      hidden,
    );
    this.outer = new Linear(at.at(2), hidden, width);
  }
  protected override stateName(field: string): string {
    return `visual_projection.${field === "inner" ? 0 : 2}`;
  }
  forward(vectors: readonly Tensor[]): Tensor {
    const y = this.outer.forward(activation(this.inner.forward(concat(vectors, -1)), "silu"));
    const [B, C] = y.shape as [number, number];
    return y.reshape([B, 1, C]);
  }
}

export const LLAMA_ADAPTER: AdapterKind<LlamaAdapterConfig> = {
  name: "llama-adapter-v1",
  schema,
  files: { weights: "adapter.safetensors", config: CONFIG },
  complete: (options) => completed({ name: "LLaMA-Adapter", schema, fail }, options, DEFAULTS),
  plan(model, config, at, owner) {
    const layers = attentionLayers(model, ATTENTION, config.layers, fail);
    const { width } = layers[0]!.attention;
    const table = at.checkpoint && at.parameter(`${TABLE}.weight`, [config.layers * config.prompts, width], zeros);
    const projects = config.visualDims.length > 0;
    const picture = config.picture || projects;
    const wraps = layers.map(({ path, attention }, i): [string, MakeWrap] => {
      const prompt = table ? part(table, i * config.prompts, config.prompts) : at.parameter(TABLE, [config.prompts, width], { normal: 1 });
      const gate = at.at(path).parameter("gate", [1, attention.numHeads, 1, 1], zeros);
      return [path, prompted({ owner, prompt, gate, names: { prompt: TABLE, gate: "gate" }, form: "tanh", picture }, fail)];
    });
    table?.dispose();
    const shared = projects ? new VisualProjection(at.at("visual_projection"), config.visualDims, config.visualHidden, width) : undefined;
    return { wraps, shared };
  },
  read(json) {
    const one = (key: string, value: unknown) => (value === null || value === undefined ? {} : { [key]: value });
    const base = typeof json.base === "string" ? { baseModel: json.base } : {};
    return LLAMA_ADAPTER.complete({
      ...one("prompts", json.prompts),
      ...one("layers", json.layers),
      ...one("visualDims", json.visual_dims),
      ...one("visualHidden", json.visual_hidden),
      ...one("picture", json.picture),
      ...base,
    });
  },
  write: ({ prompts, layers, visualDims, visualHidden, picture, baseModel }) => ({
    kind: "llama-adapter-v1",
    ...(baseModel !== undefined && { base: baseModel }),
    prompts,
    layers,
    ...(visualDims.length && { visual_dims: visualDims, visual_hidden: visualHidden }),
    ...(picture && { picture }),
  }),
  key: (path, name) => (path ? `${path}.${name}` : name),
  /** The prompts of all layers are one table in the file, in the order of the layers. */
  *stored({ wraps, shared }: Attached<LlamaAdapterConfig>): Generator<Stored> {
    const all = [...(wraps as ReadonlyMap<string, PromptedAttention>)];
    yield* storedPrompts(all.map(([, { prompt }]) => prompt));
    for (const [path, { gate }] of all) yield { keys: [`${path}.gate`], tensor: gate };
    for (const [name, tensor] of shared?.namedParameters() ?? []) yield { keys: [name], tensor };
  },
  fail,
};

const peftFail = adapterFault("ADAPTION_PROMPT");
const peftSchema: Schema = { prompts: is.integer(1), layers: is.integer(1), targetModules: is.text, baseModel: text };

export const ADAPTION_PROMPT: AdapterKind<AdaptionPromptConfig> = {
  name: "adaption-prompt",
  schema: peftSchema,
  files: { weights: "adapter_model.safetensors", config: CONFIG },
  complete: (options) =>
    completed({ name: "ADAPTION_PROMPT", schema: peftSchema, fail: peftFail }, options, {
      prompts: 10,
      layers: 30,
      targetModules: "self_attn",
      baseModel: undefined,
    }),
  plan(model, { prompts, layers, targetModules }, root, owner) {
    const wraps = attentionLayers(model, [targetModules], layers, peftFail).map(({ path, attention }): [string, MakeWrap] => {
      const at = root.at(ROOT).at(path);
      const prompt = at.parameter("adaption_prompt", [1, prompts, attention.width], { normal: 1 });
      const gate = at.parameter("adaption_gate", [1], zeros);
      return [path, prompted({ owner, prompt, gate, names: { prompt: "adaption_prompt", gate: "adaption_gate" }, form: "plain" }, fail)];
    });
    return { wraps };
  },
  read(json) {
    if (json.peft_type !== "ADAPTION_PROMPT") throw peftFail('peft_type "ADAPTION_PROMPT"', shown(json.peft_type));
    const base = typeof json.base_model_name_or_path === "string" ? { baseModel: json.base_model_name_or_path } : {};
    const { adapter_len: prompts, adapter_layers: layers, target_modules: target } = json;
    const targetModules = target ?? "self_attn";
    return ADAPTION_PROMPT.complete({
      prompts: count("adapter_len", prompts),
      layers: count("adapter_layers", layers),
      ...{ targetModules },
      ...base,
    } as AdaptionPromptConfig);
  },
  write: ({ prompts, layers, targetModules, baseModel }): Json => ({
    peft_type: "ADAPTION_PROMPT",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: baseModel ?? null,
    inference_mode: true,
    adapter_len: prompts,
    adapter_layers: layers,
    target_modules: targetModules,
  }),
  key: (path, name) => `${ROOT}.${path}.${name}`,
  fail: peftFail,
};

function count(key: string, value: unknown): number {
  if (!is.integer(1).fits(value)) throw peftFail(`${key} to be ${is.integer(1).wanted}`, shown(value));
  return value as number;
}
