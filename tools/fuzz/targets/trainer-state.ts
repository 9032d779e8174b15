// lib/train/run-folder.ts: the folder of a training, of which one file is changed, is gone on with, for one step more or none.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { encodeHeader, type FileDType, fileDTypeBytes } from "../../../lib/io/safetensors-header.js";
import { readState } from "../../../lib/train/run-folder.js";
import { joined } from "../input.js";
import { changedJson } from "../json-value.js";
import type { Random } from "../random.js";
import type { Seed, Target } from "../target.js";
import { ADDED } from "../tiny-model.js";
import { CLIP_FINGERPRINT, LLM_FINGERPRINT, TinyRun, unflushed } from "../tiny-run.js";

/** Which file an input stands for: its first byte, modulo their number and below CARRIES. From STEP on, the run has a step to go. */
const FILES = [
  "checkpoint/trainer_state.json",
  "recipe.yaml",
  "log.jsonl",
  "checkpoint/optimizer.safetensors",
  "checkpoint/adapter_model.safetensors",
  "checkpoint/projectors/image.safetensors",
  "checkpoint/anymal.json",
] as const;
/** With this bit it is a file of the run whose model carries more than the branches that train. */
const CARRIES = 64;
const CARRIED_FILES = [
  "checkpoint/anymal.json",
  "checkpoint/adapters/prompts/adapter.safetensors",
  "checkpoint/adapters/tokens/adapter_model.safetensors",
] as const;
const [STATE, RECIPE, LOG, MOMENTS, ADAPTER, PROJECTOR, MANIFEST] = [0, 1, 2, 3, 4, 5, 6];
const STEP = 128;

// What a run writes, where that does not differ from one to the next. Each is a seed, which has to be taken.
const state = { step: 2, batches: 2, updates: 2, fewerUpdates: {}, rows: 1, secondsElapsed: 0.01 };
const recipe = {
  instruct: {
    ...{ schedule: "cosine", weightDecay: 0.01, betas: [0.9, 0.999], maxGradNorm: 1, optimizer: "adamw", gradientCheckpointing: false },
    ...{ seed: 0, logEvery: 1, saveEvery: 1, onBadRow: "throw", microBatch: 1, warmupSteps: 0, batch: 1, learningRate: 0.001, steps: 2 },
    lora: { r: 1, alpha: 16, dropout: 0, targetModules: ["q_proj"] },
  },
};
const line = { step: 1, total_steps: 2, epoch: 1, loss: 3.5, learning_rate: 0.001, grad_norm: 2, tokens: 7, elapsed_time: 0.01 };
const manifest = {
  ...{ format: "anymal", version: 1, prompt: { template: "plain" }, adapter: true },
  llm: { path: "../../llm", fingerprint: LLM_FINGERPRINT, quantization: null, dtype: "f32" },
  modalities: {
    image: {
      encoder: { path: "../../clip", fingerprint: CLIP_FINGERPRINT, dtype: "f32" },
      projector: { type: "linear", mode: "per_token", tokens: 32, dim: 8, normalize: "standardize" },
      ...{ layer: -1, select: "patch", calibrated: true },
    },
  },
};
const { adapter: _, ...others } = manifest;
const second = { ...others, version: 2, system: "anymal", adapters: [{ name: "default", kind: "lora", on: "llm", folder: "." }] };
const carried = {
  ...second,
  addedTokens: [ADDED],
  adapters: [
    { name: "tokens", kind: "trained-tokens", on: "llm", folder: "adapters/tokens" },
    { name: "prompts", kind: "llama-adapter-v1", on: "llm", folder: "adapters/prompts" },
    ...second.adapters,
  ],
};
const prompts: Shapes = [
  ["adapter_query.weight", [1, 8]],
  ["model.layers.0.self_attn.gate", [1, 1, 1, 1]],
  ["visual_projection.0.bias", [2]],
  ["visual_projection.0.weight", [2, 8]],
  ["visual_projection.2.bias", [8]],
  ["visual_projection.2.weight", [8, 2]],
];
const tokens: Shapes = ["lm_head", "model.embed_tokens"].map((at) => [`base_model.model.${at}.trainable_tokens_delta`, [1, 8]]);
const Q = "base_model.model.model.layers.0.self_attn.q_proj.lora";
const adapter: Shapes = [`${Q}_A.weight`, `${Q}_B.weight`].map((name, i) => [name, i ? [8, 1] : [1, 8]]);
const linear: Shapes = ["bias", "weight"].map((name, i) => [`proj.${name}`, i ? [8, 8] : [8]]);
const projector: Shapes = [["input.scale", [8]], ["input.shift", [8]], ...linear];
const moments: Shapes = [...adapter, ...linear.map(([name, shape]): Shapes[0] => [`projectors.image.${name}`, shape])].flatMap(
  ([name, shape]): Shapes => [
    [`${name}.exp_avg`, shape],
    [`${name}.exp_avg_sq`, shape],
  ],
);
type Shapes = [string, number[]][];

const utf8 = new TextEncoder();
type DTypes = (i: number) => FileDType;
const f32: DTypes = () => "F32";
const sizeOf = (shapes: Shapes, dtype = f32) =>
  shapes.reduce((sum, [, shape], i) => sum + shape.reduce((a, b) => a * b, fileDTypeBytes(dtype(i))), 0);
