// What a run can be a run of, as a replay takes it: how what it began from is loaded, and its steps with their data while somebody looks on.
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { AnyMAL, type FromPretrainedOptions } from "../../anymal/anymal.js";
import { FirstStage } from "../../anymal/first-stage.js";
import { STAGE } from "../../anymal/first-stage-files.js";
import { MANIFEST } from "../../anymal/manifest.js";
import { isObject } from "../../core/checks.js";
import { expected } from "../../core/errors.js";
import type { TrainingData } from "../../data/mixture.js";
import type { OwnKinds } from "../../media/kinds/index.js";
import type { MediaOptions } from "../../media/media-options.js";
import type { Modality } from "../../media/part.js";
import { aligning } from "../align.js";
import { instructing } from "../instruct.js";
import { mediaRecipe, recipe as recipeOf } from "../recipe.js";
import type { RecipeData } from "../recipe-data.js";
import { representing } from "../represent-media.js";
import { representSection } from "../represent-recipe.js";
import { RecipeError } from "../schema.js";
import type { StageOptions, Watch } from "../stage.js";
import type { TrainStep } from "../step-report.js";
import { described } from "../told.js";

/** What a stage trains on. */
export type Ground = AnyMAL | FirstStage;
export interface Given {
  told: Record<string, unknown>;
  /** In place of what recipe.yaml names. */
  data: TrainingData | undefined;
  /** Where its paths begin. */
  cwd: string;
  kinds: OwnKinds;
}
type Loading = Pick<FromPretrainedOptions, "device" | "llm" | "encoders" | "kinds" | "onProgress" | "localFilesOnly" | "signal">;
export type Training = (
  more: Pick<StageOptions, "signal" | "cache" | "confine" | "localFilesOnly">,
  watch: Watch,
) => AsyncGenerator<TrainStep>;

interface ReplayedStage<G extends Ground> {
  /** The file without which start/ holds none. */
  mark: string;
  is(ground: Ground): ground is G;
  /** In a word. */
  wanted: string;
  load(start: string, loading: Loading): Promise<G>;
  training(ground: G, given: Given): Training;
}

const onModel: ReplayedStage<AnyMAL> = {
  mark: MANIFEST,
  wanted: "an AnyMAL",
  is: (ground): ground is AnyMAL => ground instanceof AnyMAL,
  load: (start, loading) => AnyMAL.fromPretrained(start, loading),
  training(model, given) {
    const { align, instruct, media } = recipeOf({ ...given.told, system: model.system }, given.kinds);
    const [aligned] = Object.entries(align);
    const [modality, own] = aligned ?? [undefined, instruct];
    const fixed = { ...fixedOf(own, given, media), validation: undefined }; // nothing of the training moves by a look at rows that are held out
    return (more, watch) =>
      modality === undefined
        ? instructing(model, { ...instruct, ...more, ...fixed }, watch)
        : aligning(model, { ...own, ...more, ...fixed, modality: modality as Modality }, watch);
  },
};

const onFirstStage: ReplayedStage<FirstStage> = {
  mark: STAGE,
  wanted: "a FirstStage",
  is: (ground): ground is FirstStage => ground instanceof FirstStage,
  load(start, { llm, ...loading }) {
    if (llm !== undefined) throw expected("E_VALUE", "replay: llm", "none: a first stage has no language model", llm, "leave it out");
    return FirstStage.fromPretrained(start, loading);
  },
  training(first, given) {
    const { represent, media } = given.told;
    if (!isObject(represent)) throw new RecipeError("represent", "a mapping", represent);
    const { recipe, columns, modalityWeights, data } = representSection(represent);
    const fixed = fixedOf({ ...(data && { data }) }, given, media === undefined ? undefined : mediaRecipe(media, given.kinds));
    const beside = { ...(columns && { columns }), ...(modalityWeights && { modalityWeights }) };
    return (more, watch) => representing(first, { ...recipe, ...beside, ...more, ...fixed }, watch);
  },
};

/** What recipe.yaml says of the media, and where the data are now. Nobody reads a replay's reports. */
function fixedOf(own: RecipeData | undefined, { data: given, cwd }: Given, media: MediaOptions | undefined) {
  const place = (from: string) => (existsSync(resolve(cwd, from)) ? resolve(cwd, from) : from);
  const data = given ?? (own?.data && (described(own.data, undefined, place).data as TrainingData));
  if (data === undefined)
    throw new RecipeError("the run's recipe", "data to be named", "rows that were in memory", "pass them to replay() as data");
  return { ...(media && { media }), data, reportTo: undefined };
}

/** A stage of which the kind of its model is no business of the caller's. */
export interface RunStage {
  mark: string;
  /** What it began from, or what was given in its place. Throws E_VALUE on a model of another stage. */
  ground(start: string, given: Ground | undefined, loading: Loading): Promise<Ground>;
  training(ground: Ground, given: Given): Training;
}

function runStage<G extends Ground>({ mark, wanted, is, load, training }: ReplayedStage<G>): RunStage {
  const own = (ground: Ground): G => {
    if (is(ground)) return ground;
    throw expected("E_VALUE", "replay: model", `${wanted}, which the run was made with`, `a ${ground.constructor.name}`);
  };
  return {
    mark,
    ground: async (start, given, loading) => (given === undefined ? load(start, loading) : own(given)),
    training: (ground, given) => training(own(ground), given),
  };
}

/** Throws E_RECIPE where the recipe is of no stage that is known here. */
export function stageOf(told: Record<string, unknown>): RunStage {
  if (told.represent) return runStage(onFirstStage);
  if (told.align || told.instruct) return runStage(onModel);
  const stages = "one of represent, align or instruct";
  throw new RecipeError("the run's recipe", stages, Object.keys(told).join(", "), "replay knows these stages");
}
