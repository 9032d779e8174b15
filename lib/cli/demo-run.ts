// The demo as a program: a world of files, the tiny models, stage 1 for four modalities, stage 2 over all, and answers about what was never shown.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { AnyMAL } from "../anymal/anymal.js";
import type { AssembleOptions } from "../anymal/options.js";
import type { Device } from "../core/device.js";
import { readCaptions } from "../data/captions.js";
import { readConversations } from "../data/conversations.js";
import { FeatureCache } from "../data/feature-cache.js";
import { mediaOf, type Row } from "../data/row.js";
import { WORLD_PROMPTS } from "../data/world/language.js";
import { writeWorld } from "../data/world/write.js";
import { scoreCaptions } from "../eval/captions.js";
import { askedIn, askHeldOut, type HeldOutScores, textOf } from "../eval/held-out.js";
import type { BuiltIn } from "../media/kinds/index.js";
import { align } from "../train/align.js";
import { instruct } from "../train/instruct.js";
import type { AlignRecipe, InstructInput } from "../train/recipe.js";
import type { TrainStep } from "../train/step-report.js";

export const DEMO_MODALITIES = ["image", "video", "audio", "imu"] as const satisfies readonly BuiltIn[];

/** Files to train on, and to ask about. */
const TRAIN = { image: 6000, video: 2000, audio: 6000, imu: 2000 };
const HELD_OUT = 128;
const MIXED = 600;

/** AnyMAL's recipe for a world a million times smaller: fewer tokens, layers and steps, and larger rates to match. */
const MODEL = (models: string): Pick<AssembleOptions, "llm" | "modalities"> => ({
  llm: join(models, "llama"),
  modalities: {
    image: { encoder: join(models, "clip"), projector: { type: "resampler", layers: 2, tokens: 8, heads: 4 } },
    // One row per frame: motion is in how the frames differ, and among all their patches it is hard to find.
    video: { encoder: join(models, "clip"), frames: 4, select: "pooled", projector: { type: "resampler", layers: 3, tokens: 8, heads: 4 } },
    // What contrastive training has shaped tells attributes apart that were never met together; what lies before it does less.
    audio: { encoder: join(models, "clap"), select: "embeds", projector: { type: "linear", mode: "pooled", tokens: 4 } },
    imu: { encoder: join(models, "imu2clip"), select: "embeds", projector: { type: "linear", mode: "pooled", tokens: 2 } },
  },
});
const STAGE1: Readonly<Record<(typeof DEMO_MODALITIES)[number], Partial<AlignRecipe>>> = {
  image: { steps: 500, batch: 32, learningRate: 2e-3 },
  video: { steps: 450, batch: 32, learningRate: 1e-3 },
  audio: { steps: 300, batch: 32, learningRate: 3e-3 },
  imu: { steps: 100, batch: 32, learningRate: 3e-3 },
};
/** Sixteen rows at a time, of like length: fewer padded positions, and activations that stay in a core's cache. */
const STAGE2: InstructInput = { steps: 1200, batch: 64, microBatch: 16, learningRate: 2e-3, lora: { r: 8, alpha: 16, dropout: 0 } };

/** Levels of the CPU whose instructions multiply bf16: half the bytes, and a product in a fraction of the time. Elsewhere f32 is as fast, and plainer. */
const MULTIPLY_BF16 = /^cpu: (avx512_bf16|amx)\b/;

export interface DemoOptions {
  /** Folder with llama, clip, clap and imu2clip. */
  models: string;
  /** Where files, runs and the checkpoint go. */
  output: string;
  device: Device;
  /** Of activations and of what is frozen; what trains is f32 either way. Default: bf16 where the CPU multiplies it, else f32. */
  dtype?: "f32" | "bf16";
  seed: number;
  /** Times the steps of both stages, and below 1 times the files. */
  effort: number;
  signal: AbortSignal;
  onStage: (title: string) => void;
  onStep: (label: string, step: TrainStep) => void;
  onFiles: (done: number, total: number) => void;
}

export interface ModalityScores extends HeldOutScores {
  /** Of captions of held-out media, from 0 to 10. */
  ciderD: number;
}
export interface Answered {
  prompt: string;
  media: string[];
  answer: string;
  expected: string;
}
export interface DemoResult {
  device: string;
  dtype: string;
  seconds: number;
  /** Of the whole process, as the operating system saw it. */
  peakBytes: number;
  modalities: Record<string, ModalityScores>;
  answers: Answered[];
  checkpoint: string;
}

/** A quick look takes fewer files too; more effort goes over the same ones again. */
function countsFor(effort: number) {
  const scaled = (count: number) => Math.max(8, Math.round(count * Math.min(1, effort)));
  const all = <T>(of: (modality: (typeof DEMO_MODALITIES)[number]) => T) => Object.fromEntries(DEMO_MODALITIES.map((m) => [m, of(m)]));
  return {
    train: all((modality) => scaled(TRAIN[modality])),
    heldout: all(() => scaled(HELD_OUT)),
    mixed: { train: scaled(MIXED), heldout: scaled(HELD_OUT) },
  };
}

