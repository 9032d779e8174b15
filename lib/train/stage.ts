// What both stages share: from options and rows to a run that is opened, trained, kept and closed.
import type { LoraAdapter } from "../adapters/lora.js";
import { TOKENS } from "../anymal/added-tokens.js";
import type { AnyMAL } from "../anymal/anymal.js";
import { calibrate } from "../anymal/calibrate.js";
import { writeFiles } from "../anymal/checkpoint.js";
import { Trained } from "../anymal/trained.js";
import type { AnymalError } from "../core/errors.js";
import { FeatureCache } from "../data/feature-cache.js";
import type { LayoutName } from "../data/layouts.js";
import type { ModalityWeights, TrainingData } from "../data/mixture.js";
import { type OpenRowsOptions, openRows } from "../data/open-rows.js";
import type { RowSource } from "../data/sources/source.js";
import type { OwnKinds } from "../media/kinds/index.js";
import type { MediaOptions } from "../media/media-options.js";
import type { Modality } from "../media/part.js";
import { Ahead } from "./ahead.js";
import { FeatureSource } from "./feature-source.js";
import { ModelInTraining, scoredOf } from "./model-in-training.js";
import { ADAPTER, checkOpens } from "./opens.js";
import { outOfMemory, type Standing } from "./out-of-memory.js";
import { PromptRows, type ReadyRow } from "./prompt-rows.js";
import { checkGroups, groupsOf, listed } from "./rates.js";
import { mediaRecipe, type TrainingRecipe } from "./recipe.js";
import { originOf } from "./replay/origin.js";
import { type Kept, RunFolder } from "./run-folder.js";
import type { ValidationReport } from "./run-log/reporter.js";
import { reportersOf } from "./run-log/reporters.js";
import { constant, cosine, linear, type Schedule } from "./schedule.js";
import type { StepReport, TrainStep } from "./step-report.js";
import { TokenCount } from "./token-count.js";
import { toldMedia } from "./told.js";
import type { Observer } from "./trainee.js";
import { isAbort, train } from "./trainer.js";
import { TrainingRows, type Window } from "./training-rows.js";
import { observerOf } from "./validation/observer.js";

/** What both stages take beside the recipe. */
export interface StageOptions {
  /** Files, rows that are there already, or sets of them in shares of their own: [{ from: "a.jsonl", weight: 3 }, { from: "b.jsonl", weight: 1 }]. */
  data: TrainingData;
  /** Shares of the kinds of media, whatever the sizes of the sets that hold them (OpenRowsOptions). */
  modalityWeights?: ModalityWeights;
  /** The run's folder: recipe.yaml, log.jsonl, trainer_log.jsonl, checkpoint/. Without one nothing is written. */
  output?: string;
  /** Goes on with the run in `output`; begins it if there is none. */
  resume?: boolean;
  /** Finishes the step, saves, and ends the loop without an error. */
  signal?: AbortSignal;
  /** Options of the media in files, e.g. { imu: { acceleration: "g" } }. A row's own go before them. */
  media?: MediaOptions;
  /** Names of columns where the data has others: ours, then theirs (RowsOptions). */
  columns?: Readonly<Record<string, string>>;
  /** Told of each file's layout: "llava", "alpaca" … */
  onLayout?: (path: string, layout: LayoutName) => void;
  /** Do rows stay in their files until their turn comes (OpenRowsOptions)? Default: in files above 16 MiB. */
  lazy?: boolean;
  /** Are data sets of the hub taken from the cache alone, without a request? Default false. */
  localFilesOnly?: boolean;
  /** Reads media in the folder of their data file alone. Default: for data that was fetched from a hub (MediaFileOptions). */
  confine?: boolean;
  /** Features of frozen encoders; share one between stages. Default: in memory, for this call. */
  cache?: FeatureCache;
  /** Names of adapters on encoders that train too (model.addAdapter with `on`): the encoder is run within each step then. */
  adapters?: readonly string[];
  /** Told of every row that is left out, with onBadRow "skip". */
  onProblem?: (problem: AnymalError) => void;
  /** Told of every look at the rows that are held out (`validation`): before the first step, now and then, and at the end. */
  onValidation?: (report: ValidationReport) => void;
}

const RUN = {
  ...({ data: true, modalityWeights: true, output: true, resume: true, signal: true, media: true, columns: true, onLayout: true } as const),
  ...({ lazy: true, localFilesOnly: true, confine: true, cache: true, adapters: true, onProblem: true, onValidation: true } as const),
} satisfies Record<keyof StageOptions, true>;

