// LLaMA-Adapter (arXiv 2303.16199): prompts in the upper layers behind gates that begin at zero, so that training begins at the language model itself.
// Pictures: one row that is added to all prompts.
import type { System } from "./system.js";

export const llamaAdapter: System = {
  name: "llama-adapter",
  title: "prompts behind gates of zero in the upper layers, a picture's row added to them",
  paper: "arXiv 2303.16199",
  // Section 3.3: global features of CLIP through a small MLP, I_p, given to the layers that have prompts. Its middle is not stated; 128 makes the 1.8 M.
  modalities: {
    image: { projector: { type: "mlp", hidden: 128, activation: "silu", gives: "beside", normalize: false }, select: "embeds" },
  },
  adapters: [
    {
      kind: "llama-adapter-v1",
      on: "llm",
      config: { prompts: 10, layers: 30, picture: true },
      section: "section 4.1: 10 prompts in the upper 30 of 32 layers",
    },
  ],
  stages: {
    instruct: {
      how: "instruct",
      opens: ["projectors.*", "adapters.*"],
      // Five epochs of Alpaca's 52 K in batches of 64, two of them warm-up; 9e-3 for 256 rows, scaled to the batch.
      numbers: { batch: 64, learningRate: 2.25e-3, steps: 4063, schedule: "cosine", warmupSteps: 1625, weightDecay: 0.02, maxLength: 512 },
      section: "section 4.1; alpaca_finetuning_v1/finetuning.sh",
    },
  },
  written: {},
  addedTokens: [],
  layouts: [],
};
