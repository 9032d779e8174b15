// What a training will hold and how long it will take, before a weight is read or a step is made. Nothing here has formulas of models: the stage itself
// runs, on a device that computes nothing (core/dry.ts), so whatever a recipe switches is in the answer.
import { AnyMAL } from "../anymal/anymal.js";
import type { AssembleOptions } from "../anymal/options.js";
import { openDevice } from "../core/device.js";
import { expected } from "../core/errors.js";
import { checkOptions, optionNames } from "../core/options.js";
import { FeatureCache } from "../data/feature-cache.js";
import { openRows } from "../data/open-rows.js";
import { mediaOf, type Row } from "../data/row.js";
import { type FileSet, resolveModel } from "../io/hub.js";
import { CONFIG_FILES, PROCESSOR_FILES, TOKENIZER_FILES } from "../io/model-files.js";
import type { OwnKinds } from "../media/kinds/index.js";
import type { Modality } from "../media/part.js";
import { align } from "../train/align.js";
import { instruct } from "../train/instruct.js";
import { type Recipe, recipe as recipeOf, type TrainingRecipe } from "../train/recipe.js";
import { filesOf, type RecipeData } from "../train/recipe-data.js";
import type { TrainStep } from "../train/step-report.js";
import { type GeneratingOptions, generating } from "./generating.js";
import { heldFiles, plannedLooks } from "./looks.js";
import { cardOf, levelOf, type Machine, measuredCpu } from "./machines.js";
import { bytesOfParts, countOf } from "./parts.js";
import type { PlannedStage, PlanReport } from "./report.js";
import { heaviestRows, madeUpRows, mediaIn, type PlannedRows, textTokens } from "./rows.js";
import { Traced } from "./traced.js";

export interface PlanOptions extends GeneratingOptions {
  /** "cpu" (default), a card by its name (CARDS), or a machine's numbers. */
  machine?: string | Machine;
  /** Of the CPU: what device() takes. */
  threads?: number;
  level?: string;
  /** A trained model's folder to begin from, in place of the recipe's model. */
  checkpoint?: string;
  /** Which of the recipe's stages; default all. generate: answers to a batch of prompts. */
  stages?: readonly ("align" | "instruct" | "generate")[];
  /** Rows of the data, where it is not here yet. */
  rows?: number;
  /** The share of the machine's peak that is counted on. Default 0.5 on a CPU, 0.4 on a card. */
  share?: number;
  kinds?: OwnKinds;
  signal?: AbortSignal;
}
const OPTIONS = optionNames<PlanOptions>({
  ...({ machine: true, threads: true, level: true, checkpoint: true, stages: true, rows: true, tokens: true, media: true } as const),
  ...({ seconds: true, prompts: true, newTokens: true, kvCache: true, share: true, kinds: true, signal: true } as const),
});

const SHARE = { cpu: 0.5, cuda: 0.4 } as const;
const NAMES: ReadonlySet<string> = new Set([...CONFIG_FILES, ...TOKENIZER_FILES, ...PROCESSOR_FILES, "open_clip_config.json"]);
/** Of a model on the hub: all but its weights. */
const WITHOUT_WEIGHTS: FileSet = (name) => NAMES.has(name);

/**
 * What each stage of a recipe will hold on a machine, in bytes by what they are for, and how long it will take at the share of the machine's peak that
 * is counted on. Of the models only config.json, tokenizer and processor are read; of the data, if there is any, some rows. Throws E_RECIPE,
 * E_CONFIG or E_DATA where these do not fit, and E_VALUE on an option that does not.
 */
export async function plan(given: unknown, options: PlanOptions = {}): Promise<PlanReport> {
  checkOptions("plan", options, OPTIONS);
  const { kinds = [], checkpoint, stages } = options;
  const recipe = recipeOf(given, kinds);
  const { machine, level, threads } = await machineOf(options);
  const wanted = (name: "align" | "instruct" | "generate") => stages?.includes(name) ?? name !== "generate";
  const jobs: Job[] = [
    ...(wanted("align") ? Object.entries(recipe.align).map(([modality, own]) => alignment(modality, own as Own)) : []),
    ...(wanted("instruct") && recipe.instruct ? [instruction(recipe.instruct)] : []),
  ];
  if (!jobs.length && !wanted("generate")) throw expected("E_RECIPE", "plan", "a stage: align, instruct", "none", "add one to the recipe");
  const model = checkpoint === undefined ? await withoutWeights(recipe, options) : undefined;
  const report: PlanReport = { machine: { name: machine.name, kind: machine.kind, memory: machine.memory }, system: "", stages: [] };
  const open = async (traced: Traced): Promise<AnyMAL> => {
    const common = { device: traced.device, kinds, ...(options.signal && { signal: options.signal }) };
    const opened = model ? await AnyMAL.assemble({ ...model, ...common }) : await AnyMAL.fromPretrained(checkpoint as string, common);
    report.system = opened.system;
    return opened;
  };
  const share = options.share ?? SHARE[machine.kind];
  for (const job of jobs) {
    await using traced = new Traced(machine, { level, threads });
    report.stages.push(await stageOf(job, traced, await open(traced), { machine, share, options, media: recipe.media }));
  }
  if (wanted("generate")) {
    await using traced = new Traced(machine, { level, threads });
    report.stages.push(await generating(traced, await open(traced), { ...options, share, memory: machine.memory }));
  }
  return report;
}

