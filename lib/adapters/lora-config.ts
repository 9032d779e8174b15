// adapter_config.json of PEFT's LoRA, and PEFT's rules for which modules it means.
import { type Check, is, type Schema, shown } from "../core/checks.js";
import { completed } from "./kind.js";
import { LoraConfigError } from "./lora-error.js";
import { expressions as expressionsOf, isTargetOf } from "./targets.js";

export { LoraConfigError } from "./lora-error.js";

export interface LoraConfig {
  r: number;
  alpha: number;
  dropout: number;
  /** Names (a module matches by its last parts), one regular expression over the whole path, or "all-linear". */
  targetModules: readonly string[] | string;
  excludeModules: readonly string[] | string;
  layersToTransform: readonly number[] | undefined;
  layersPattern: readonly string[];
  /** Regular expressions over the end of the path → their own r and alpha. */
  rankPattern: Readonly<Record<string, number>>;
  alphaPattern: Readonly<Record<string, number>>;
  /** Scale by alpha/sqrt(r) instead of alpha/r (arXiv 2312.03732). */
  rsLora: boolean;
  /** Lengths of their own for the rows of what is adapted (DoRA, arXiv 2402.09353). */
  dora: boolean;
  bias: "none" | "all" | "lora_only";
  /** Modules trained whole and stored beside the adapter. */
  modulesToSave: readonly string[];
  /** Ids of tokens whose rows train beside the branches: of the embedding, or of each table by its name. */
  trainableTokens: readonly number[] | Readonly<Record<string, readonly number[]>>;
  /** modulesToSave with one of a tied embedding and head trains the one table for both. PEFT's default, false, gives each its own. */
  ensureWeightTying: boolean;
  baseModel: string | undefined;
}

const finite: Check = { wanted: "a number", fits: (v) => typeof v === "number" && Number.isFinite(v) };
const text: Check = { wanted: "a text", fits: (v) => typeof v === "string" };
const namesOption = is.either(is.listOf(text), text);
const byPatternOf = (one: Check): Check => ({
  wanted: `an object, each ${one.wanted}`,
  fits: (v) => is.object.fits(v) && Object.values(v as object).every((value) => one.fits(value)),
});
/** Wider than any model is; what is above must not cost memory. */
const MOST_RANK = 2 ** 16;
const rankOption: Check = {
  wanted: `an integer from 1 to ${MOST_RANK}`,
  fits: (v) => Number.isInteger(v) && (v as number) >= 1 && (v as number) <= MOST_RANK,
};
const idsOption: Check = {
  wanted: "a list of ids",
  fits: (v) => Array.isArray(v) && v.every((id) => Number.isInteger(id) && id >= 0),
};
export const LORA_SCHEMA: Schema = {
  r: rankOption,
  alpha: finite,
  dropout: is.number(0, 1),
  targetModules: namesOption,
  excludeModules: namesOption,
  layersToTransform: is.listOf(finite),
  layersPattern: is.listOf(text),
  rankPattern: byPatternOf(rankOption),
  alphaPattern: byPatternOf(finite),
  rsLora: is.flag,
  dora: is.flag,
  bias: is.oneOf("none", "all", "lora_only"),
  modulesToSave: is.listOf(text),
  trainableTokens: is.either(idsOption, byPatternOf(idsOption)),
  ensureWeightTying: is.flag,
  baseModel: text,
};

const fail = (expected: string, got: string) => new LoraConfigError(expected, got);

/** QLoRA's recipe as AnyMAL's second stage uses it, unless told otherwise. */
export function loraConfig(options: Partial<LoraConfig> = {}): LoraConfig {
  return completed({ name: "LoRA", schema: LORA_SCHEMA, fail }, options, DEFAULTS, PEFT_NAMES);
}

const PEFT_NAMES: Readonly<Record<string, string>> = {
  loraAlpha: 'did you mean "alpha"?',
  loraDropout: 'did you mean "dropout"?',
  useRslora: 'did you mean "rsLora"?',
  trainableTokenIndices: 'did you mean "trainableTokens"?',
  useDora: 'did you mean "dora"?',
};
const DEFAULTS: LoraConfig = {
  r: 64,
  alpha: 16,
  dropout: 0,
  targetModules: "all-linear",
  excludeModules: [],
  layersToTransform: undefined,
  layersPattern: [],
  rankPattern: {},
  alphaPattern: {},
  rsLora: false,
  dora: false,
  bias: "none",
  modulesToSave: [],
  trainableTokens: [],
  ensureWeightTying: false,
  baseModel: undefined,
};

