// Each system of lib/systems as it is trained in the tiny world: a picture of 64 x 64, a language model of 0.9 M parameters, minutes on two cores. What is
// not as published stands here, and is printed with the results.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { otter } from "../../lib/systems/otter.js";
import { bootstrapped, places } from "./places.js";
import { attributes, names, shotsOf } from "./shots.js";
import type { Trial } from "./trial.js";

const SHORT = "steps, batch and rates for minutes instead of days";
const SMALL_QFORMER =
  "a Q-Former of 2 layers, 8 queries and 128 numbers a row, not 12, 32 and 768, that looks at the picture from each layer, drops nothing and begins from nothing";
/** It reads the question in the tiny language model's own tokens. */
const WORDS = { folder: fileURLToPath(new URL("../../models/tiny/llama", import.meta.url)), count: 704 };
const VOCABULARY = JSON.parse(readFileSync(join(WORDS.folder, "tokenizer.json"), "utf8")).model.vocab as Record<string, number>;
const idsOf = (tokens: readonly string[]): number[] => tokens.map((token) => VOCABULARY[token] as number);
const NO_PROMPT = "no system prompt: the tiny language model has never read one";

/** OpenFlamingo's body. */
const GATED = {
  image: {
    projector: {
      ...{ type: "resampler", form: "openflamingo", layers: 2, tokens: 8, heads: 4, dimHead: 32 },
      ...{ gives: "beside", normalize: false },
    },
  },
  adapters: { "gated-cross-attention": { every: 1, heads: 4, dimHead: 32 } },
  align: { steps: 500, batch: 32, learningRate: 2e-3 },
  instruct: { steps: 500, batch: 64, learningRate: 2e-3 },
  changed: [
    SHORT,
    "gated layers before each of the four layers, not before every fourth of 32; a resampler of 2 layers and 8 tokens, not 6 and 64",
  ],
} as const satisfies Omit<Trial, "system">;

const PINK: Trial = {
  system: "pink",
  image: {},
  adapters: {
    pink: { hidden: 128, nonLinear: true, dropout: 0 },
    "trained-tokens": { tokenIndices: idsOf([..."0123456789[]", "▁["]), targetModules: ["embed_tokens", "lm_head"] },
  },
  align: { steps: 300, batch: 32, learningRate: 2e-3 },
  instruct: { steps: 12_000, batch: 8, learningRate: 3e-3 },
  changed: [
    SHORT,
    "bottlenecks of 128 numbers with silu, not 8 without, and no dropout",
    "rows of the digits and brackets train too: the tiny language model has never read one",
    "places in rows to train on are rounded to twentieths of the picture",
  ],
  own: places(),
};

