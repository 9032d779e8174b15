// How a model is trained: one object, or the same as YAML. What is left out is as the system has it, AnyMAL unless another is named; where its paper
// is silent (warm-up, decay, clipping) the habits of its relatives.

import { stringify } from "yaml";
import type { LoraConfig } from "../adapters/lora-config.js";
import { type AssembleOptions, type ModalityOptions, type ProjectorOptions, WORDS } from "../anymal/options.js";
import { WRITTEN_SCHEMA } from "../anymal/written.js";
import { FileError } from "../core/file-error.js";
import { readPlain } from "../core/plain-file.js";
import type { Row } from "../data/row.js";
import { LARGEST, parseYaml } from "../io/yaml.js";
import { FRAME_PICKS } from "../media/clip.js";
import { BUILT_IN, type Kinds, kindsWith, type OwnKinds } from "../media/kinds/index.js";
import { type MediaOptions, mediaOptionsProblem } from "../media/media-options.js";
import type { Modality } from "../media/part.js";
import { kindProblem, optionsSchema } from "../models/bridges/index.js";
import { LAYER, SELECTS } from "../models/bridges/select.js";
import { DEFAULT_SYSTEM, SYSTEMS, systemOf, systemProblem } from "../systems/index.js";
import { numbersFor, type Stage } from "../systems/system.js";
import type { RateGroup } from "./rates.js";
import { checkParts, DATA_KEYS, type RecipeData } from "./recipe-data.js";
import { REPORTS, type ReportName } from "./run-log/reporters.js";
import { checkKeys, is, isObject, RecipeError, type Schema } from "./schema.js";
import { type ValidationInput, validationRecipe } from "./validation/options.js";

export interface TrainingRecipe {
  /** Optimiser steps. */
  steps: number;
  /** Rows per optimiser step. */
  batch: number;
  /** Rows that go through the model together; gradients add up over a batch. Default: min(batch, 32). */
  microBatch: number;
  learningRate: number;
  schedule: "cosine" | "linear" | "constant";
  /** Default: 3 % of the steps, at most 2000. */
  warmupSteps: number;
  /** On matrices only. */
  weightDecay: number;
  betas: readonly [number, number];
  /** Gradients are clipped to this L2 norm; 0: not. */
  maxGradNorm: number;
  optimizer: "adamw" | "adamw8bit";
  /** Recomputes activations in backward: less memory, a third more time. */
  gradientCheckpointing: boolean;
  /** Rows of a step that go through the model together lie behind each other in one, and see themselves alone: no padding, the same loss and gradients. */
  packing?: boolean;
  /** Steps are made of rows of like length, by their bytes or characters, so that less is padded: rows of fifty steps are sorted together. */
  groupByLength?: boolean;
  /** Rows are cut to this many tokens, never inside of a medium. Default: the LLM's context. */
  maxLength: number | undefined;
  /** Of the order of rows, of dropout and of fresh adapters. */
  seed: number;
  /** Steps between lines of log.jsonl. */
  logEvery: number;
  /** Steps between checkpoints; one is made at the end and when training is stopped in any case. */
  saveEvery: number;
  /** What becomes of a step whose loss or gradient is no number, or whose gradient's norm is above normLimit: "throw", or "skip", which drops its gradient. */
  onDiverged?: "throw" | "skip";
  /** Before clipping. Default: any finite norm will do. */
  normLimit?: number;
  /** Beside log.jsonl and trainer_log.jsonl, for who looks at curves: "tensorboard" writes event files under runs/, "html" report.html. Default: "none". */
  reportTo?: ReportName | readonly ReportName[];
  /** Rows that are held out: asked now and then while training goes on, the best model kept in best/, an end where it becomes no better. */
  validation?: ValidationInput<string | readonly string[] | readonly Row[]>;
  /** What becomes of a row that cannot be used: "throw", or "skip" with a count. */
  onBadRow: "throw" | "skip";
  /**
   * What trains, as patterns over names (`*` for any letters): "projectors.image.*", "llm.*" for the whole language model, which must not be quantised
   * then, "llm.*norm.weight", "adapters.NAME.*". Default: the projections of the media in the data. What `lora` adds trains in any case.
   */
  opens?: string | readonly string[];
  /**
   * Patterns as those of `opens`: what rows with media train, and nothing else does; rows of text alone train the rest. Either loss is a mean over its own
   * targets (LLaMA-Adapter V2, arXiv 2304.15010, section 3.3). Default, and []: all rows train all.
   */
  disjoint?: string | readonly string[];
  /** Rates and decay of their own for some of it, e.g. [{ names: "projectors.*", learningRate: 2e-5 }]. */
  groups?: readonly RateGroup[];
}
export type AlignRecipe = TrainingRecipe;
export type LoraRecipe = Pick<LoraConfig, "r" | "alpha" | "dropout" | "targetModules"> & Partial<Pick<LoraConfig, "rsLora" | "dora">>;
export interface InstructRecipe extends TrainingRecipe {
  /** false: projections alone, the paper's ablation. */
  lora: LoraRecipe | false;
}

