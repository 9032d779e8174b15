// Flags of both training stages. Each overrides the same key of the recipe.
import { type Command, InvalidArgumentError, Option } from "commander";
import { isObject } from "../core/checks.js";
import type { MediaOptions } from "../media/media-options.js";
import { BRIDGE_NAMES } from "../models/bridges/index.js";
import { REPORTS } from "../train/run-log/reporters.js";
import { METRICS } from "../train/validation/options.js";
import { type ModelFlags, modelFlags, type PerModality, perModality } from "./flags.js";
import { confineFlags, mediaFlags } from "./media-flags.js";
import { integer, list, number, UsageError } from "./output.js";

/** Named as the recipe's keys. */
export interface RecipeFlags {
  steps?: number;
  batch?: number;
  microBatch?: number;
  learningRate?: number;
  schedule?: string;
  warmupSteps?: number;
  weightDecay?: number;
  maxGradNorm?: number;
  optimizer?: string;
  gradientCheckpointing?: boolean;
  packing?: boolean;
  groupByLength?: boolean;
  maxLength?: number;
  seed?: number;
  logEvery?: number;
  saveEvery?: number;
  onBadRow?: string;
  onDiverged?: string;
  normLimit?: number;
  reportTo?: string[];
}
/** Of rows that are held out. */
export interface ValidationFlags {
  validation?: string[];
  validateEvery?: number;
  validationRows?: number;
  metric?: string;
  patience?: number;
}
export interface TrainingFlags extends ModelFlags, RecipeFlags, ValidationFlags {
  config?: string;
  projector?: PerModality<string>;
  system?: string;
  systemPrompt?: string;
  splitSpecialTokens?: boolean;
  data?: string[];
  as?: string;
  split?: string;
  dataConfig?: string;
  weight?: number[];
  modalityWeight?: Readonly<Record<string, number>>;
  output?: string;
  resume?: boolean;
  cache?: string;
  column?: Readonly<Record<string, string>>;
  mediaOption?: MediaOptions;
  confine?: boolean;
}

/** Which rows, and where the run goes. */
export function runFlags(command: Command): Command {
  return command
    .option("--config <file>", "a recipe in YAML; flags override it")
    .option("--data <file>", "rows to train on, or a data set of the hub as org/name[@revision]; may come several times", list)
    .option("--as <set>", "a published data set whose files are no rows yet, e.g. clotho or coco-captions (docs/guides/cli.md)")
    .option("--split <name>", "of data sets of the hub; default: train")
    .option("--data-config <name>", "of data sets of the hub that have several")
    .option(
      "--weight <x>",
      "share of the rows that the --data in its place gets, against the others'; as many as there are of --data",
      weights,
    )
    .option(
      "--modality-weight <kind=x>",
      "share of a kind of media, e.g. image=3, whatever the sizes of its files; may come several times",
      shares,
    )
    .option("--column <ours=theirs>", "a column's name where the data has another, e.g. image=picture_path; may come several times", column)
    .option("--output <folder>", "the run's folder: recipe.yaml, log.jsonl, trainer_log.jsonl, checkpoint/")
    .option("--resume", "go on with the run in the output folder");
}

export function trainingFlags(command: Command): Command {
  modelFlags(runFlags(command), "begin from this checkpoint, in place of --llm and --encoder")
    .option(
      "--projector <modality=form>",
      `of a fresh model, one of ${BRIDGE_NAMES.join(", ")}; e.g. image=resampler,layers=2,tokens=16 or imu=linear, or the folder of one that anymal convert wrote, as image=./converted`,
      perModality,
    )
    .option(
      "--system <name>",
      "of a fresh model: what it is put together and trained as; anymal systems lists them. A sentence is a --system-prompt",
    )
    .option("--system-prompt <text>", "of a fresh model: put before every conversation")
    .option("--split-special-tokens", "of a fresh model: text that spells a control token, as <s> of HTML does, is letters")
    .option("--micro-batch <n>", "rows that go through the model together", integer(1))
    .option("--gradient-checkpointing", "less memory, a third more time")
    .option("--packing", "rows lie behind each other, each to itself, in place of padding")
    .option("--group-by-length", "steps of rows of like length, for less padding")
    .option("--validation <file>", "rows that are held out, and asked now and then; may come several times", list)
    .option("--validate-every <n>", "steps between two looks at them; default: a tenth of the steps", integer(1))
    .option("--validation-rows <n>", "so many of them at most", integer(2))
    .addOption(new Option("--metric <name>", "what tells which model is the best, kept in best/").choices(METRICS))
    .option("--patience <n>", "looks without a better score after which training ends", integer(1));
  return stepFlags(command);
}

