// Pink (arXiv 2310.00582; github.com/SY-Xuan/Pink): LLaVA's skeleton on Llama-2 chat, with bottlenecks before self-attention in both towers, and places in
// the picture as ordinary text: lib/data/referential has its tasks.
import type { System } from "./system.js";

export const pink: System = {
  name: "pink",
  title: "CLIP's patches through one linear layer, bottlenecks in the tower and in the language model, boxes as text",
  paper: "arXiv 2310.00582",
  // Boxes are of the picture padded to a square; a crop in the middle would leave some of them outside.
  modalities: { image: { projector: { type: "linear", mode: "per_token", normalize: false }, layer: -2, select: "patch", pad: true } },
  adapters: [
    {
      kind: "pink",
      on: "llm",
      config: { hidden: 8, dropout: 0.1 },
      section: "section 3.2; pink/model: between norm and self-attention of each layer",
    },
    {
      kind: "pink",
      on: "image",
      config: { hidden: 8, dropout: 0.1 },
      read: "layers",
      section: "section 3.2; pink/model: 23 of CLIP's 24 blocks, since hidden state -2 is read",
    },
  ],
  stages: {
    align: {
      how: "align",
      opens: ["projectors.*"],
      // One epoch of LLaVA's 595 K pairs of CC3M.
      numbers: { batch: 128, learningRate: 2e-3, steps: 4651, schedule: "cosine", weightDecay: 0 },
      section: "section 4.1; scripts/stage1.sh",
    },
    instruct: {
      how: "instruct",
      opens: ["projectors.*", "adapters.*"],
      // Six epochs; steps are those of 158 K conversations, to which referential rows come.
      numbers: { batch: 32, learningRate: 5e-4, steps: 29_625, schedule: "cosine", warmupSteps: 1481, weightDecay: 0.02 },
      section: "section 4.1; scripts/stage2.sh: warm-up 0.05",
    },
  },
  written: { after: "\n" },
  addedTokens: [],
  captionPrompts: [""],
  layouts: [],
};