type Own = TrainingRecipe & RecipeData;
interface Job {
  stage: string;
  recipe: Own;
  /** Whose captions, where that is what rows are. */
  modality?: Modality;
  modalities: (model: AnyMAL) => readonly Modality[];
  run: (model: AnyMAL, rows: readonly Row[], more: object) => AsyncGenerator<TrainStep>;
}

/** What a stage is given beside rows that are there; what it is scored on is asked apart from its steps. */
function withoutData<R extends Own>({ data: _, modalityWeights: __, columns: ___, validation: ____, ...recipe }: R) {
  return recipe;
}

function alignment(modality: Modality, recipe: Own): Job {
  const run: Job["run"] = (model, rows, more) => align(model, { ...withoutData(recipe), ...more, modality, data: rows });
  return { stage: `align ${modality}`, recipe, modality, modalities: () => [modality], run };
}
function instruction(recipe: NonNullable<Recipe["instruct"]>): Job {
  const run: Job["run"] = (model, rows, more) => instruct(model, { ...withoutData(recipe), ...more, data: rows });
  return { stage: "instruct", recipe, modalities: (model) => recipe.modalities ?? model.modalities, run };
}

interface Setting {
  machine: Machine;
  share: number;
  options: PlanOptions;
  media: Recipe["media"];
}

async function stageOf(job: Job, traced: Traced, model: AnyMAL, { machine, share, options, media }: Setting): Promise<PlannedStage> {
  const { recipe } = job;
  const { batch, microBatch, steps } = recipe;
  // Two micro-batches show all that there is to hold; the others only take time.
  const together = Math.min(batch, 2 * microBatch);
  const loaded = await traced.memory();
  const loadingScratch = traced.scratch;
  const planned = await rowsFor(job, model, together, options, media);
  const [longest] = planned.rows as [Row];
  traced.device.resetPeak();
  const cache = new FeatureCache({ memoryBytes: 2 ** 30 });
  let standing = loaded.bytesInUse;
  let tokens = 0;
  const more = { batch: together, microBatch: Math.min(microBatch, together), steps: 2, warmupSteps: 0, cache };
  for await (const step of job.run(model, planned.rows, more)) {
    if (step.step === 1) standing = (await traced.memory()).bytesInUse; // what stays from step to step
    tokens = step.tokens;
  }
  const { bytesPeak } = await traced.memory();
  const { gradients, moments } = traced.update;
  const parts = bytesOfParts(model, loaded.bytesInUse);
  const [first, second] = traced.marks;
  if (!first || !second) throw expected("E_GRAD", "plan", "a stage that updates parameters", "none", "say what opens");
  const times = Math.ceil(batch / microBatch) / Math.ceil(together / more.microBatch);
  const one = { flops: second.flops - first.flops, seconds: second.seconds - first.seconds };
  const inRow = await mediaIn(model, longest);
  const longestKept = recipe.maxLength ?? Infinity;
  const mean = Math.min(longestKept, planned.mean + inRow.positions);
  const secondsPerStep = (one.seconds * times * (mean / (tokens / together))) / share;
  const encoded = Math.max(1, cache.counts.made);
  const secondsPerMedium = cache.counts.made ? Math.max(0, first.seconds - one.seconds) / encoded / share : 0;
  const stepsPerEpoch = planned.count === undefined ? undefined : Math.max(1, Math.floor(planned.count / batch));
  const encoding = (planned.count ?? 0) * mediaOf(longest).length * secondsPerMedium;
  const asked = await looksOf(job, traced, model, { share, options, media, more, planned: planned.rows });
  const isLook = asked !== undefined && asked.bytesPeak > bytesPeak;
  const [most, cacheBytes] = isLook ? [asked.bytesPeak, asked.cache] : [bytesPeak, 0];
  const held = isLook ? 0 : gradients;
  const peak = most + traced.scratch;
  return {
    stage: job.stage,
    settings: settingsOf(model, recipe),
    length: Math.min(longestKept, planned.longest + inRow.positions),
    textTokens: planned.longest,
    parameters: { all: countOf(model), trained: Math.round(gradients / 4) },
    bytes: {
      ...parts,
      added: standing - moments - loaded.bytesInUse,
      ...{ gradients: held, moments, cache: cacheBytes },
      activations: most - standing - held - cacheBytes,
      ...{ scratch: traced.scratch, peak, loading: loaded.bytesPeak + loadingScratch },
    },
    time: {
      flopsPerStep: one.flops * times,
      ...{ floorPerStep: secondsPerStep * share, secondsPerStep, secondsPerMedium, share },
      tokensPerSecond: (mean * batch) / secondsPerStep,
      stepsPerEpoch,
      secondsPerEpoch: stepsPerEpoch === undefined ? undefined : stepsPerEpoch * secondsPerStep + encoding,
      secondsInAll: steps * secondsPerStep + encoding + (asked?.secondsInAll ?? 0),
    },
    ...(asked && { validation: { looks: asked.count, secondsPerLook: asked.seconds, peak: asked.bytesPeak + traced.scratch } }),
    fits: Math.max(peak, loaded.bytesPeak + loadingScratch) <= machine.memory,
    featureBytes: inRow.bytes,
  };
}

