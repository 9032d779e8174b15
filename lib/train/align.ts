// Stage 1 (arXiv 2309.16058, section 3.1): one projection per modality learns to make media readable for a language model that does not change.
import type { LoraAdapter } from "../adapters/lora.js";
import type { AnyMAL } from "../anymal/anymal.js";
import { calibrate } from "../anymal/calibrate.js";
import type { AnymalError } from "../core/errors.js";
import { readCaptions } from "../data/captions.js";
import { FeatureCache } from "../data/feature-cache.js";
import type { Row } from "../data/row.js";
import type { MediaOptions } from "../media/media-options.js";
import type { Modality } from "../media/part.js";
import { openBridge } from "../models/bridges/kind.js";
import { alone } from "./busy-model.js";
import { FeatureSource } from "./feature-source.js";
import { type AlignRecipe, alignRecipe, mediaRecipe, type TrainingRecipe } from "./recipe.js";
import { RunFolder } from "./run-folder.js";
import { isAbort, type TrainStep, train } from "./trainer.js";
import { TrainingRows } from "./training-rows.js";

/** What both stages take beside the recipe. */
export interface StageOptions {
  /** Files, or rows that are there already. */
  data: string | readonly string[] | readonly Row[];
  /** The run's folder: recipe.yaml, log.jsonl, checkpoint/. Without one nothing is written. */
  output?: string;
  /** Goes on with the run in `output`; begins it if there is none. */
  resume?: boolean;
  /** Finishes the step, saves, and ends the loop without an error. */
  signal?: AbortSignal;
  /** Options of the media in files, e.g. { imu: { acceleration: "g" } }. A row's own go before them. */
  media?: MediaOptions;
  /** Reads media in the folder of their data file alone. Default: for data that was fetched from a hub (MediaFileOptions). */
  confine?: boolean;
  /** Features of frozen encoders; share one between stages. Default: in memory, for this call. */
  cache?: FeatureCache;
  /** Told of every row that is left out, with onBadRow "skip". */
  onProblem?: (problem: AnymalError) => void;
}
export interface AlignOptions extends StageOptions, Partial<AlignRecipe> {
  modality: Modality;
  /** What captions answer; one is drawn per row. */
  prompts?: readonly string[];
}

/** Media that the statistics of a fresh projection are measured on. */
const CALIBRATION = 256;

/** Trains the projection of one modality on captions. Yields every step, one step late. */
export function align(model: AnyMAL, options: AlignOptions): AsyncGenerator<TrainStep> {
  const steps = () => alignment(model, options);
  return stoppable(options.signal, alone(`align ${options.modality}`, [model], steps));
}

async function* alignment(model: AnyMAL, options: AlignOptions): AsyncGenerator<TrainStep> {
  const { modality, prompts, data, output, resume, signal, cache, onProblem, media, confine, ...rest } = options;
  model.encoder(modality);
  const recipe = alignRecipe(modality, rest, "align");
  const reading = { modality, seed: recipe.seed, ...(prompts && { prompts }), ...readingOptions(recipe, options) };
  const rows = await rowsOf(data, (path) => readCaptions(path, reading));
  const check = (media: readonly { modality: Modality }[]) =>
    media.some((part) => part.modality === modality) ? undefined : `expected a medium of ${modality} to align, got none; leave the row out`;
  const told = { ...toldMedia(media), align: { [modality]: { ...described(data), ...(prompts && { prompts: [...prompts] }), ...recipe } } };
  yield* stage(model, options, { recipe, what: `align ${modality}`, told, rows, modalities: [modality], check });
}

/** A signal ends the loop without an error, wherever it is noticed. */
export async function* stoppable(signal: AbortSignal | undefined, steps: AsyncGenerator<TrainStep>): AsyncGenerator<TrainStep> {
  try {
    if (!signal?.aborted) yield* steps;
  } catch (error) {
    if (!isAbort(error, signal)) throw error;
  }
}

export interface StageJob {
  recipe: TrainingRecipe;
  /** In a word: "align image". */
  what: string;
  /** What recipe.yaml says. */
  told: object;
  rows: readonly Row[];
  /** Whose projections train. */
  modalities: readonly Modality[];
  check?: (media: readonly { modality: Modality }[]) => string | undefined;
  /** Puts fresh branches on the model; they go again when nothing is trained. */
  adapt?: (() => LoraAdapter) | undefined;
}