/** What is left for the recipe to read; `others` are options of a stage that this one has not, and go to it to be refused. */
export function recipeOptions<O extends Partial<StageOptions>>(
  options: O,
  others: readonly (keyof StageOptions)[] = [],
): Omit<O, keyof StageOptions> {
  const runs = (name: string) => Object.hasOwn(RUN, name) && !(others as readonly string[]).includes(name);
  return Object.fromEntries(Object.entries(options).filter(([name]) => !runs(name))) as Omit<O, keyof StageOptions>;
}

/** Media that the statistics of a fresh projection are measured on. */
const CALIBRATION = 256;

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
  /** Where its options stand in a recipe, for what is said of them. */
  at: string;
  /** What recipe.yaml says. */
  told: object;
  /** The caller's to close. */
  rows: RowSource;
  /** The files that they are in. */
  files: readonly string[];
  /** How files of rows are read, those that are held out too. */
  reading: OpenRowsOptions;
  /** Whose media are in the rows; their projections train where the recipe does not say what opens. */
  modalities: readonly Modality[];
  check?: (media: readonly { modality: Modality }[]) => string | undefined;
  /** Branches that train too. */
  adapter?: BranchesJob | undefined;
  /** Who looks on in validation's place. */
  watch?: Watch | undefined;
}
/** Given what trains, and the files of the rows. */
export type Watch = (parameters: ModelInTraining["parameters"], files: readonly string[]) => Observer;

export interface BranchesJob {
  dropout: number;
  /** Puts fresh ones on the model; they go again when nothing is trained. Without it they are there. */
  put?: (() => LoraAdapter) | undefined;
}

/** Opens what trains, trains it, closes it again. Until everything was opened and checked, the model is as it was. */
export async function* stage(
  model: AnyMAL,
  options: StageOptions & Pick<TrainingRecipe, "groups">,
  job: StageJob,
): AsyncGenerator<TrainStep> {
  const { recipe, modalities, check, adapter, at } = job;
  const { output, resume = false, signal, cache = new FeatureCache({ memoryBytes: 2 ** 30 }), onProblem } = options;
  const { steps, seed, batch, microBatch, onBadRow, maxLength: asked, gradientCheckpointing: recompute, packing, groupByLength } = recipe;
  // Rows of added tokens are an adapter: whoever opens all of them opens these.
  const all = recipe.opens !== undefined && listed(recipe.opens).includes("adapters.*");
  const tokens = (all || (at === "instruct" && recipe.opens === undefined)) && model.adapters.has(TOKENS) ? [`${TOKENS}.*`] : [];
  const opens = [
    ...(recipe.opens === undefined ? modalities.map((modality) => `projectors.${modality}.*`) : listed(recipe.opens)),
    ...tokens,
  ];
  const soon = (pattern: string) => adapter !== undefined && pattern.startsWith("adapters."); // those of branches that are not on the model yet
  if (recipe.opens !== undefined) checkOpens(model, opens.filter((pattern) => !soon(pattern)), `${at}.opens`); // biome-ignore format: one line
  const disjoint = listed(recipe.disjoint ?? []);
  if (disjoint.length) checkOpens(model, disjoint, `${at}.disjoint`);
  const maxLength = Math.min(asked ?? Infinity, model.llm.config.maxPositions);
  const source = new FeatureSource(model, cache);
  const reader = new PromptRows(model, { maxLength, ...(check && { check }) });
  const rows = new TrainingRows(reader, job.rows, source, { seed, batch, groupByLength, onBadRow, onProblem });
  const configs = [adapter, ...[...model.adapters.values()].map(({ config }) => config as { dropout?: number })];
  const draws = configs.some((one) => (one?.dropout ?? 0) > 0) || model.modalities.some((modality) => model.projector(modality).draws);
  const origin = output === undefined ? undefined : await originOf(model, job.files);
  const opening = { rows: job.rows.length, steps, what: job.what, resume, draws };
  const reporters = output === undefined ? [] : reportersOf(output, recipe.reportTo, job.told);
  const run = output === undefined ? undefined : await RunFolder.open(output, job.told, { ...opening, reporters });
  const kept = keptOf(model);
  let fresh: LoraAdapter | undefined;
  const standing: Standing = { stage: job.what, recipe, weights: model.device.memory().bytesInUse, parameters: [] };
  try {
    if (origin) await run?.keepOrigin(kept, job.told, origin);
    fresh = adapter?.put?.();
    const names = adapter ? [...opens, `${ADAPTER}*`] : opens;
    const onEncoders = options.adapters ?? [];
    using trained = new ModelInTraining(model, { opens: names, disjoint, onEncoders, recompute, microBatch, packing });
    checkGroups(options.groups ?? [], trained.parameters, at);
    standing.parameters = trained.parameters;
    await run?.restore(kept);
    for (const modality of modalities) {
      if (model.calibrated.has(modality) || !trained.modalities.has(modality)) continue;
      const sample = await rows.sample(modality, CALIBRATION, signal);
      if (sample.length) await calibrate(model, modality, sample); // where there is none, its row says why
    }
    const order = new Ahead(rows, steps);
    const onBegin = () => {
      fresh = undefined; // it trains: the model keeps it
      trained.begin();
    };
    const keeper = run?.keeping(kept, trained.parameters);
    const seen = new TokenCount();
    const epoch = () => (order.numbers().batches ?? 0) / rows.stepsPerEpoch;
    await using validation = await observerOf(recipe, {
      model,
      trained,
      reader,
      source,
      run,
      kept,
      captions: at === "align",
      epoch,
      options,
      open: (data) => openRows(data, { ...job.reading, modalityWeights: undefined }),
    });
    const observer = validation ?? job.watch?.(trained.parameters, job.files);
    const state = [order, seen];
    const guard = { onDiverged: recipe.onDiverged, normLimit: recipe.normLimit, onSkip: onProblem };
    yield* train(trained, order, { ...loopOf(recipe), seed, state, keeper, guard, observer, signal, onBegin, report: reports(rows, seen) });
  } catch (error) {
    throw outOfMemory(error, model, standing);
  } finally {
    fresh?.unload();
    await run?.close();
  }
}

