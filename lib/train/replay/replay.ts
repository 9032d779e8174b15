// A run once more: from the weights in its start/, with its recipe and its data, step by step beside what it has logged.
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import type { AnyMAL, FromPretrainedOptions } from "../../anymal/anymal.js";
import type { FirstStage } from "../../anymal/first-stage.js";
import { isObject } from "../../core/checks.js";
import { expected } from "../../core/errors.js";
import { checkOptions, optionNames } from "../../core/options.js";
import { readPlain } from "../../core/plain-file.js";
import type { FeatureCache } from "../../data/feature-cache.js";
import type { TrainingData } from "../../data/mixture.js";
import { LARGEST, parseYaml } from "../../io/yaml.js";
import { RecipeError } from "../schema.js";
import type { Watch } from "../stage.js";
import type { TrainStep } from "../step-report.js";
import { causesOf, likeliest, type ReplayCause } from "./causes.js";
import { folderHash, originOf, readOrigin, START } from "./origin.js";
import { Recorded, type ReplayDifference, WeightsWatch } from "./recorded.js";
import { stageOf } from "./stages.js";

export type { CauseKind, ReplayCause, ReplayedValue } from "./causes.js";
export type { ReplayDifference } from "./recorded.js";

export interface ReplayOptions
  extends Pick<FromPretrainedOptions, "device" | "llm" | "encoders" | "kinds" | "onProgress" | "localFilesOnly"> {
  /** The last step to make. Default: the last one that the run has logged. */
  until?: number;
  /** A model to begin from in place of the one in start/; it is trained. */
  model?: AnyMAL | FirstStage;
  /** The rows of a run whose rows were in memory; of others, where the data are now, if they moved. */
  data?: TrainingData;
  /** Reads media in the folder of their data file alone (StageOptions). */
  confine?: boolean;
  /** Features of frozen encoders (StageOptions). */
  cache?: FeatureCache;
  signal?: AbortSignal;
  /** Told of each step that was made. */
  onStep?: (step: TrainStep) => void;
}
const OPTIONS = optionNames<ReplayOptions>({
  ...({ until: true, model: true, data: true, confine: true, cache: true, signal: true, onStep: true } as const),
  ...({ device: true, llm: true, encoders: true, kinds: true, onProgress: true, localFilesOnly: true } as const),
});

export interface ReplayReport {
  /** Steps of which the rows, the learning rate, the loss and the norm of the gradient were the run's to the bit. */
  steps: number;
  /** After which steps the weights were the run's to the bit; 0: before the first. */
  weights: readonly number[];
  /** The first one; undefined where there is none. */
  difference?: ReplayDifference;
  /** What is not as it was when the run was made: the likeliest cause first. */
  causes: readonly ReplayCause[];
}

/**
 * Runs the steps of a run of representMedia(), align() or instruct() again, from the weights it began from, and compares each with what the run's folder says of it: which rows
 * it read, its learning rate, loss and gradient norm, and the weights wherever they were saved. Ends at the first difference; nothing is written. On a CPU
 * of the same dispatch level, whatever its threads, there is none. Rejects with E_FILE where the folder holds no run that can be replayed, E_RECIPE where
 * recipe.yaml is damaged or names no data, E_CHECKPOINT where the language model or an encoder is not there any more.
 */
export async function replay(run: string, options: ReplayOptions = {}): Promise<ReplayReport> {
  checkOptions("replay", options, OPTIONS);
  const folder = resolve(run);
  const { until, signal, cache, confine, localFilesOnly, onStep, model: given, data, ...loading } = options;
  if (until !== undefined && !(Number.isSafeInteger(until) && until >= 1))
    throw expected("E_VALUE", "replay: until", "a step, counted from 1", until);
  const origin = await readOrigin(folder);
  const recorded = await Recorded.read(folder);
  const start = join(folder, START);
  const told = await toldIn(folder);
  const stage = stageOf(told);
  if (!given && !existsSync(join(start, stage.mark)))
    throw expected("E_FILE", folder, `${START}/, the weights that the run began from`, "none", "pass the model that it began from");
  const fetching = { ...(signal && { signal }), ...(localFilesOnly !== undefined && { localFilesOnly }) };
  const model = await stage.ground(start, given, { ...loading, ...fetching });
  try {
    const training = stage.training(model, { told, data, cwd: origin.sittings[0].cwd, kinds: options.kinds ?? [] });
    const begun = { recipe: told, ...(given ? {} : { start: await folderHash(start) }) };
    const watching: { weights?: WeightsWatch; files: readonly string[] } = { files: [] };
    const last = Math.min(until ?? Infinity, recorded.last);
    const watch: Watch = (parameters, files) => {
      watching.files = files;
      watching.weights = new WeightsWatch(recorded, last, parameters);
      return watching.weights;
    };
    const steps = training({ ...fetching, ...(cache && { cache }), ...(confine !== undefined && { confine }) }, watch);
    let [same, difference]: [number, ReplayDifference | undefined] = [0, undefined];
    for await (const step of steps) {
      onStep?.(step);
      difference = recorded.differing(step);
      if (difference) break;
      if (recorded.hasLine(step.step)) ++same;
    }
    difference ??= watching.weights?.difference;
    signal?.throwIfAborted();
    const causes = causesOf(origin, { ...(await originOf(model, watching.files, origin.sittings[0].data)), ...begun });
    return {
      ...{ steps: same, weights: watching.weights?.same ?? [] },
      ...(difference ? { difference, causes: likeliest(causes, difference.what) } : { causes }),
    };
  } finally {
    if (!given) model.dispose();
  }
}

/** What recipe.yaml says. */
async function toldIn(folder: string): Promise<Record<string, unknown>> {
  const path = join(folder, "recipe.yaml");
  const text = (await readPlain(path, { most: LARGEST, linksInside: true })).toString();
  let value: unknown;
  try {
    value = parseYaml(text);
  } catch (cause) {
    throw new RecipeError(path, "YAML", (cause as Error).message.split("\n")[0], "put it back as the run wrote it");
  }
  if (isObject(value)) return value;
  throw new RecipeError(path, "a mapping", value, "put it back as the run wrote it");
}
