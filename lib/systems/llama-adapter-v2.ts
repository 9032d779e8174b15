// LLaMA-Adapter V2 (arXiv 2304.15010): the first layer reads a picture, the others have prompts; norms, scales and biases train. Captions and instructions are
// learned in one run, each by parameters of its own, so that a picture's text does not bend the answers. What was released for 7B with pictures differs: prompts
// that a row of the picture is added to, and stages one after the other ({ form: "multimodal7b" } with a bridge query-vit).
import type { System } from "./system.js";

/** What pictures train: the way of their rows into the first layers. */
const PICTURES = ["projectors.*", "adapters.llama-adapter-v2.*early_gate"];

export const llamaAdapterV2: System = {
  name: "llama-adapter-v2",
  title: "a picture in the first layer, prompts in the others, norms, scales and biases; captions and instructions apart",
  paper: "arXiv 2304.15010",
  // Every row of CLIP behind its last norm and projection, as the released code takes them; one linear layer and a norm: section 3.3.
  modalities: {
    image: { projector: { type: "linear", norm: true, gives: "beside", normalize: false }, select: "projected" },
  },
  adapters: [
    {
      kind: "llama-adapter-v2",
      on: "llm",
      config: { form: "paper", prompts: 10, layers: 31, early: 1 },
      section: "sections 3.1 to 3.3 and 4.1: prompts of length 10 in the last 31 layers of 32, which the picture's layers do not overlap",
    },
  ],
  stages: {
    align: {
      how: "align",
      opens: PICTURES,
      // A pass over COCO's 567 K captions is 17 719 steps.
      numbers: { batch: 32, learningRate: 1.25e-5, steps: 17_719, schedule: "cosine", warmupSteps: 590, weightDecay: 0.05, maxLength: 96 },
      section: "llama_adapter_v2_multimodal7b/exps/pretrain.sh: 1e-4 for 256 rows, 4 on each of 8 GPUs; section 4.1 for the captions",
    },
    instruct: {
      how: "instruct",
      opens: ["projectors.*", "adapters.*"],
      disjoint: PICTURES,
      // Four epochs of 52 K instructions.
      numbers: { batch: 32, learningRate: 1.25e-4, steps: 6500, schedule: "cosine", warmupSteps: 1625, weightDecay: 0.02, maxLength: 512 },
      section: "section 3.3, joint training with disjoint parameters; llama_adapter_v2_multimodal7b/exps/finetune.sh: 1e-3 for 256 rows",
    },
  },
  written: {},
  addedTokens: [],
  layouts: [],
};