/** What a whole job is: the model, and either stage or both. */
export interface Recipe {
  /** Which system of the literature: the model is put together and trained as it has it where nothing else is said. Default anymal. */
  system?: string;
  /** What to assemble; absent where the model comes from a checkpoint. */
  model?: Omit<AssembleOptions, "device">;
  align: Partial<Record<Modality, AlignRecipe & RecipeData & { prompts?: string[]; adapters?: string[] }>>;
  instruct?: InstructRecipe & RecipeData & { modalities?: Modality[]; adapters?: string[] };
  /** How media of both stages are read, e.g. { imu: { acceleration: "g" } }; a row's own options go before. */
  media?: MediaOptions;
  /** The run's folder. */
  output?: string;
}

const COMMON = {
  schedule: "cosine",
  weightDecay: 0.01,
  betas: [0.9, 0.999],
  maxGradNorm: 1,
  optimizer: "adamw",
  gradientCheckpointing: false,
  maxLength: undefined,
  seed: 0,
  logEvery: 1,
  saveEvery: 1000,
  onBadRow: "throw",
} as const satisfies Partial<TrainingRecipe>;

const NAMES = is.either(is.text, is.listOf(is.text));
export const TRAINING: Schema = {
  steps: is.integer(1),
  batch: is.integer(1),
  microBatch: is.integer(1),
  learningRate: is.number(0),
  schedule: is.oneOf("cosine", "linear", "constant"),
  warmupSteps: is.integer(0),
  weightDecay: is.number(0),
  betas: { wanted: "two numbers from 0 to below 1", fits: (v) => Array.isArray(v) && v.length === 2 && v.every(is.number(0, 1).fits) },
  maxGradNorm: is.number(0),
  optimizer: is.oneOf("adamw", "adamw8bit"),
  gradientCheckpointing: is.flag,
  packing: is.flag,
  groupByLength: is.flag,
  maxLength: is.integer(2),
  seed: is.integer(0),
  logEvery: is.integer(1),
  saveEvery: is.integer(1),
  onBadRow: is.oneOf("throw", "skip"),
  onDiverged: is.oneOf("throw", "skip"),
  normLimit: is.number(0),
  validation: is.object,
  reportTo: is.either(is.oneOf(...REPORTS), is.listOf(is.oneOf(...REPORTS))),
  opens: NAMES,
  disjoint: NAMES,
  groups: is.listOf(is.object),
};
const GROUP_KEYS: Schema = { names: NAMES, learningRate: is.number(0), weightDecay: is.number(0) };
const LORA_KEYS: Schema = {
  r: is.integer(1),
  alpha: is.number(0),
  dropout: is.number(0, 1),
  targetModules: is.either(is.text, is.listOf(is.text)),
  rsLora: is.flag,
  dora: is.flag,
};
const INSTRUCT_KEYS: Schema = { ...TRAINING, lora: is.either(is.object, is.not(false)) };
/** What a stage takes beside the recipe proper, and a file can hold. */
const BESIDE = {
  ...DATA_KEYS,
  prompts: is.listOf(is.text),
  adapters: is.listOf(is.text),
  modalities: is.listOf(is.text),
} as const satisfies Schema;
/** A mapping for some kinds of media. */
const perKind = (kinds: Kinds): Schema => Object.fromEntries(Array.from(kinds.keys(), (name) => [name, is.object]));