export async function runDemo(options: DemoOptions): Promise<DemoResult> {
  const { models, output, device, seed, signal, onStage, onFiles } = options;
  const start = performance.now();
  const data = join(output, "data");
  const { train, heldout, mixed } = countsFor(options.effort);
  onStage("Writing the tiny world: pictures, clips, sounds and recordings");
  await writeWorld(data, {
    seed,
    train,
    heldout,
    mixed,
    onProgress: ({ done, total }) => onFiles(done, total),
    signal,
  });
  onStage("Loading the tiny models, the language model in NF4");
  const dtype = options.dtype ?? (MULTIPLY_BF16.test(device.describe()) ? "bf16" : "f32");
  const model = await AnyMAL.assemble({ ...MODEL(models), device, dtype, seed });
  const cache = new FeatureCache({ memoryBytes: 2 ** 30 });
  await trainBoth(model, data, cache, options);
  const checkpoint = join(output, "checkpoint");
  await model.save(checkpoint);

  onStage("Asking about combinations that no training has shown");
  const modalities: DemoResult["modalities"] = {};
  for (const modality of DEMO_MODALITIES) modalities[modality] = await scores(model, data, modality, seed, signal);
  const answers = await examples(model, data, signal);
  const seconds = (performance.now() - start) / 1000;
  return {
    device: device.describe(),
    dtype,
    seconds,
    peakBytes: process.resourceUsage().maxRSS * 1024,
    modalities,
    answers,
    checkpoint,
  };
}

async function trainBoth(model: AnyMAL, data: string, cache: FeatureCache, { effort, seed, signal, ...on }: DemoOptions): Promise<void> {
  const scaled = <T extends { steps?: number }>(recipe: T): T => ({
    ...recipe,
    steps: Math.max(1, Math.round((recipe.steps ?? 1) * effort)),
  });
  const common = { seed, signal, cache };
  for (const modality of DEMO_MODALITIES) {
    on.onStage(`Stage 1: ${modality}, the projection alone, on captions`);
    const file = join(data, modality, "captions.train.jsonl");
    for await (const step of align(model, {
      modality,
      data: file,
      prompts: WORLD_PROMPTS[modality],
      ...scaled(STAGE1[modality]),
      ...common,
    }))
      on.onStep(modality, step);
    signal.throwIfAborted();
  }
  on.onStage("Stage 2: projections and LoRA, on questions about all four and about two at once");
  const files = [...DEMO_MODALITIES, "mixed"].map((folder) => join(data, folder, "instruct.train.json"));
  for await (const step of instruct(model, { data: files, ...scaled(STAGE2), ...common })) on.onStep("all", step);
  signal.throwIfAborted();
}

/** What kind of question each row asks; the world writes it beside the conversation. */
const kindsOf = (file: string): string[] => (JSON.parse(readFileSync(file, "utf8")) as { kind: string }[]).map(({ kind }) => kind);

async function scores(model: AnyMAL, data: string, modality: BuiltIn, seed: number, signal: AbortSignal): Promise<ModalityScores> {
  const file = join(data, modality, "instruct.heldout.json");
  const prompts = WORLD_PROMPTS[modality];
  const captions = (await readCaptions(join(data, modality, "captions.heldout.jsonl"), { modality, prompts, seed })).map(askedIn);
  const said = await model.generateAll(
    captions.map(({ turns }) => turns),
    { maxNewTokens: 48, batch: 64, signal },
  );
  return {
    ...(await askHeldOut(model, await readConversations(file), { kinds: kindsOf(file), seed, signal })),
    ciderD: scoreCaptions(said.map((hypothesis, i) => ({ hypothesis, references: [captions[i]!.answer] }))).ciderD,
  };
}

/** One question per modality, and one that mixes two. */
async function examples(model: AnyMAL, data: string, signal: AbortSignal): Promise<Answered[]> {
  const answers: Answered[] = [];
  for (const folder of [...DEMO_MODALITIES, "mixed"]) {
    const [row] = await readConversations(join(data, folder, "instruct.heldout.json"));
    const { turns, answer } = askedIn(row as Row);
    let said = "";
    for await (const piece of model.generate(turns, { maxNewTokens: 32, signal })) said += piece;
    answers.push({
      prompt: turns.map(textOf).join(" ").replace(/\s+/g, " ").trim(),
      media: mediaOf({ turns }).map(({ source, modality }) => (typeof source === "string" ? source : modality)),
      answer: said.trim(),
      expected: answer,
    });
  }
  return answers;
}