export const TRIALS: Readonly<Record<string, Trial>> = {
  anymal: {
    system: "anymal",
    image: { projector: { type: "resampler", layers: 2, tokens: 8, heads: 4 } },
    align: { steps: 500, batch: 32, learningRate: 2e-3 },
    instruct: { steps: 500, batch: 64, learningRate: 2e-3, lora: { r: 8, alpha: 16, dropout: 0 } },
    changed: [SHORT, "a resampler of 2 layers and 8 tokens, not 6 and 64", "LoRA of rank 8, not 64, without dropout"],
  },
  llava: {
    system: "llava",
    image: {},
    align: { steps: 300, batch: 32, learningRate: 2e-3 },
    instruct: { steps: 400, batch: 64, learningRate: 1e-3 },
    changed: [SHORT, NO_PROMPT],
  },
  "llava-1.5": {
    system: "llava-1.5",
    image: {},
    align: { steps: 300, batch: 32, learningRate: 2e-3 },
    instruct: { steps: 400, batch: 64, learningRate: 1e-3 },
    changed: [SHORT, NO_PROMPT],
  },
  minigpt4: {
    system: "minigpt4",
    image: {},
    align: { steps: 500, batch: 32, learningRate: 3e-3 },
    instruct: { steps: 400, batch: 64, learningRate: 2e-3 },
    changed: [SHORT],
  },
  "minigpt4-q-former": {
    system: "minigpt4",
    image: {
      projector: { type: "q-former", queries: 8, layers: 2, width: 128, every: 1, dropout: 0, normalize: "layernorm", frozen: true },
      select: "all",
    },
    represent: { steps: 2000, batch: 32, learningRate: 2e-3 },
    align: { steps: 500, batch: 32, learningRate: 3e-3 },
    instruct: { steps: 4000, batch: 16, learningRate: 3e-3 },
    changed: [SHORT, SMALL_QFORMER, "its first stage is on the same captions as the next one"],
  },
  "blip-2": {
    system: "blip-2",
    image: { projector: { type: "q-former", queries: 8, layers: 2, width: 128, every: 1, dropout: 0, normalize: "layernorm" } },
    align: { steps: 500, batch: 32, learningRate: 1e-3 },
    instruct: { steps: 500, batch: 64, learningRate: 1e-3 },
    changed: [SHORT, SMALL_QFORMER, "no first stage"],
  },
  instructblip: {
    system: "instructblip",
    image: {
      projector: {
        type: "q-former",
        queries: 8,
        layers: 2,
        width: 128,
        every: 1,
        dropout: 0,
        vocabulary: WORDS.count,
        positions: 64,
        normalize: "layernorm",
      },
      question: WORDS.folder,
    },
    align: { steps: 500, batch: 32, learningRate: 1e-3 },
    instruct: { steps: 500, batch: 64, learningRate: 1e-3 },
    changed: [SHORT, SMALL_QFORMER, "the question is read in the language model's own tokens"],
  },
  mmicl: {
    system: "mmicl",
    image: { projector: { type: "q-former", queries: 8, layers: 2, width: 128, every: 1, normalize: "layernorm" } },
    align: { steps: 500, batch: 32, learningRate: 2e-3, warmupSteps: 20 },
    instruct: { steps: 600, batch: 64, learningRate: 2e-3, warmupSteps: 60 },
    changed: [SHORT, SMALL_QFORMER, "no first stage"],
    own: shotsOf(attributes),
  },
  flamingo: { system: "flamingo", ...GATED, own: shotsOf(names) },
  otter: {
    system: "otter",
    ...GATED,
    // "User:" and "GPT:" are letters to it.
    prompt: { written: { ...otter.written, ask: "[INST] ", asked: " [/INST]" } },
    changed: [...GATED.changed, "[INST] and [/INST] around questions: the tiny language model has never read a capital letter"],
    own: shotsOf(names),
  },
  "llama-adapter": {
    system: "llama-adapter",
    image: {},
    adapters: { "llama-adapter-v1": { layers: 4 } },
    instruct: { steps: 1000, batch: 64, learningRate: 1.2e-2 },
    changed: [SHORT, "prompts in all four layers, not in 30 of 32"],
  },
  lavin: {
    system: "lavin",
    image: { layer: [1, 2, 3, 4] },
    adapters: { lavin: { dropout: 0 } },
    instruct: { steps: 1000, batch: 64, learningRate: 4e-3 },
    changed: [SHORT, "class tokens behind all four blocks of the tower, not behind every fourth of 24", "no dropout in the mixtures"],
  },
  "llama-adapter-v2": {
    system: "llama-adapter-v2",
    image: {},
    adapters: { "llama-adapter-v2": { layers: 1, early: 3 } },
    align: { steps: 500, batch: 32, learningRate: 8e-3, opens: ["projectors.*", "adapters.*"] },
    instruct: { steps: 1000, batch: 64, learningRate: 1e-2, disjoint: [] },
    changed: [
      SHORT,
      "three layers of four read the picture and one has prompts, not one and 31 of 32",
      "all parameters learn from all rows: instructions here are questions about pictures, the paper's are text",
    ],
  },
  pink: PINK,
  // It trains twice.
  "pink-bootstrapped": { ...PINK, instruct: { ...PINK.instruct, steps: 4000 }, own: bootstrapped },
  "video-chatgpt": {
    system: "video-chatgpt",
    video: { frames: 8, projector: { type: "clip-pool", temporal: 8, normalize: false } },
    align: { steps: 600, batch: 32, learningRate: 2e-3 },
    instruct: { steps: 5000, batch: 16, learningRate: 3e-3 },
    changed: [SHORT, NO_PROMPT, "8 frames of each clip, not 100"],
  },
};
