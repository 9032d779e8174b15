// Bottleneck adapters (arXiv 1902.00751): behind attention and behind the feed-forward layers, before what they give is added to the stream. PEFT has none, so
// the files are those of PINK's kind: adapter.safetensors and a configuration that says "bottleneck".
import { is, type Schema, shown } from "../core/checks.js";
import { MptForCausalLM } from "../models/mpt.js";
import { OptForCausalLM } from "../models/opt.js";
import { BottleneckLinear } from "../nn/bottleneck.js";
import { innermost, places } from "../nn/layer.js";
import { Linear, type LinearLayer } from "../nn/linear.js";
import type { Module } from "../nn/module.js";
import { QuantizedLinear } from "../nn/quantized-linear.js";
import type { Weights } from "../nn/weights.js";
import { CONFIG } from "./adapter-files.js";
import { type AdapterKind, type AdapterPlan, adapterFault, completed, type Json } from "./kind.js";
import { isTargetOf } from "./targets.js";

const ACTIVATIONS = ["relu", "gelu", "gelu_tanh", "silu", "tanh"] as const;

export interface BottleneckConfig {
  /** Width of the bottleneck. Default 64. */
  hidden: number;
  /** In it. Default gelu, in its erf form. */
  activation: (typeof ACTIVATIONS)[number];
  /** Of what goes up again, in training. Default 0. */
  dropout: number;
  /** Linear layers that have one behind them: names that a path ends with, or one expression over the whole path. Default: o_proj and down_proj, or what the family has in their place. */
  targetModules: readonly string[] | string;
  baseModel: string | undefined;
}

const fail = adapterFault("bottleneck");
const text = { wanted: "a text", fits: (v: unknown) => typeof v === "string" };
const schema: Schema = {
  hidden: is.upTo(65_536, 1),
  activation: is.oneOf(...ACTIVATIONS),
  dropout: is.number(0, 1),
  targetModules: is.either(is.listOf(text), text),
  baseModel: text,
};
const DEFAULTS: BottleneckConfig = {
  hidden: 64,
  activation: "gelu",
  dropout: 0,
  targetModules: ["o_proj", "down_proj"],
  baseModel: undefined,
};
const OTHERS = { act: 'did you mean "activation"?', bottleneckSize: 'did you mean "hidden"?', r: 'did you mean "hidden"?' };

export const BOTTLENECK: AdapterKind<BottleneckConfig> = {
  name: "bottleneck",
  schema,
  files: { weights: "adapter.safetensors", config: CONFIG },
  complete: (options, model) =>
    completed({ name: "bottleneck", schema, fail }, options, { ...DEFAULTS, targetModules: usual(model) }, OTHERS),
  plan,
  read,
  write: ({ hidden, activation, dropout, targetModules, baseModel }): Json => ({
    kind: "bottleneck",
    ...(baseModel !== undefined && { base: baseModel }),
    hidden,
    act: activation,
    ...(dropout && { dropout }),
    ...(String(targetModules) !== String(DEFAULTS.targetModules) && { target_modules: targetModules }),
  }),
  key: (path, name) => `${path}.${name}`,
  fail,
};

/** Where attention and feed-forward end, as the family calls it. */
function usual(model: Module | undefined): readonly string[] {
  if (model instanceof OptForCausalLM) return ["out_proj", "fc2"];
  return model instanceof MptForCausalLM ? ["out_proj", "down_proj"] : (DEFAULTS.targetModules as readonly string[]);
}

function plan(model: Module, config: BottleneckConfig, at: Weights, owner: string): AdapterPlan {
  const { hidden, activation, dropout, targetModules } = config;
  const targets = { targetModules, excludeModules: [], modulesToSave: [] };
  const wraps: [string, BottleneckLinear][] = [];
  for (const [path, module] of places(model)) {
    const layer = innermost(module);
    const linear = layer instanceof Linear || layer instanceof QuantizedLinear;
    if (!isTargetOf(targets, path, linear && !path.endsWith("lm_head"), fail)) continue;
    if (!linear || path.endsWith("lm_head"))
      throw fail("targetModules to name linear layers below the head", `"${path}", a ${layer.constructor.name}`);
    wraps.push([path, new BottleneckLinear(at.at(path), module as LinearLayer, { owner, hidden, activation, dropout })]);
  }
  if (!wraps.length) throw fail("targetModules to match a module", `${JSON.stringify(targetModules)}, which matches none`);
  return { wraps: wraps.map(([path, made]) => [path, () => made]) };
}

function read(json: Json): BottleneckConfig {
  if (json.kind !== "bottleneck") throw fail('kind "bottleneck"', shown(json.kind));
  const { base: baseModel, hidden, act: activation, dropout, target_modules: targetModules } = json;
  const given = Object.entries({ baseModel, hidden, activation, dropout, targetModules });
  return BOTTLENECK.complete(Object.fromEntries(given.filter(([, value]) => value !== undefined && value !== null)) as object);
}
