// One system with one seed: put together, trained on pictures and questions, asked about combinations that no training has shown.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { FirstStage } from "../../lib/anymal/first-stage.js";
import type { ModalityOptions } from "../../lib/anymal/options.js";
import type { Device } from "../../lib/core/device.js";
import { readConversations } from "../../lib/data/conversations.js";
import { FeatureCache } from "../../lib/data/feature-cache.js";
import { WORLD_PROMPTS } from "../../lib/data/world/language.js";
import { askHeldOut } from "../../lib/eval/held-out.js";
import type { QFormerOptions } from "../../lib/models/bridges/q-former.js";
import { systemOf } from "../../lib/systems/index.js";
import { align } from "../../lib/train/align.js";
import { instruct } from "../../lib/train/instruct.js";
import { representMedia } from "../../lib/train/represent-media.js";
import type { TrainStep } from "../../lib/train/step-report.js";
import { mediumOf, type OwnQuestions, type Shares, type Trial } from "./trial.js";

export interface Outcome {
  /** Shares of held-out questions answered exactly: with the picture, with a blank one, with another question's. */
  exact: number;
  blank: number;
  shuffled: number;
  minutes: number;
  /** Of the last stage. */
  trainedParameters: number;
  /** The most that tensors took on the device. */
  peakBytes: number;
  /** What the trial alone asks: shares. */
  more?: Readonly<Record<string, number>>;
}

export interface TrialOptions {
  models: string;
  /** The world's folder. */
  data: string;
  device: Device;
  seed: number;
  /** Times the steps. */
  effort: number;
  signal: AbortSignal;
  onStep: (stage: string, step: TrainStep) => void;
}

export async function runTrial(trial: Trial, options: TrialOptions): Promise<Outcome> {
  const { models, data, device, seed, effort, signal, onStep } = options;
  const start = performance.now();
  await device.synchronize();
  device.resetPeak();
  const { stages, prompt } = systemOf(trial.system);
  const cache = new FeatureCache({ memoryBytes: 2 ** 30 });
  const medium = mediumOf(trial);
  const seen: ModalityOptions = { encoder: join(models, "clip"), ...trial[medium] };
  if (trial.represent) seen.projector = await represented(trial, options, seen, cache);
  await using model = await AnyMAL.assemble({
    system: trial.system,
    llm: join(models, "llama"),
    modalities: { [medium]: seen },
    prompt: { ...(prompt !== undefined && { system: "" }), ...trial.prompt },
    ...(trial.adapters && { adapters: trial.adapters }),
    device,
    dtype: "bf16",
    seed,
  });
  const common = { seed, signal, cache };
  const steps = (recipe: { steps?: number }) => ({ steps: times(recipe.steps, effort) });
  let trainedParameters = 0;
  const told = (stage: string, step: TrainStep) => {
    trainedParameters = open(model);
    onStep(stage, step);
  };
  if (trial.align && stages.align) {
    const file = captionsIn(data, medium);
    const recipe = { ...trial.align, ...steps(trial.align), modality: medium, data: file, prompts: WORLD_PROMPTS[medium] } as const;
    for await (const step of align(model, { ...recipe, ...common })) told("align", step);
  }
  const files = [join(data, medium, "instruct.train.json"), ...((await trial.own?.write({ data, seed, effort })) ?? [])];
  for await (const step of instruct(model, { ...trial.instruct, ...steps(trial.instruct), data: files, ...common })) told("instruct", step);
  const heldout = join(data, medium, "instruct.heldout.json");
  const kinds = (JSON.parse(readFileSync(heldout, "utf8")) as { kind: string }[]).map(({ kind }) => kind);
  const { exact, blank, shuffled } = await askHeldOut(model, await readConversations(heldout), { kinds, seed, signal });
  const again = async (own: OwnQuestions): Promise<Shares> => (await runTrial({ ...trial, own }, options)).more ?? {};
  const more = await trial.own?.ask(model, { data, seed, effort, signal, cache, again });
  await device.synchronize();
  const minutes = (performance.now() - start) / 60_000;
  return { exact, blank, shuffled, minutes, trainedParameters, peakBytes: device.memory().bytesPeak, ...(more && { more }) };
}

const captionsIn = (data: string, medium = "image"): string => join(data, medium, "captions.train.jsonl");
const times = (steps = 1, effort = 1): number => Math.max(1, Math.round(steps * effort));

/** The folder of a bridge that has been through BLIP-2's first stage. */
async function represented(trial: Trial, options: TrialOptions, image: ModalityOptions, cache: FeatureCache): Promise<string> {
  const { models, data, device, seed, effort, signal, onStep } = options;
  const { encoder, projector, select } = image;
  const stage = { words: join(models, "llama"), projector: projector as QFormerOptions, ...(select && { select }) };
  using first = await FirstStage.assemble({ encoder, ...stage, device, dtype: "bf16", seed });
  const recipe = { ...trial.represent, steps: times(trial.represent?.steps, effort) };
  for await (const step of representMedia(first, { ...recipe, data: captionsIn(data), seed, signal, cache })) onStep("represent", step);
  const folder = join(data, "bridge");
  await first.saveBridge(folder);
  return folder;
}

/** Numbers that take gradients now. */
function open(model: AnyMAL): number {
  const modules = [model.llm, ...model.modalities.flatMap((modality) => [model.projector(modality), model.encoder(modality).encoder])];
  const tensors = new Set(modules.flatMap((module) => module.trainable()));
  return [...tensors].reduce((sum, { size }) => sum + size, 0);
}