interface Asking extends Omit<Setting, "machine"> {
  /** Of the stage's steps. */
  more: object;
  planned: readonly Row[];
}

/** Rows that are held out and not here yet are taken to be as those that are trained on. */
async function looksOf(job: Job, traced: Traced, model: AnyMAL, { share, options, media, more, planned }: Asking) {
  const { validation, steps } = job.recipe;
  if (!validation) return undefined;
  const { rows = 64, every = Math.max(1, Math.round(steps / 10)), maxNewTokens = 32 } = validation;
  const files = heldFiles(validation as RecipeData);
  // Answers are written side by side, never packed: the longest rows count.
  const apart = { ...job, recipe: { ...job.recipe, packing: false, ...(files.length && { data: files }) } };
  const found = files.length || job.recipe.packing ? (await rowsFor(apart, model, rows, options, media)).rows : planned;
  const held = filled(found, rows);
  const looking = { every: 2, rows, maxNewTokens, data: held };
  return plannedLooks(traced, model, held, { every, maxNewTokens, steps, share }, (onValidation) =>
    job.run(model, planned, { ...more, validation: looking, onValidation }),
  );
}

async function rowsFor(job: Job, model: AnyMAL, together: number, options: PlanOptions, media: Recipe["media"]): Promise<PlannedRows> {
  const { tokens = 64, media: each = 1, seconds = 10, rows: count } = options;
  const { data, columns, packing, groupByLength } = job.recipe;
  const files = filesOf(data);
  if (files.length) {
    const source = await openRows(files, {
      kinds: model.kinds,
      ...(job.modality && { modality: job.modality }),
      ...(columns && { columns }),
      ...(media && { media }),
      ...(options.signal && { signal: options.signal }),
    });
    try {
      // Rows of like length that are packed may all be of the longest.
      const cut = Math.min(job.recipe.maxLength ?? Infinity, model.llm.config.maxPositions);
      const found = await heaviestRows(model, source, together, packing && !groupByLength ? { ...job.recipe, maxLength: cut } : undefined);
      return { ...found, count: count ?? found.count, rows: filled(found.rows, together) };
    } finally {
      await source.close();
    }
  }
  const rows = madeUpRows(model, together, { modalities: job.modalities(model), tokens, media: each, seconds });
  const longest = textTokens(model, rows[0] as Row);
  return { rows, count, longest, mean: longest };
}

/** As many as a step takes, from the first again where they are fewer. */
const filled = (rows: readonly Row[], wanted: number): Row[] => Array.from({ length: wanted }, (_, i) => rows[i % rows.length] as Row);

function settingsOf(model: AnyMAL, recipe: TrainingRecipe): PlannedStage["settings"] {
  const { batch, microBatch, optimizer, gradientCheckpointing, maxLength } = recipe;
  return {
    ...{ batch, microBatch, gradientCheckpointing, optimizer, dtype: model.llm.dtype, quantization: model.quantization?.format ?? "none" },
    ...(maxLength !== undefined && { maxLength }),
  };
}

async function machineOf(options: PlanOptions): Promise<{ machine: Machine; level: string; threads: number }> {
  const { machine = "cpu", threads, level } = options;
  const given = { ...(threads !== undefined && { threads }), ...(level !== undefined && { level }) };
  const device = await openDevice("cpu", given);
  const layout = levelOf(device.describe());
  if (typeof machine !== "string") return { machine, ...layout };
  return { machine: machine === "cpu" ? await measuredCpu(device) : cardOf(machine), ...layout };
}

/** The recipe's model with folders in place of ids, in which only the small files are. */
async function withoutWeights({ model }: Recipe, { signal }: PlanOptions): Promise<AssembleOptions> {
  if (!model) throw expected("E_RECIPE", "plan", "a model: in the recipe, or as a checkpoint", "none", "add model to the recipe");
  const small = (id: string) => resolveModel(id, { files: WITHOUT_WEIGHTS, ...(signal && { signal }) });
  const modalities = await Promise.all(
    Object.entries(model.modalities ?? {}).map(async ([name, own]) => {
      const encoder = typeof own?.encoder === "string" ? await small(own.encoder) : own?.encoder;
      return [name, { ...own, ...(encoder && { encoder }) }] as const;
    }),
  );
  return { ...model, llm: await small(model.llm), modalities: Object.fromEntries(modalities) };
}
