// MiniGPT-4 with Llama-2 (arXiv 2304.10592, minigpt4/configs/models/minigpt4_llama2.yaml): no Q-Former; four neighbouring patches make one row, and one
// linear layer is all that trains. The form with Vicuna that came first has BLIP-2's Q-Former there, which stays as it is: { type: "q-former", frozen: true }.
import type { System } from "./system.js";

export const minigpt4: System = {
  name: "minigpt4",
  title: "four patches in a row through one linear layer into a frozen Llama-2 chat",
  paper: "arXiv 2304.10592",
  modalities: { image: { projector: { type: "concat-linear", patches: 4, normalize: false }, select: "patch" } },
  adapters: [],
  stages: {
    align: {
      how: "align",
      opens: ["projectors.*"],
      // Four epochs of 5000 iterations, 64 on each of four GPUs; the rate falls to 8e-5, not to 0.
      numbers: { batch: 256, learningRate: 1e-4, steps: 20_000, schedule: "cosine", warmupSteps: 5000, weightDecay: 0.05 },
      section: "section 3.1; train_configs/minigpt4_llama2_stage1_pretrain.yaml",
    },
    instruct: {
      how: "instruct",
      opens: ["projectors.*"],
      // Five epochs of 200 iterations on 3.5 K pairs; the rate falls to 1e-5.
      numbers: { batch: 12, learningRate: 3e-5, steps: 1000, schedule: "cosine", warmupSteps: 200, weightDecay: 0.05, maxLength: 160 },
      section: "section 3.3; train_configs/minigpt4_llama2_stage2_finetune.yaml",
    },
  },
  written: { before: "<Img>", after: "</Img>", mark: "<ImageHere>" },
  addedTokens: [],
  captionPrompts: [""],
  layouts: [],
};
