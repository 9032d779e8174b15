// Runs that differ in a few values: each is trained as its recipe says, asked about rows that were held out, and put into one table.
import { existsSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { AnyMAL } from "../../anymal/anymal.js";
import type { AssembleOptions } from "../../anymal/options.js";
import type { Device } from "../../core/device.js";
import { onFile } from "../../core/file-error.js";
import { checkOptions, optionNames } from "../../core/options.js";
import { readConversations } from "../../data/conversations.js";
import { FeatureCache } from "../../data/feature-cache.js";
import type { Row } from "../../data/row.js";
import { askHeldOut } from "../../eval/held-out.js";
import { writeWhole } from "../../io/whole-file.js";
import type { Modality } from "../../media/part.js";
import { align } from "../align.js";
import { instruct } from "../instruct.js";
import { recipe as checkedRecipe, type Recipe } from "../recipe.js";
import { RecipeError } from "../schema.js";
import type { TrainStep } from "../step-report.js";
import { checkPlan, type Setting, type SweepPlan, settingsOf } from "./settings.js";
import { writeSweep } from "./table.js";

/** What one run, asked in one way, came to. */
export interface SweepResult {
  seed: number;
  /** Shares of exact answers: with the medium, with a blank one, with another question's. */
  exact: number;
  blank: number;
  shuffled: number;
  /** Of training; the same where it was trained once and asked twice. */
  minutes: number;
  /** The most that tensors took on the device while it trained. */
  peakBytes: number;
}
export interface SweepRow {
  name: string;
  group: string;
  values: Readonly<Record<string, unknown>>;
  runs: SweepResult[];
}

export interface SweepOptions {
  /** runs/KEY/seed-N, sweep.json, sweep.md and a chart for each group. What is there is not trained again. */
  output: string;
  device?: string | Device;
  onStep?: (run: string, step: TrainStep) => void;
  onResult?: (name: string, result: SweepResult) => void;
  signal?: AbortSignal;
}
const OPTIONS = optionNames<SweepOptions>({ output: true, device: true, onStep: true, onResult: true, signal: true });

/**
 * All settings of a plan, with all of its seeds. A sweep that was ended goes on: runs that are whole are read, one that was cut is gone on with. Throws
 * E_RECIPE on what is no plan, and on a recipe of it that cannot be trained, before anything is.
 */
export async function sweep(plan: SweepPlan, options: SweepOptions): Promise<SweepRow[]> {
  checkOptions("sweep", options, OPTIONS);
  checkPlan(plan);
  const { output, onResult, signal } = options;
  const settings = settingsOf(plan);
  for (const { recipe } of settings) seeded(recipe, 0);
  const files = [plan.ask.data].flat();
  const rows = (await Promise.all(files.map((file) => readConversations(file)))).flat().slice(0, plan.ask.limit);
  const cache = new FeatureCache({ memoryBytes: 2 ** 30 });
  const table: SweepRow[] = settings.map(({ name, group, values }) => ({ name, group, values, runs: [] }));
  for (const seed of plan.seeds ?? [0])
    for (const [i, setting] of settings.entries()) {
      signal?.throwIfAborted();
      const result = await asked(setting, seed, rows, cache, options);
      table[i]?.runs.push(result);
      onResult?.(setting.name, result);
      await writeSweep(output, table);
    }
  return table;
}

interface Trained {
  minutes: number;
  peakBytes: number;
}

/** The run's result for this way of asking, from its file or made now. */
async function asked(
  setting: Setting,
  seed: number,
  rows: readonly Row[],
  cache: FeatureCache,
  options: SweepOptions,
): Promise<SweepResult> {
  const { device, signal } = options;
  const folder = join(options.output, "runs", setting.key, `seed-${seed}`);
  const way = Object.entries(setting.answer).map(([key, value]) => `${key}-${value}`);
  const file = join(folder, `${["result", ...way].join("-")}.json`);
  if (existsSync(file)) return JSON.parse(await onFile("to be read", file, () => readFile(file, "utf8"))) as SweepResult;
  await onFile("to be written", folder, () => mkdir(folder, { recursive: true }));
  const { minutes, peakBytes } = await trained(setting, seed, folder, cache, options);
  await using model = await AnyMAL.fromPretrained(join(folder, "model"), { ...setting.answer, ...(device !== undefined && { device }) });
  const kinds = rows.map(() => "all");
  const { exact, blank, shuffled } = await askHeldOut(model, rows, { kinds, ...(signal && { signal }) });
  const result = { seed, exact, blank, shuffled, minutes, peakBytes };
  await writeWhole(file, JSON.stringify(result));
  return result;
}

async function trained(
  { name, recipe: raw }: Setting,
  seed: number,
  folder: string,
  cache: FeatureCache,
  options: SweepOptions,
): Promise<Trained> {
  const { device, onStep, signal } = options;
  const file = join(folder, "trained.json");
  if (existsSync(file)) return JSON.parse(await onFile("to be read", file, () => readFile(file, "utf8"))) as Trained;
  const start = performance.now();
  const { model: parts, align: aligned, instruct: instructed, media } = seeded(raw, seed);
  const assembled = { ...(parts as AssembleOptions), ...(device !== undefined && { device }), seed };
  await using model = await AnyMAL.assemble(assembled);
  await model.device.synchronize();
  model.device.resetPeak();
  const common = { resume: true, cache, ...(media && { media }), ...(signal && { signal }) };
  const through = async (stage: string, steps: AsyncIterable<TrainStep>) => {
    for await (const step of steps) onStep?.(`${name}, seed ${seed}, ${stage}`, step);
    signal?.throwIfAborted();
  };
  for (const [modality, stage] of Object.entries(aligned) as [Modality, NonNullable<Recipe["align"][Modality]>][]) {
    const { data = [], ...rest } = stage;
    await through(`align ${modality}`, align(model, { ...rest, modality, data, output: join(folder, "align", modality), ...common }));
  }
  if (instructed) {
    const { data = [], ...rest } = instructed;
    await through("instruct", instruct(model, { ...rest, data, output: join(folder, "instruct"), ...common }));
  }
  await model.device.synchronize();
  const told = { minutes: (performance.now() - start) / 60_000, peakBytes: model.device.memory().bytesPeak };
  await model.save(join(folder, "model"));
  await writeWhole(file, JSON.stringify(told));
  return told;
}

/** The recipe with a seed in each of its stages. */
function seeded(raw: Setting["recipe"], seed: number): Recipe {
  const { align: aligned = {}, instruct: instructed } = raw as Record<string, Record<string, object>>;
  const own = checkedRecipe({
    ...raw,
    align: Object.fromEntries(Object.entries(aligned).map(([modality, stage]) => [modality, { ...stage, seed }])),
    ...(instructed && { instruct: { ...instructed, seed } }),
  });
  if (!own.model) throw new RecipeError("recipe.model", "what to assemble, a language model and encoders", undefined);
  if (!own.instruct && !Object.keys(own.align).length) throw new RecipeError("recipe", "align or instruct", "neither");
  return own;
}
