// From flags and a recipe file to what a stage is given: one recipe, the model to begin from, and the folder it ends in.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { AnyMAL } from "../anymal/anymal.js";
import { checkpointFolder, readManifest } from "../anymal/manifest.js";
import type { AssembleOptions } from "../anymal/options.js";
import { nearest } from "../core/checks.js";
import { AnymalError } from "../core/errors.js";
import { hubDataId } from "../data/hub-data.js";
import { DataError } from "../data/row.js";
import { type MediaOptions, mergedOptions } from "../media/media-options.js";
import type { Modality } from "../media/part.js";
import { DEFAULT_SYSTEM, isSystem, SYSTEM_NAMES, systemOf } from "../systems/index.js";
import { type Recipe, readYaml, recipe } from "../train/recipe.js";
import { loadOptions } from "./flags.js";
import { ownKinds } from "./kinds.js";
import { UsageError } from "./output.js";
import { projectorKeys, type TrainingFlags } from "./training-flags.js";

export type Stage = "align" | "instruct" | "represent";
type Keys = Record<string, unknown>;
interface RawRecipe {
  system?: string;
  model?: Keys & { modalities?: Record<string, Keys> };
  align?: Record<string, Keys>;
  instruct?: Keys;
  media?: MediaOptions;
  output?: string;
}

export interface Job {
  recipe: Recipe;
  /** Where this stage's run goes. */
  output: string;
  /** A checkpoint to begin from; undefined where the recipe says what to assemble. */
  model: string | undefined;
}

/** `change` puts the stage's own flags into the recipe; it is read and checked before and after that. */
export async function trainingJob(stage: Stage, flags: TrainingFlags, change: (raw: RawRecipe) => RawRecipe): Promise<Job> {
  const { config } = flags;
  const read = config ? await readYaml(config) : {};
  if (config) recipe(read, ownKinds()); // what is wrong is said in the file's own terms
  const file = (read ?? {}) as RawRecipe;
  const raw = withMedia(withModel(change(file), flags), flags);
  const checked = recipe(raw, ownKinds());
  const both = Boolean(file.instruct && Object.keys(file.align ?? {}).length);
  const output = flags.output ?? (both && file.output ? join(file.output, stage) : file.output);
  if (!output) throw usage(stage, "--output is needed: the folder for the run");
  let { model } = flags;
  if (!model && both && stage === "instruct" && file.output && !flags.llm) {
    model = join(file.output, "align");
    if (!existsSync(model))
      throw usage(stage, `stage 1 comes first: anymal align --config ${config}; or begin from a checkpoint with --model`);
  }
  if (!model && !checked.model) throw usage(stage, "a model to begin from is needed: --model, or --llm and --encoder");
  if (model && flags.projector) throw usage(stage, "--projector is for a fresh model; a checkpoint has its projections");
  const system = await trainedAs(stage, flags, checked.system, model);
  return { recipe: system === checked.system ? checked : recipe({ ...raw, system }), output, model };
}

/** The name of a system where --system is one or nearly one; else it is text, as it was before there were systems. */
function systemNamed({ system }: TrainingFlags): string | undefined {
  if (system === undefined || /\s/.test(system)) return undefined;
  const meant = isSystem(system) || nearest(system, SYSTEM_NAMES) !== undefined;
  return meant ? systemOf(system, "--system").name : undefined;
}

/** A checkpoint goes on as what it was put together as. */
async function trainedAs(stage: Stage, flags: TrainingFlags, said: string | undefined, model?: string): Promise<string | undefined> {
  const named = systemNamed(flags);
  if (!model) return said;
  const manifest = await Promise.resolve(model)
    .then(checkpointFolder)
    .then(readManifest)
    .catch(() => undefined); // why not is said when it is opened
  const own = manifest?.system;
  const asked = named ?? said;
  if (manifest && asked !== undefined && asked !== (own ?? DEFAULT_SYSTEM))
    throw usage(stage, `the model in ${model} is of ${own ?? DEFAULT_SYSTEM}, not of ${asked}; --system is for a fresh model`);
  return asked ?? own;
}

const usage = (stage: Stage, message: string) => new UsageError(`anymal ${stage}`, message);

function withMedia(raw: RawRecipe, { mediaOption }: TrainingFlags): RawRecipe {
  return mediaOption ? { ...raw, media: mergedOptions(raw.media, mediaOption) } : raw;
}

function withModel(raw: RawRecipe, flags: TrainingFlags): RawRecipe {
  const {
    model: checkpoint,
    llm,
    encoder = {},
    projector = {},
    quantization,
    dtype,
    system,
    systemPrompt,
    splitSpecialTokens,
    seed,
  } = flags;
  const name = systemNamed(flags);
  if (checkpoint || !(raw.model || llm)) return raw;
  const modalities: Record<string, Keys> = { ...raw.model?.modalities };
  for (const [modality, folder] of Object.entries(encoder)) modalities[modality] = { ...modalities[modality], encoder: folder };
  for (const [modality, text] of Object.entries(projector))
    modalities[modality] = { ...modalities[modality], projector: projectorKeys(text) };
  const text = systemPrompt ?? (name === undefined ? system : undefined);
  const prompt = { ...(text !== undefined && { system: text }), ...(splitSpecialTokens && { splitSpecialTokens }) };
  const given = { system: name, llm, quantization, dtype, seed, prompt: Object.keys(prompt).length ? prompt : undefined };
  const changed = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return { ...raw, ...(name !== undefined && { system: name }), model: { ...raw.model, ...changed, modalities } };
}

/** Said before a large model is loaded, not after. */
export function checkPaths(data: readonly string[], { output, resume }: { output: string; resume: boolean }): void {
  for (const path of data)
    if (!existsSync(path) && hubDataId(path) === undefined)
      throw new DataError(
        "E_DATA",
        path,
        undefined,
        "a data file",
        "no such file",
        `check the path (the working directory is ${process.cwd()})`,
      );
  if (existsSync(join(output, "checkpoint")) && !resume)
    throw new AnymalError(
      "E_RECIPE",
      `${output}: expected a folder without a run, got one with a checkpoint; --resume goes on with it, or name another --output`,
    );
}

export async function openModel(
  { recipe: { model }, model: checkpoint }: Job,
  modalities: readonly Modality[],
  flags: TrainingFlags,
  signal: AbortSignal,
): Promise<AnyMAL> {
  if (checkpoint) return AnyMAL.fromPretrained(checkpoint, loadOptions(flags, signal));
  const options = model as Omit<AssembleOptions, "device">;
  for (const modality of modalities)
    if (!options.modalities?.[modality])
      throw new AnymalError(
        "E_MODALITY",
        ownKinds().some(({ name, encoder }) => encoder && name === modality)
          ? `expected a projection for ${modality}, got none; add --projector ${modality}=linear, or another one`
          : `expected an encoder of ${modality}, got none; add --encoder ${modality}=FOLDER, or an id of the hub`,
      );
  const { onProgress, kinds = [], localFilesOnly = false } = loadOptions(flags);
  return AnyMAL.assemble({ ...options, kinds, signal, onProgress, localFilesOnly, ...(flags.device && { device: flags.device }) });
}
