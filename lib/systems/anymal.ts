// AnyMAL (arXiv 2309.16058): a resampler for pictures and clips, one linear layer for sounds and motion; LoRA in the second stage.
import type { System } from "./system.js";

export const anymal: System = {
  name: "anymal",
  title: "any modality through resamplers and linear layers into a frozen LLaMA, then LoRA",
  paper: "arXiv 2309.16058",
  // Table 12; "Linear (1), 32 tokens" is read as one row per encoder token, of which CLAP and IMU2CLIP have 32.
  modalities: {
    image: { projector: { type: "resampler", layers: 6, tokens: 64 } },
    video: { projector: { type: "resampler", layers: 4, tokens: 32 }, frames: 4 },
    audio: { projector: { type: "linear", mode: "per_token" } },
    imu: { projector: { type: "linear", mode: "per_token" } },
  },
  otherwise: { projector: { type: "linear", mode: "per_token" } },
  adapters: [],
  stages: {
    align: {
      how: "align",
      opens: ["projectors.*"],
      numbers: { batch: 256, learningRate: 1e-4, steps: 2000 },
      of: {
        image: { batch: 2048, learningRate: 2e-4, steps: 100_000 },
        video: { batch: 1024, learningRate: 1e-4, steps: 20_000 },
        audio: { batch: 128, learningRate: 1e-4, steps: 1000 },
        imu: { batch: 256, learningRate: 1e-4, steps: 2000 },
      },
      section: "section 3.1, Table 12",
    },
    instruct: {
      how: "instruct",
      opens: ["projectors.*", "adapters.*"],
      numbers: { batch: 128, learningRate: 1e-5, steps: 3000 },
      // QLoRA's dropout for models of 33 B and more; AnyMAL names r and alpha.
      lora: { r: 64, alpha: 16, dropout: 0.05, targetModules: "all-linear" },
      section: "section 3.2",
    },
  },
  written: {},
  addedTokens: [],
  layouts: [],
};
