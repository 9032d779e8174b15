// PINK's adapters (github.com/SY-Xuan/Pink): a bottleneck between norm and self-attention in each layer of the language model, and in the blocks of the
// image tower that its features come from: the last block, whose output nobody reads at layer -2, has none.
import { is, type Schema, shown } from "../core/checks.js";
import { CausalSelfAttention } from "../nn/attention.js";
import { FusedSelfAttention } from "../nn/fused-attention.js";
import { innermost, places } from "../nn/layer.js";
import type { Module } from "../nn/module.js";
import { type Attention, PreAdapter } from "../nn/pre-adapter.js";
import { VitAttention } from "../nn/vit-attention.js";
import type { Weights } from "../nn/weights.js";
import { CONFIG } from "./adapter-files.js";
import { type AdapterKind, type AdapterPlan, adapterFault, completed, type Json } from "./kind.js";

export interface PinkConfig {
  /** Width of the bottleneck. Default 8. */
  hidden: number;
  /** silu in it. Default false; the published adapters of image towers never have it. */
  nonLinear: boolean;
  /** Default 0.1. */
  dropout: number;
  /** Numbers of the layers that have one; default all, and of a file those that it holds. */
  layers: readonly number[] | undefined;
}

const fail = adapterFault("PINK");
const schema: Schema = { hidden: is.upTo(65_536, 1), nonLinear: is.flag, dropout: is.number(0, 1), layers: is.listOf(is.integer(0)) };
const DEFAULTS: PinkConfig = { hidden: 8, nonLinear: false, dropout: 0.1, layers: undefined };
/** The published name of what stands at an attention's place. */
const BESIDE = "adapter_attn";

export const PINK: AdapterKind<PinkConfig> = {
  name: "pink",
  schema,
  files: { weights: "adapter.safetensors", config: CONFIG },
  complete: (options) => completed({ name: "PINK", schema, fail }, options, DEFAULTS),
  plan,
  read,
  write: ({ hidden, nonLinear, dropout, layers }) => ({ kind: "pink", hidden, non_linear: nonLinear, dropout, ...(layers && { layers }) }),
  key: (path, name) => `${fileName(path)}.${name}`,
  fail,
};

/** Of "….layers.0.self_attn": "….layers.0.adapter_attn", without what transformers calls the tower around it. */
const fileName = (path: string): string => path.replace(/^vision_model\./, "").replace(/[^.]+$/, BESIDE);

function plan(model: Module, config: PinkConfig, at: Weights, owner: string): AdapterPlan {
  const { layers, ...rest } = config;
  const wraps: [string, PreAdapter][] = [];
  const seen = new Set<number>();
  for (const [path, module] of places(model)) {
    const attention = innermost(module);
    if (!(attention instanceof CausalSelfAttention || attention instanceof FusedSelfAttention || attention instanceof VitAttention))
      continue;
    const number = Number(path.split(".").at(-2));
    const here = at.at(fileName(path));
    if (layers ? !layers.includes(number) : at.checkpoint && !PreAdapter.stored(here)) continue;
    seen.add(number);
    wraps.push([path, new PreAdapter(here, module as Attention, { ...rest, owner, width: attention.width })]);
  }
  const missing = layers?.filter((number) => !seen.has(number)) ?? [];
  if (missing.length || !wraps.length)
    throw fail("layers with self-attention to stand in", missing.length ? `no layer ${missing.join(", ")}` : "none in this model");
  return { wraps: wraps.map(([path, made]) => [path, () => made]) };
}

function read(json: Json): PinkConfig {
  if (json.kind !== "pink") throw fail('kind "pink"', shown(json.kind));
  const { hidden, non_linear: nonLinear, dropout, layers } = json;
  const given = Object.entries({ hidden, nonLinear, dropout, layers }).filter(([, value]) => value !== undefined && value !== null);
  return completed({ name: "PINK", schema, fail }, Object.fromEntries(given) as Partial<PinkConfig>, DEFAULTS);
}