/** The options of stage 1, complete; what is left out is as the system has it. */
export function alignRecipe(
  modality: Modality,
  options: Partial<AlignRecipe> = {},
  at = `align.${modality}`,
  system: string = DEFAULT_SYSTEM,
): AlignRecipe {
  checkKeys(at, options, TRAINING);
  const stage = stageOf(system, "align", at);
  const { numbers, of = {} } = stage;
  const own = numbersFor({ ...numbers, ...(Object.hasOwn(of, modality) && of[modality]) }, options);
  return completed({ ...own, ...trains(stage, false), ...defined(options) }, at);
}

/**
 * The options of stage 2, complete. What is left out of `lora` is as in `there`, the adapter that the model has; without either it is the system's, or
 * false where the system trains the language model itself.
 */
export function instructRecipe(
  options: InstructInput = {},
  at = "instruct",
  there?: LoraRecipe,
  system: string = DEFAULT_SYSTEM,
): InstructRecipe {
  const { lora, ...training } = options;
  checkKeys(at, options, INSTRUCT_KEYS);
  if (lora) checkKeys(`${at}.lora`, lora, LORA_KEYS);
  const stage = stageOf(system, "instruct", at, lora === undefined ? there && {} : lora);
  const { numbers, lora: own } = stage;
  const branches = lora !== false && (lora || there || own) !== undefined;
  const complete = completed({ ...numbersFor(numbers, training), ...trains(stage, branches), ...defined(training) }, at);
  if (!branches) return { ...complete, lora: false };
  const { r, alpha, dropout, targetModules, rsLora, dora }: LoraRecipe = there ?? own ?? LORA;
  const forms = { ...(rsLora && { rsLora }), ...(dora && { dora }) };
  return { ...complete, lora: { r, alpha, dropout, targetModules, ...forms, ...defined(lora ?? {}) } as LoraRecipe };
}
const LORA = SYSTEMS.anymal.stages.instruct?.lora as LoraRecipe;

/** What a stage of the system opens, where that is more than the projections of the media in the data and the branches of LoRA, and at which rates. */
function trains({ opens, disjoint, rates = {}, lora }: Stage, branches: boolean): Pick<TrainingRecipe, "opens" | "disjoint" | "groups"> {
  const usual = opens.every((pattern) => pattern === "projectors.*" || (pattern === "adapters.*" && (branches || lora)));
  const groups = Object.entries(rates).map(([names, learningRate]) => ({ names, learningRate }));
  return { ...(!usual && { opens }), ...(disjoint && { disjoint }), ...(groups.length && { groups }) };
}

/** What the system says of a stage; with LoRA of its own form for it, where it has one. */
function stageOf(name: string, how: "align" | "instruct", at: string, lora?: object | false): Stage {
  const problem = systemProblem(name);
  if (problem) throw new RecipeError("system", problem.wanted, name, problem.next);
  const { stages } = systemOf(name);
  const stage = (lora && stages[`${how}-lora`]) || stages[how];
  if (stage) return stage;
  throw new RecipeError(at, `a stage that ${name} has, ${Object.keys(stages).join(" or ")}`, how, "take another system");
}
export type InstructInput = Partial<Omit<InstructRecipe, "lora">> & { lora?: Partial<LoraRecipe> | false };

/** With what every recipe has where nobody says it. */
export function completed(
  options: Partial<TrainingRecipe> & Pick<TrainingRecipe, "steps" | "batch" | "learningRate">,
  at: string,
): TrainingRecipe {
  const { steps, batch, validation } = options;
  const warmupSteps = Math.min(2000, Math.round(0.03 * steps));
  const recipe: TrainingRecipe = { ...COMMON, microBatch: Math.min(batch, 32), warmupSteps, ...options };
  if (validation) recipe.validation = validationRecipe(validation, { at: `${at}.validation`, steps });
  checkRates(recipe, at);
  if (recipe.microBatch > batch) throw new RecipeError(`${at}.microBatch`, `at most the batch of ${batch}`, recipe.microBatch);
  return recipe;
}