const keptOf = (model: AnyMAL): Kept => ({
  write: (folder, target) => writeFiles(folder, model.parts, target),
  async restore(run) {
    const trained = await Trained.open(run);
    await trained.checkQuestions(model.parts);
    for (const modality of trained.restore(model.parts)) model.calibrated.add(modality);
    for (const name of trained.trainedNames()) model.trained.add(name);
  },
});

export function loopOf(recipe: Omit<TrainingRecipe, "microBatch" | "gradientCheckpointing">) {
  const { groups = [], steps, learningRate, betas, weightDecay, maxGradNorm, optimizer, saveEvery, logEvery } = recipe;
  return {
    ...{ steps, learningRate, schedule: scheduleOf(recipe), betas, weightDecay, saveEvery, logEvery },
    groups: groupsOf(groups, learningRate),
    maxGradNorm: maxGradNorm || undefined,
    moments: optimizer === "adamw8bit" ? ("8bit" as const) : ("f32" as const),
  };
}

function scheduleOf({ schedule, warmupSteps, steps: totalSteps }: Pick<TrainingRecipe, "schedule" | "warmupSteps" | "steps">): Schedule {
  if (schedule === "constant") return constant({ warmupSteps });
  return (schedule === "linear" ? linear : cosine)({ warmupSteps, totalSteps });
}

/** What a step tells of its rows. */
export const reports =
  (rows: Pick<TrainingRows<never, unknown>, "stepsPerEpoch">, seen: TokenCount) =>
  ({ ready, batches, skipped: skippedRows, media, kept: mediaKept, digest: rowsDigest }: Window<Pick<ReadyRow, "length" | "scored">>) => {
    const scoredTokens = scoredOf(ready);
    const totalTokens = seen.add(ready);
    return ({ items: tokens, itemsPerSecond: tokensPerSecond, ...report }: StepReport): TrainStep => ({
      ...report,
      epoch: batches / rows.stepsPerEpoch,
      ...{ tokens, totalTokens, scoredTokens, tokensPerSecond, skippedRows, media, mediaKept, rowsDigest },
    });
  };

function checkedMedia(media: MediaOptions, kinds: OwnKinds): MediaOptions {
  mediaRecipe(toldMedia(media).media ?? {}, kinds);
  return media;
}

export const readingOptions = (
  { kinds }: Pick<AnyMAL, "kinds">,
  { onBadRow }: Pick<TrainingRecipe, "onBadRow">,
  { signal, onProblem, media, confine, lazy, columns, onLayout, modalityWeights, localFilesOnly }: StageOptions,
) => ({
  modalityWeights,
  localFilesOnly,
  onBadRow,
  lazy,
  columns,
  onLayout,
  kinds,
  ...(confine !== undefined && { confine }),
  ...(media && { media: checkedMedia(media, kinds) }),
  ...(signal && { signal }),
  ...(onProblem && { onProblem }),
});