/** Opens what trains, trains it, closes it again. */
export async function* stage(model: AnyMAL, options: StageOptions, job: StageJob): AsyncGenerator<TrainStep> {
  const { recipe, modalities, check } = job;
  const { output, resume = false, signal, cache = new FeatureCache({ memoryBytes: 2 ** 30 }), onProblem } = options;
  const { seed, batch, onBadRow, maxLength: asked } = recipe;
  const maxLength = Math.min(asked ?? Infinity, model.llm.config.maxPositions);
  const source = new FeatureSource(model, cache);
  const rows = new TrainingRows(model, job.rows, source, { seed, batch, maxLength, onBadRow, onProblem, ...(check && { check }) });
  const { gradientCheckpointing } = model.llm;
  let fresh = job.adapt?.();
  const adapter = "lora" in recipe && recipe.lora ? model.adapter : undefined;
  let run: RunFolder | undefined;
  try {
    const opening = { rows: job.rows.length, steps: recipe.steps, what: job.what, resume };
    if (output !== undefined) run = await RunFolder.open(output, job.told, { ...opening, draws: !!model.adapter?.config.dropout });
    for (const modality of modalities) openBridge(model.projector(modality), true);
    for (const [, tensor] of adapter?.namedParameters() ?? []) tensor.requiresGrad = true;
    await run?.restore(model);
    for (const modality of modalities) {
      if (model.calibrated.has(modality)) continue;
      const sample = await rows.sample(modality, CALIBRATION, signal);
      if (sample.length) await calibrate(model, modality, sample); // where there is none, its row says why
    }
    model.llm.gradientCheckpointing = recipe.gradientCheckpointing;
    const parameters = [
      ...modalities.flatMap((modality) => [...model.projector(modality).namedParameters(`projectors.${modality}`)]),
      ...(adapter?.namedParameters() ?? []),
    ].filter(([, tensor]) => tensor.requiresGrad);
    const onBegin = () => {
      fresh = undefined; // it trains: the model keeps it
    };
    yield* train({ model, recipe, rows, parameters, run, signal, onBegin });
  } finally {
    model.llm.gradientCheckpointing = gradientCheckpointing;
    for (const modality of modalities) openBridge(model.projector(modality), false);
    for (const [, tensor] of adapter?.namedParameters() ?? []) tensor.requiresGrad = false;
    fresh?.unload();
    await run?.close();
  }
}

/** As recipe.yaml says it: functions cannot be written. */
export function toldMedia(media: MediaOptions | undefined): { media?: object } {
  const kinds = Object.entries(media ?? {}).map(([modality, options]) => {
    const data = Object.entries(options ?? {}).filter(([, value]) => value !== undefined && typeof value !== "function");
    return [modality, Object.fromEntries(data)] as const;
  });
  const said = kinds.filter(([, options]) => Object.keys(options).length);
  return said.length ? { media: Object.fromEntries(said) } : {};
}

function checkedMedia(media: MediaOptions): MediaOptions {
  mediaRecipe(toldMedia(media).media ?? {});
  return media;
}

export const readingOptions = ({ onBadRow }: TrainingRecipe, { signal, onProblem, media, confine }: StageOptions) => ({
  onBadRow,
  ...(confine !== undefined && { confine }),
  ...(media && { media: checkedMedia(media) }),
  ...(signal && { signal }),
  ...(onProblem && { onProblem }),
});

export async function rowsOf(data: StageOptions["data"], read: (path: string) => Promise<Row[]>): Promise<readonly Row[]> {
  const all = typeof data === "string" ? [data] : data;
  const rows: Row[] = [];
  for (const one of all) {
    if (typeof one !== "string") rows.push(one);
    else for (const row of await read(one)) rows.push(row);
  }
  return rows;
}

/** The data as recipe.yaml names it. */
export function described(data: StageOptions["data"]): { data?: string | string[] } {
  if (typeof data === "string") return { data };
  return data.every((one) => typeof one === "string") && data.length ? { data: [...(data as string[])] } : {};
}