type Json = Record<string, unknown>;

/** Variants of LoRA that change the arithmetic: reading past them would give another model without a word. And why each is not taken. */
const REFUSED: Readonly<Record<string, string>> = {
  fan_in_fan_out: "which is of layers whose weights lie the other way round",
  use_qalora: "whose branches read groups of their input: merge it with PEFT and load the model",
  lora_bias: "a bias in the branches: merge it with PEFT and load the model",
  megatron_config: "which is of layers that Megatron spreads over devices: save the adapter from a model that is whole",
  layer_replication: "which makes a deeper model of the base: merge it with PEFT and load that",
  target_parameters: "which adapts weights that are no layers, as of experts",
  alora_invocation_tokens: "branches that act from a token on only",
  arrow_config: "a choice between several adapters for each token: load one of them",
  kasa_config: "which cuts the base model's weights: merge it with PEFT and load the model",
  monteclora_config: "which draws its branches at random: merge it with PEFT and load the model",
  use_bdlora: "whose factors are cut into blocks: merge it with PEFT and load the model",
  velora_config: "which keeps less for backward: turn it off, its files are those of LoRA",
};
/** Beginnings that change the base model's weights as well, which the adapter does not hold: PEFT computes them anew when it loads. */
const CHANGES_BASE = /^(pissa|corda|olora|mica|loftq|lora_ga)/i;

/** … and those that leave the base model as it is. One that nobody knows may do either. */
const KEEPS_BASE: readonly unknown[] = ["gaussian", "eva", "orthogonal"];

export function parseLoraConfig(json: Json): LoraConfig {
  if (json.peft_type !== "LORA") throw new LoraConfigError('peft_type "LORA"', shown(json.peft_type));
  for (const [key, why] of Object.entries(REFUSED)) if (json[key]) throw new LoraConfigError(`no ${key}, ${why}`, shown(json[key]));
  if (typeof json.init_lora_weights === "string" && CHANGES_BASE.test(json.init_lora_weights))
    throw new LoraConfigError(
      "init_lora_weights that leaves the base model as it is",
      `${shown(json.init_lora_weights)}; save it from PEFT once more with path_initial_model_for_weight_conversion`,
    );
  for (const key of ["use_rslora", "use_dora", "ensure_weight_tying"])
    if (typeof (json[key] ?? false) !== "boolean") throw new LoraConfigError(`${key} to be true or false`, shown(json[key]));
  const init = json.init_lora_weights ?? true;
  if (typeof init !== "boolean" && !KEEPS_BASE.includes(init))
    throw new LoraConfigError(`init_lora_weights true, false, ${KEEPS_BASE.join(", ")}`, shown(init));
  const bias = json.bias ?? "none";
  if (bias !== "none" && bias !== "all" && bias !== "lora_only")
    throw new LoraConfigError('bias "none", "all" or "lora_only"', shown(bias));
  const layers = json.layers_to_transform;
  const config = loraConfig({
    r: rank("r", json.r),
    alpha: number("lora_alpha", json.lora_alpha),
    dropout: number("lora_dropout", json.lora_dropout ?? 0),
    targetModules: names("target_modules", json.target_modules ?? []),
    excludeModules: names("exclude_modules", json.exclude_modules ?? []),
    layersToTransform: layers == null ? undefined : [layers].flat().map((layer) => number("layers_to_transform", layer)),
    layersPattern: [names("layers_pattern", json.layers_pattern ?? [])].flat(),
    rankPattern: byPattern("rank_pattern", json.rank_pattern, rank),
    alphaPattern: byPattern("alpha_pattern", json.alpha_pattern, number),
    rsLora: json.use_rslora === true,
    dora: json.use_dora === true,
    bias,
    modulesToSave: [names("modules_to_save", json.modules_to_save ?? [])].flat(),
    trainableTokens: tokens(json.trainable_token_indices ?? []),
    ensureWeightTying: json.ensure_weight_tying === true,
    baseModel: typeof json.base_model_name_or_path === "string" ? json.base_model_name_or_path : undefined,
  });
  checkExpressions(config);
  return config;
}