/** How media are read, and the numbers of every training. */
export function stepFlags(command: Command): Command {
  command.option("--cache <folder>", "keeps what the encoders make of media, for later runs");
  return confineFlags(mediaFlags(command))
    .option("--steps <n>", "optimiser steps", integer(1))
    .option("--batch <n>", "rows per step", integer(1))
    .option("--learning-rate <x>", "at its highest", number())
    .addOption(new Option("--schedule <name>", "of the learning rate").choices(["cosine", "linear", "constant"]))
    .option("--warmup-steps <n>", "steps until the learning rate is at its highest", integer())
    .option("--weight-decay <x>", "on matrices", number())
    .option("--max-grad-norm <x>", "gradients are clipped to this; 0: not", number())
    .addOption(new Option("--optimizer <name>", "8 bit: a quarter of the memory").choices(["adamw", "adamw8bit"]))
    .option("--max-length <n>", "rows are cut to so many tokens", integer(2))
    .option("--seed <n>", "of everything that is drawn", integer())
    .option("--log-every <n>", "steps between lines of log.jsonl", integer(1))
    .option("--save-every <n>", "steps between checkpoints", integer(1))
    .option("--report-to <name>", `beside the logs: ${REPORTS.join(", ")}; may come several times`, list)
    .addOption(
      new Option("--on-bad-row <what>", "a row that cannot be used ends the run, or is left out and told").choices(["throw", "skip"]),
    )
    .addOption(
      new Option("--on-diverged <what>", "a step whose loss or gradient is no number ends the run, or is left out").choices([
        "throw",
        "skip",
      ]),
    )
    .option("--norm-limit <x>", "above this norm a gradient counts as such, too", number());
}

const RECIPE_KEYS = [
  "steps",
  "batch",
  "microBatch",
  "learningRate",
  "schedule",
  "warmupSteps",
  "weightDecay",
  "maxGradNorm",
  "optimizer",
  "gradientCheckpointing",
  "packing",
  "groupByLength",
  "maxLength",
  "seed",
  "logEvery",
  "saveEvery",
  "onBadRow",
  "onDiverged",
  "normLimit",
  "reportTo",
] as const satisfies readonly (keyof RecipeFlags)[];

/** The flags that were given, as keys of a recipe; `before` is what the recipe says of the stage. */
export function recipeKeys(stage: string, flags: TrainingFlags, before?: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const given = RECIPE_KEYS.filter((key) => flags[key] !== undefined).map((key) => [key, flags[key]]);
  const { data, weight, modalityWeight: modalityWeights, column: columns } = flags;
  if (weight && weight.length !== (data?.length ?? 0))
    throw new UsageError(`anymal ${stage}`, `a --weight is needed for each --data: there are ${weight.length} for ${data?.length ?? 0}`);
  const { as, split, dataConfig: config } = flags;
  const said = { ...(as !== undefined && { as }), ...(split !== undefined && { split }), ...(config !== undefined && { config }) };
  const plain = !weight && !Object.keys(said).length;
  const parts = plain ? data : data?.map((from, i) => ({ from, ...(weight && { weight: weight[i] }), ...said }));
  const validation = validationKeys(flags, before?.validation);
  return {
    ...Object.fromEntries(given),
    ...(parts && { data: parts.length === 1 ? parts[0] : parts }),
    ...(validation && { validation }),
    ...(modalityWeights && { modalityWeights }),
    ...(columns && { columns }),
  };
}

/** Numbers above 0, one for each file. */
export const weights = (text: string, before: readonly number[] = []): number[] => [...before, above(text, "a number")];

/** "image=3" among those before. */
export function shares(text: string, before: Readonly<Record<string, number>> = {}): Record<string, number> {
  const [, kind, value] = /^(\w+)=(.+)$/s.exec(text) ?? [];
  if (!kind || !value) throw new InvalidArgumentError("Expected KIND=NUMBER, as in image=3");
  return { ...before, [kind]: above(value, `a number for ${kind}`) };
}

function above(text: string, what: string): number {
  const value = Number(text);
  if (!text.trim() || !(value > 0 && value < Infinity)) throw new InvalidArgumentError(`Expected ${what} above 0`);
  return value;
}

function validationKeys(flags: ValidationFlags, before: unknown): object | undefined {
  const { validation: data, validateEvery: every, validationRows: rows, metric, patience } = flags;
  const given = Object.entries({ data: data && alone(data), every, rows, metric, patience }).filter(([, value]) => value !== undefined);
  return given.length ? { ...(isObject(before) && before), ...Object.fromEntries(given) } : undefined;
}

const alone = (files: readonly string[]): string | readonly string[] => (files.length === 1 ? (files[0] as string) : files);

/** "image=picture_path" among those before. */
export function column(text: string, before: Readonly<Record<string, string>> = {}): Record<string, string> {
  const [, ours, theirs] = /^([^=]+)=(.+)$/s.exec(text) ?? [];
  if (!ours || !theirs) throw new InvalidArgumentError("Expected OURS=THEIRS, as in image=picture_path");
  return { ...before, [ours]: theirs };
}

/** "resampler,layers=2,tokens=16" as recipes write it; the recipe's own checks judge it. With a / it is the folder of one that was trained. */
export function projectorKeys(text: string): Record<string, unknown> | string {
  if (/[/\\]/.test(text)) return text;
  const [type, ...rest] = text.split(",");
  const entries = rest.map((pair) => {
    const [key = "", value = ""] = pair.split("=", 2);
    return [key, /^(true|false)$/.test(value) ? value === "true" : /^\d+$/.test(value) ? Number(value) : value];
  });
  return { type, ...Object.fromEntries(entries) };
}