function checkRates({ groups = [], learningRate }: TrainingRecipe, at: string): void {
  for (const [i, group] of groups.entries()) {
    const place = `${at}.groups.${i}`;
    checkKeys(place, group, GROUP_KEYS);
    if (!group.names?.length) throw new RecipeError(`${place}.names`, NAMES.wanted, group.names);
    if (group.learningRate !== undefined && learningRate === 0)
      throw new RecipeError(
        `${at}.learningRate`,
        "above 0 beside groups with rates of their own",
        0,
        "name what trains with opens instead",
      );
  }
}

const defined = <T extends object>(options: T): T =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;

const MODALITY_KEYS: Schema = {
  encoder: is.text,
  projector: is.either(is.text, is.object),
  layer: LAYER,
  select: is.oneOf(...SELECTS),
  frames: is.integer(1),
  picks: is.oneOf(...FRAME_PICKS),
  pad: is.flag,
  question: is.text,
};
const MODEL_KEYS: Schema = {
  system: is.text,
  llm: is.text,
  quantization: is.either(is.oneOf("nf4", "fp4", "int8", "none"), is.object),
  dtype: is.oneOf("f32", "bf16"),
  modalities: is.object,
  adapters: is.object,
  addedTokens: WORDS,
  prompt: is.object,
  seed: is.integer(0),
};
const QUANTIZATION_KEYS: Schema = {
  format: is.oneOf("nf4", "fp4", "int8"),
  block: is.integer(32),
  doubleQuant: is.flag,
  threshold: is.number(0),
};

/** Checks a model's options as a recipe spells them. */
export function modelRecipe(value: unknown, at = "model", kinds: Kinds = BUILT_IN): Omit<AssembleOptions, "device"> {
  checkKeys(at, value, MODEL_KEYS);
  if (!value.llm) throw new RecipeError(`${at}.llm`, "the folder of a language model", value.llm);
  if (isObject(value.quantization)) checkKeys(`${at}.quantization`, value.quantization, QUANTIZATION_KEYS);
  if (value.prompt) checkPrompt(`${at}.prompt`, value.prompt);
  checkSystem(`${at}.system`, value.system);
  const modalities = `${at}.modalities`;
  checkKeys(modalities, value.modalities ?? {}, perKind(kinds));
  for (const [modality, entry] of Object.entries(value.modalities ?? {}) as [Modality, ModalityOptions][]) {
    checkKeys(`${modalities}.${modality}`, entry, MODALITY_KEYS);
    if (!entry.encoder && !kinds.get(modality)?.encoder)
      throw new RecipeError(`${modalities}.${modality}.encoder`, "the folder of an encoder", entry.encoder);
    if (typeof entry.projector === "object") checkProjector(`${modalities}.${modality}.projector`, entry.projector);
  }
  return value as unknown as Omit<AssembleOptions, "device">;
}

function checkPrompt(at: string, prompt: unknown): void {
  checkKeys(at, prompt, { system: is.text, splitSpecialTokens: is.flag, written: is.object });
  if (prompt.written) checkKeys(`${at}.written`, prompt.written, WRITTEN_SCHEMA);
}

function checkSystem(at: string, name: unknown): void {
  const problem = name === undefined ? undefined : systemProblem(name);
  if (problem) throw new RecipeError(at, problem.wanted, name, problem.next);
}

function checkProjector(at: string, asked: ProjectorOptions): void {
  const unknown = kindProblem(asked);
  if (unknown) throw new RecipeError(`${at}.type`, unknown.wanted, asked.type, unknown.next);
  checkKeys(at, asked, { type: is.text, ...optionsSchema(asked) });
}