const headerOf = (shapes: Shapes, dtype = f32) => encodeHeader(shapes.map(([name, shape], i) => [name, { dtype: dtype(i), shape }]));
const input = (file: number, ...content: (Uint8Array | string)[]): Uint8Array =>
  joined(Uint8Array.of(file), ...content.map((part) => (typeof part === "string" ? utf8.encode(part) : part)));
const seed = (file: number, ...content: (Uint8Array | string)[]): Seed => ({ bytes: input(file, ...content), fields: [] });
const weights = (file: number, shapes: Shapes): Seed => inFile(firstByte(file, true), shapes);
const inFile = (first: number, shapes: Shapes): Seed => seed(first, headerOf(shapes), new Uint8Array(sizeOf(shapes)));

/** The one that names the file, with a step to go or none. */
function firstByte(file: number, step: boolean): number {
  return step ? STEP + file : file;
}

const SHAPES = [[], [0], [1], [7], [2, 4], [8, 1, 1], [64, 64]];

/** Names, types, shapes and places are changed, or the numbers are any bits. */
function changedWeights(random: Random, right: Shapes): [Uint8Array, Uint8Array] {
  const [odd, type] = [random.below(right.length), random.pick(["F32", "F32", "F64", "BF16", "I32", "I64", "U8", "BOOL"] as const)];
  const dtype: DTypes = (i) => (i === odd ? type : "F32");
  const shapes = right.map(([name, shape], i): Shapes[0] => [name, i === odd && random.chance(0.2) ? random.pick(SHAPES) : shape]);
  const size = sizeOf(shapes, dtype);
  const data = random.chance(0.5) ? random.bytes(size) : new Uint8Array(size);
  const header = headerOf(shapes, dtype);
  if (random.chance(0.5)) return [header, data];
  const json = utf8.encode(changedJson(random, JSON.parse(new TextDecoder().decode(header.subarray(8)))));
  const length = new DataView(new ArrayBuffer(8));
  length.setBigUint64(0, BigInt(json.length), true);
  return [joined(new Uint8Array(length.buffer), json), data];
}

function build(random: Random): Uint8Array {
  if (random.chance(0.3)) {
    const file = random.below(CARRIED_FILES.length);
    const first = file + CARRIES + (random.chance(0.3) ? STEP : 0);
    if (file === 0) return input(first, changedJson(random, carried));
    return input(first, ...changedWeights(random, file === 1 ? prompts : tokens));
  }
  const file = random.pick([STATE, STATE, STATE, RECIPE, RECIPE, LOG, MOMENTS, MOMENTS, ADAPTER, PROJECTOR, MANIFEST]) as number;
  const first = firstByte(file, random.chance(0.3));
  const steps = random.pick([1, 2, 2]);
  if (file === STATE) return input(first, changedJson(random, { ...state, step: steps, batches: steps, updates: steps }));
  if (file === RECIPE) return input(first, changedJson(random, recipe));
  if (file === LOG) return input(first, [line, { ...line, step: 2 }].map((one) => changedJson(random, one)).join("\n"));
  if (file === MANIFEST) return input(first, changedJson(random, random.chance(0.5) ? manifest : second));
  return input(first, ...changedWeights(random, file === MOMENTS ? moments : file === ADAPTER ? adapter : projector));
}

let run: TinyRun | undefined;
let carrying: TinyRun | undefined;

export const trainerState: Target = {
  name: "trainer-state",
  mostBytes: 256 * 2 ** 20, // of recipe.yaml, as for recipes
  seeds: [
    seed(STATE, JSON.stringify(state)),
    seed(RECIPE, JSON.stringify(recipe)),
    seed(firstByte(LOG, true), JSON.stringify(line), "\n"),
    ...[weights(MOMENTS, moments), weights(ADAPTER, adapter), weights(PROJECTOR, projector)],
    seed(MANIFEST, JSON.stringify(manifest)),
    seed(MANIFEST, JSON.stringify(second)),
    ...[seed(CARRIES, JSON.stringify(carried)), inFile(CARRIES + 1, prompts), inFile(STEP + CARRIES + 2, tokens)],
  ],
  build,
  async prepare(path) {
    run ??= await TinyRun.make(path);
    carrying ??= await TinyRun.make(path, true);
  },
  run: (bytes, path) =>
    unflushed(async () => {
      const [folder, first] = [`${path}-run`, bytes[0] ?? 0];
      const done = first < STEP ? 2 : 1;
      const changed: Record<string, Uint8Array | string> = {};
      changed[FILES[STATE] as string] = JSON.stringify({ ...state, step: done, batches: done, updates: done });
      const [files, own] = first & CARRIES ? [CARRIED_FILES, carrying] : [FILES, run];
      changed[files[(first % CARRIES) % files.length] as string] = bytes.subarray(1);
      own?.write(folder, changed);
      const [end] = await Promise.allSettled([own?.goOn(folder)]);
      if (existsSync(join(folder, ".run.lock"))) throw new Error("the folder stays locked");
      if (end.status === "rejected") throw end.reason;
      if ((await readState(join(folder, "checkpoint"))).step !== 2) throw new Error("the run has not come to its end");
    }),
};
