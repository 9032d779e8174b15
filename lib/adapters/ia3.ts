// (IA)³ (arXiv 2205.05638): keys, values and feed-forward activations times a learned vector, in PEFT's files. A layer that counts as feed-forward has the
// vector before it, any other behind it.
import { is, type Schema, shown } from "../core/checks.js";
import { MptForCausalLM } from "../models/mpt.js";
import { OptForCausalLM } from "../models/opt.js";
import { AffineLinear } from "../nn/affine.js";
import { Embedding } from "../nn/embedding.js";
import { innermost, places } from "../nn/layer.js";
import { Linear, type LinearLayer } from "../nn/linear.js";
import type { Module } from "../nn/module.js";
import { QuantizedLinear } from "../nn/quantized-linear.js";
import type { Weights } from "../nn/weights.js";
import { CONFIG } from "./adapter-files.js";
import { isTied } from "./exchange.js";
import { type AdapterKind, type AdapterPlan, adapterFault, completed, type Json } from "./kind.js";
import { heldBeside, overlaysOf, ROOT, type Whole } from "./overlays.js";
import { expressions, isTargetOf, type Targets } from "./targets.js";

export interface Ia3Config extends Targets {
  /** Those of the targets whose inputs are multiplied: names that a path ends with, or one expression over the whole path. */
  feedforwardModules: readonly string[] | string;
  baseModel: string | undefined;
}

const fail = adapterFault("IA3");
const text = { wanted: "a text", fits: (v: unknown) => typeof v === "string" };
const names = is.either(is.listOf(text), text);
const schema: Schema = {
  targetModules: names,
  feedforwardModules: names,
  excludeModules: names,
  modulesToSave: is.listOf(text),
  baseModel: text,
};
/** What PEFT takes for LLaMA, Mistral and their like. */
const DEFAULTS: Ia3Config = {
  targetModules: ["k_proj", "v_proj", "down_proj"],
  feedforwardModules: ["down_proj"],
  excludeModules: [],
  modulesToSave: [],
  baseModel: undefined,
};
/** And for OPT. */
const OPT_TARGETS = { targetModules: ["q_proj", "k_proj", "fc2"], feedforwardModules: ["fc2"] };
const OTHERS = { initIa3Weights: "vectors begin at 1, where they change nothing" };

function complete(options: Partial<Ia3Config>, model?: Module): Ia3Config {
  const targets = options.targetModules;
  if (targets === undefined && model instanceof MptForCausalLM) throw fail("targetModules, of which none are usual for MPT", "nothing");
  // Other targets than the usual have no feed-forward layer unless one is named.
  const usual = targets === undefined ? {} : { feedforwardModules: options.feedforwardModules ?? [] };
  const config = completed(
    { name: "IA3", schema, fail },
    { ...options, ...usual },
    { ...DEFAULTS, ...(model instanceof OptForCausalLM && OPT_TARGETS) },
    OTHERS,
  );
  const stray = lists(config.feedforwardModules).find(
    (name) => Array.isArray(config.targetModules) && !config.targetModules.includes(name),
  );
  if (stray !== undefined) throw fail("feedforwardModules to be some of targetModules", `"${stray}"`);
  return config;
}
const lists = (value: readonly string[] | string): readonly string[] => (typeof value === "string" ? [] : value);

export const IA3: AdapterKind<Ia3Config> = {
  name: "ia3",
  schema,
  files: { weights: "adapter_model.safetensors", config: CONFIG },
  complete,
  plan,
  read,
  write: (config) => ({
    peft_type: "IA3",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: config.baseModel ?? null,
    inference_mode: true,
    target_modules: config.targetModules,
    feedforward_modules: config.feedforwardModules,
    exclude_modules: config.excludeModules.length ? config.excludeModules : null,
    modules_to_save: config.modulesToSave.length ? config.modulesToSave : null,
    fan_in_fan_out: false,
    init_ia3_weights: true,
  }),
  key: (path, name) => `${ROOT}.${path}.${name}`,
  fail,
  beside: (model, config, at) => heldBeside(model, whole(config), at.at(ROOT)),
};

const whole = ({ modulesToSave }: Ia3Config): Whole => ({ modulesToSave, bias: "none", ensureWeightTying: false, fail });

function plan(model: Module, config: Ia3Config, root: Weights, owner: string): AdapterPlan {
  const at = root.at(ROOT);
  const layers = new Map<string, AffineLinear>();
  if (isTied(model) && isTargetOf(config, "lm_head", false, fail)) throw onTable("lm_head");
  for (const [path, module] of places(model)) {
    const layer = innermost(module);
    const linear = layer instanceof Linear || layer instanceof QuantizedLinear;
    if (!isTargetOf(config, path, linear && !path.endsWith("lm_head"), fail)) continue;
    if (path.endsWith("lm_head") || layer instanceof Embedding) throw onTable(path);
    if (!linear) throw fail("targetModules to name linear layers", `"${path}", a ${layer.constructor.name}`);
    const base = module as LinearLayer;
    const vector = isFeedforward(config, path)
      ? { in: { name: "ia3_l", shape: [1, base.inFeatures] } }
      : { out: { name: "ia3_l", shape: [base.outFeatures, 1] } };
    layers.set(path, new AffineLinear(at.at(path), base, { owner, ...vector }));
  }
  if (!layers.size) throw fail("targetModules to match a module", `${JSON.stringify(config.targetModules)}, which matches none`);
  const overlays = [...overlaysOf(model, whole(config), layers, at)];
  return { wraps: Array.from(layers, ([path, layer]) => [path, () => layer]), overlays };
}

/** PEFT goes by how the path ends, in the middle of a name too. */
function isFeedforward(config: Ia3Config, path: string): boolean {
  const { feedforwardModules: own } = config;
  return typeof own === "string" ? expressions(config, fail).fitsWhole(own, path) : own.some((name) => path.endsWith(name));
}

function read(json: Json): Ia3Config {
  if (json.peft_type !== "IA3") throw fail('peft_type "IA3"', shown(json.peft_type));
  if (json.fan_in_fan_out) throw fail("no fan_in_fan_out, which is of layers that lie the other way round", shown(json.fan_in_fan_out));
  const list = (key: string, value: unknown): readonly string[] | string => {
    if (!names.fits(value)) throw fail(`${key} to be ${names.wanted}`, shown(value));
    return value as readonly string[] | string;
  };
  return complete({
    targetModules: list("target_modules", json.target_modules ?? DEFAULTS.targetModules),
    feedforwardModules: list("feedforward_modules", json.feedforward_modules ?? (json.target_modules ? [] : DEFAULTS.feedforwardModules)),
    excludeModules: list("exclude_modules", json.exclude_modules ?? []),
    modulesToSave: [list("modules_to_save", json.modules_to_save ?? [])].flat(),
    baseModel: typeof json.base_model_name_or_path === "string" ? json.base_model_name_or_path : undefined,
  });
}

const onTable = (path: string) =>
  fail("targetModules without the embedding and the head", `"${path}"; train it whole: modulesToSave: ["${path.split(".").at(-1)}"]`);
