// LLaVA-1.5 (arXiv 2310.03744): the linear layer becomes an MLP, pictures are 336 wide and padded to squares; stage 2 in three published forms.
import { llava, VICUNA } from "./llava.js";
import type { Stage, System } from "./system.js";

// One epoch of 665 K conversations.
const instruct: Stage = {
  how: "instruct",
  opens: ["projectors.*", "llm.*"],
  numbers: { batch: 128, learningRate: 2e-5, steps: 5198, schedule: "cosine", weightDecay: 0, maxLength: 2048 },
  section: "scripts/v1_5/finetune.sh",
};

export const llava15: System = {
  ...llava,
  name: "llava-1.5",
  title: "CLIP's patches through an MLP of two layers, the language model trained whole or by LoRA",
  paper: "arXiv 2310.03744",
  modalities: { image: { projector: { type: "mlp", normalize: false }, layer: -2, select: "patch", pad: true } },
  stages: {
    align: {
      how: "align",
      opens: ["projectors.*"],
      // One epoch of 558 K pairs of LAION, CC and SBU.
      numbers: { batch: 256, learningRate: 1e-3, steps: 2181, schedule: "cosine", weightDecay: 0, maxLength: 2048 },
      section: "scripts/v1_5/pretrain.sh",
    },
    instruct,
    "instruct-lora": {
      ...instruct,
      opens: ["projectors.*", "adapters.*"],
      numbers: { ...instruct.numbers, learningRate: 2e-4 },
      lora: { r: 128, alpha: 256, dropout: 0.05, targetModules: "all-linear" },
      rates: { "projectors.*": 2e-5 },
      section: "scripts/v1_5/finetune_lora.sh",
    },
  },
  prompt: VICUNA.replace("curious human", "curious user").replace("the human's", "the user's"),
  layouts: ["llava-hf", "llava-hf-4.52", "llava-hf-5.6", "llava-hf-5-fresh", "llava-original"],
};
