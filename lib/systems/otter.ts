// Otter (arXiv 2305.03726; github.com/Luodian/Otter): OpenFlamingo taught with instructions that have others before them as examples (MIMIC-IT, arXiv
// 2306.05425). What is new is how turns are written: a picture, what the user says, and <answer>, from which on tokens count.
import { flamingo } from "./flamingo.js";
import type { System, SystemModality } from "./system.js";

export const otter: System = {
  ...flamingo,
  name: "otter",
  title: "OpenFlamingo with instructions in context: each answer stands between <answer> and <|endofchunk|>",
  paper: "arXiv 2305.03726",
  // Of clips 32 frames in training (train_args.py: resample_frames), each with a row of its own in the resampler's table; its released form has 128 of them.
  modalities: { ...flamingo.modalities, video: { ...(flamingo.modalities.image as SystemModality), frames: 32 } },
  stages: {
    // It begins from OpenFlamingo's weights, which captions stand in for.
    align: flamingo.stages.align as NonNullable<System["stages"][string]>,
    instruct: {
      how: "instruct",
      opens: ["projectors.*", "adapters.*"],
      // Three epochs of LA's 345 K instructions, 8 at a time.
      numbers: { batch: 8, learningRate: 2e-5, steps: 129_375, schedule: "cosine", warmupSteps: 1294, weightDecay: 0.1, maxLength: 2048 },
      section: "its repository's docs: rate, cosine, warm-up 0.01, epochs and batch; train_args.py: weight decay and length",
    },
  },
  written: { id: "<image>", ask: "User: ", asked: " GPT:", answer: "<answer>", end: "<|endofchunk|>", place: "turn" },
  addedTokens: ["<|endofchunk|>", "<image>", "<answer>"],
  captionPrompts: ["What does the image describe?"],
  layouts: ["otter"],
};
