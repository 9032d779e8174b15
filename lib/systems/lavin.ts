// LaVIN (arXiv 2305.15023): mixtures of modality adapters in both towers, six class tokens of CLIP as a picture, and one training for text and pictures.
import type { System } from "./system.js";

/** Of 7 B; temperature 5 for 13 B. */
const MIXTURE = { hidden: 8, groups: 2, temperature: 10, scale: 1, dropout: 0.1 };

export const lavin: System = {
  name: "lavin",
  title: "mixtures of modality adapters in CLIP and in the language model, chosen between by a row that no token sees",
  paper: "arXiv 2305.15023",
  modalities: {
    image: {
      projector: { type: "mlp", hidden: 128, activation: "silu", normalize: false },
      // lavin/../clip/model.py: the class token behind every fourth block, without the last norm.
      layer: [4, 8, 12, 16, 20, 24],
      select: "class",
    },
  },
  adapters: [
    { kind: "lavin", on: "llm", config: MIXTURE, section: "section 3.2 and 4.2; lavin/mm_adapter.py, scripts/finetuning_sqa_7b.sh" },
    { kind: "lavin", on: "image", config: MIXTURE, section: "section 3.3; --visual_adapter_type router" },
  ],
  stages: {
    instruct: {
      how: "instruct",
      opens: ["projectors.*", "adapters.*"],
      // Twenty epochs of ScienceQA's 12 726 questions, two of them warm-up; 9e-3 for 256 rows, 4 times 4 on each of 2 GPUs.
      numbers: { batch: 32, learningRate: 1.125e-3, steps: 7954, schedule: "cosine", warmupSteps: 795, weightDecay: 0.02, maxLength: 512 },
      section: "section 4.2; scripts/finetuning_sqa_7b.sh",
    },
  },
  written: { before: "Image: " },
  addedTokens: [],
  layouts: [],
};