function number(key: string, value: unknown): number {
  if (typeof value !== "number" || !Number.isFinite(value)) throw new LoraConfigError(`${key} to be a number`, shown(value));
  return value;
}
function rank(key: string, value: unknown): number {
  if (!(Number.isInteger(value) && (value as number) >= 1 && (value as number) <= MOST_RANK))
    throw new LoraConfigError(`${key} to be an integer from 1 to ${MOST_RANK}`, shown(value));
  return value as number;
}
function names(key: string, value: unknown): string | string[] {
  if (typeof value === "string") return value;
  if (Array.isArray(value) && value.every((name): name is string => typeof name === "string")) return value;
  throw new LoraConfigError(`${key} to be a list of names or one expression`, shown(value));
}
function tokens(value: unknown): LoraConfig["trainableTokens"] {
  const { wanted, fits } = LORA_SCHEMA.trainableTokens as Check;
  if (!fits(value)) throw new LoraConfigError(`trainable_token_indices to be ${wanted}`, shown(value));
  return value as LoraConfig["trainableTokens"];
}
function byPattern(key: string, value: unknown, read: (key: string, value: unknown) => number): Record<string, number> {
  if (value == null) return {};
  if (typeof value !== "object" || Array.isArray(value)) throw new LoraConfigError(`${key} to be an object`, shown(value));
  return Object.fromEntries(Object.entries(value).map(([pattern, one]) => [pattern, read(`${key} ${shown(pattern)}`, one)]));
}

/** Tried once here, so that a wrong one is named by its key and not met in the middle of a model. */
function checkExpressions(config: LoraConfig): void {
  const { targetModules, excludeModules, layersPattern, rankPattern, alphaPattern, modulesToSave } = config;
  const all: [string, readonly string[]][] = [
    ["target_modules", typeof targetModules === "string" ? [targetModules] : []],
    ["exclude_modules", typeof excludeModules === "string" ? [excludeModules] : []],
    ["layers_pattern", layersPattern],
    ["rank_pattern", Object.keys(rankPattern)],
    ["alpha_pattern", Object.keys(alphaPattern)],
    ["modules_to_save", modulesToSave],
  ];
  for (const [key, some] of all)
    for (const one of some)
      try {
        if (!/^[\w.-]*$/.test(one)) expressions(config).fitsWhole(one, "");
      } catch (cause) {
        throw new LoraConfigError(`${key} to be a regular expression`, `${shown(one)} (${(cause as Error).message})`);
      }
}

export function writeLoraConfig(config: LoraConfig): Json {
  return {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: config.baseModel ?? null,
    inference_mode: true,
    r: config.r,
    lora_alpha: config.alpha,
    lora_dropout: config.dropout,
    target_modules: config.targetModules,
    exclude_modules: config.excludeModules.length ? config.excludeModules : null,
    layers_to_transform: config.layersToTransform ?? null,
    layers_pattern: config.layersPattern.length ? config.layersPattern : null,
    rank_pattern: config.rankPattern,
    alpha_pattern: config.alphaPattern,
    use_rslora: config.rsLora,
    bias: config.bias,
    modules_to_save: config.modulesToSave.length ? config.modulesToSave : null,
    trainable_token_indices: Object.keys(config.trainableTokens).length ? config.trainableTokens : null,
    ...(config.ensureWeightTying && { ensure_weight_tying: true }),
    init_lora_weights: true,
    fan_in_fan_out: false,
    use_dora: config.dora,
  };
}

const expressions = (config: LoraConfig) => expressionsOf(config, fail);

/** Does the adapter sit on the module at `path`? `linear` says whether it is a linear layer below the head. */
export const isTarget = (config: LoraConfig, path: string, linear: boolean): boolean => isTargetOf(config, path, linear, fail);

/** Does a key of rank_pattern or alpha_pattern mean the module at `path`? */
export const patternMatches = (config: LoraConfig, key: string, path: string): boolean => expressions(config).fitsEnd(key, path);

/** r and scaling of the adapter at `path`. */
export function rankOf(config: LoraConfig, path: string): { r: number; scaling: number } {
  const find = (patterns: Readonly<Record<string, number>>) => Object.keys(patterns).find((key) => patternMatches(config, key, path));
  const rankKey = find(config.rankPattern);
  const alphaKey = find(config.alphaPattern);
  const r = rankKey === undefined ? config.r : (config.rankPattern[rankKey] as number);
  const alpha = alphaKey === undefined ? config.alpha : (config.alphaPattern[alphaKey] as number);
  return { r, scaling: alpha / (config.rsLora ? Math.sqrt(r) : r) };
}
