// BLIP-2 (arXiv 2301.12597), its second stage: a Q-Former that has learned to look for what text speaks of (its first stage: lib/train/represent.ts) learns to
// speak to a frozen language model. LAVIS has its numbers: lavis/projects/blip2/train.
import type { System } from "./system.js";

export const blip2: System = {
  name: "blip-2",
  title: "32 queries of a Q-Former, one linear layer into a frozen language model",
  paper: "arXiv 2301.12597",
  // The norm is LAVIS' ln_vision. transformers' tower has it inside, as post_layernorm.
  modalities: { image: { projector: { type: "q-former", queries: 32, layers: 12, width: 768, normalize: "layernorm" }, select: "all" } },
  adapters: [],
  stages: {
    represent: {
      how: "represent",
      opens: ["projectors.*"],
      numbers: { batch: 1680, learningRate: 1e-4, steps: 250_000, schedule: "cosine", warmupSteps: 2000, weightDecay: 0.05, maxLength: 32 },
      section:
        "section 3.2 and 4: 250 K steps in batches of 1680 with ViT-g; texts of 32 tokens: lavis/projects/blip2/train/pretrain_stage1.yaml",
    },
    align: {
      how: "align",
      opens: ["projectors.*"],
      numbers: { batch: 1920, learningRate: 1e-4, steps: 80_000, schedule: "cosine", warmupSteps: 2000, weightDecay: 0.05, maxLength: 64 },
      section: "section 3.4 and 4: 80 K steps in batches of 1920 with OPT; lavis/projects/blip2/train/pretrain_stage2.yaml",
    },
    instruct: {
      how: "instruct",
      opens: ["projectors.*"],
      // Five epochs of VQAv2 and Visual Genome, about 1.1 M questions.
      numbers: { batch: 128, learningRate: 1e-5, steps: 43_000, schedule: "cosine", warmupSteps: 1000, weightDecay: 0.05 },
      section: "section 4.3 and appendix, Table 7: the tower trains there too; here it stays",
    },
  },
  written: { mark: "<image>", place: "first" },
  addedTokens: [],
  captionPrompts: [""],
  layouts: ["blip2-hf"],
};