/** A whole recipe, checked and completed. `own`: the user's kinds of media that it may name. */
export function recipe(value: unknown, own: OwnKinds = []): Recipe {
  const kinds = kindsWith(own);
  // What stands under represent is read by its own command: a first stage has no language model.
  const sections = { model: is.object, represent: is.object, align: is.object, instruct: is.object, media: is.object };
  checkKeys("", value ?? {}, { system: is.text, ...sections, output: is.text });
  const { model, align = {}, instruct, media, output } = (value ?? {}) as Record<string, Record<string, unknown>>;
  const system = systemIn(value as { system?: unknown } | undefined, model);
  checkKeys("align", align, perKind(kinds));
  const aligned = Object.entries(align).map(([modality, entry]) => {
    const { beside, rest } = split(`align.${modality}`, entry, ["data", "modalityWeights", "prompts", "adapters", "columns"]);
    return [modality, { ...beside, ...alignRecipe(modality as Modality, rest, undefined, system) }];
  });
  const instructed = () => {
    const { beside, rest } = split("instruct", instruct, ["data", "modalityWeights", "modalities", "adapters", "columns"]);
    for (const [i, name] of ((beside.modalities ?? []) as string[]).entries())
      if (!kinds.has(name)) throw new RecipeError(`instruct.modalities[${i}]`, `one of ${[...kinds.keys()].join(", ")}`, name);
    return { ...beside, ...instructRecipe(rest, undefined, undefined, system) };
  };
  return {
    ...(system !== undefined && { system }),
    ...(model && { model: { ...modelRecipe(model, "model", kinds), ...(system !== undefined && { system }) } }),
    align: Object.fromEntries(aligned),
    ...(instruct && { instruct: instructed() }),
    ...(media && { media: mediaRecipe(media, own) }),
    ...(output !== undefined && { output: output as unknown as string }),
  };
}

/** Of the whole recipe, or of its model: they are one. */
function systemIn(value: { system?: unknown } | undefined, model: Record<string, unknown> | undefined): string | undefined {
  const [whole, own] = [value?.system, model?.system];
  checkSystem("system", whole);
  checkSystem("model.system", own);
  if (whole !== undefined && own !== undefined && whole !== own) throw new RecipeError("model.system", `${whole} as the recipe's own`, own);
  return (whole ?? own) as string | undefined;
}

/** Checks the options of media as a recipe spells them. */
export function mediaRecipe(value: unknown, kinds: OwnKinds = []): MediaOptions {
  const problem = mediaOptionsProblem(value, kindsWith(kinds));
  if (problem)
    throw new RecipeError(problem.at === "media" ? "media" : `media.${problem.at}`, problem.expected, problem.value, problem.remedy);
  return value as MediaOptions;
}

function split(at: string, entry: unknown, names: readonly (keyof typeof BESIDE)[]) {
  const rest = { ...(entry as Record<string, unknown>) };
  const beside: Record<string, unknown> = {};
  for (const name of names) {
    if (rest[name] !== undefined && !BESIDE[name].fits(rest[name])) throw new RecipeError(`${at}.${name}`, BESIDE[name].wanted, rest[name]);
    if (rest[name] !== undefined) beside[name] = rest[name];
    delete rest[name];
  }
  checkParts(`${at}.data`, beside.data);
  return { beside, rest };
}

/** A recipe in YAML (or JSON, which is YAML). Paths in it are relative to the working directory, as on the command line. */
export async function readRecipe(path: string, own: OwnKinds = []): Promise<Recipe> {
  return recipe(await readYaml(path), own);
}

/** What a recipe's file says, unchecked. */
export async function readYaml(path: string): Promise<unknown> {
  let text: string;
  try {
    text = (await readPlain(path, { most: LARGEST })).toString();
  } catch (cause) {
    if (!(cause instanceof FileError)) throw cause;
    throw new RecipeError(path, "a readable file", cause.got, cause.remedy);
  }
  try {
    return parseYaml(text);
  } catch (cause) {
    throw new RecipeError(path, "YAML", (cause as Error).message.split("\n")[0]);
  }
}

/** The YAML that readRecipe() reads. */
export function writeRecipe(value: object): string {
  return stringify(value, { lineWidth: 120 });
}
