// LLaVA (arXiv 2304.08485): CLIP's patches, one linear layer, and a language model that trains whole in the second stage.
import type { System } from "./system.js";

/** Of Vicuna v1, which LLaVA begins from (llava/conversation.py). */
export const VICUNA =
  "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the human's questions.";

export const llava: System = {
  name: "llava",
  title: "CLIP's patches through one linear layer, the language model trained whole",
  paper: "arXiv 2304.08485",
  // hidden_states[-2] without the class token: llava/model/multimodal_encoder/clip_encoder.py.
  modalities: { image: { projector: { type: "linear", mode: "per_token", normalize: false }, layer: -2, select: "patch" } },
  quantization: "none",
  adapters: [],
  stages: {
    align: {
      how: "align",
      opens: ["projectors.*"],
      // One epoch of 595 K pairs of CC3M.
      numbers: { batch: 128, learningRate: 2e-3, steps: 4651, schedule: "cosine", weightDecay: 0, maxLength: 2048 },
      section: "section 4.2; scripts/pretrain.sh",
    },
    instruct: {
      how: "instruct",
      opens: ["projectors.*", "llm.*"],
      // Three epochs of 158 K conversations.
      numbers: { batch: 32, learningRate: 2e-5, steps: 14_786, schedule: "cosine", weightDecay: 0, maxLength: 2048 },
      section: "section 4.2; scripts/finetune_full_schedule.sh",
    },
    "instruct-lora": {
      how: "instruct",
      opens: ["projectors.*", "adapters.*"],
      numbers: { batch: 32, learningRate: 2e-5, steps: 14_786, schedule: "cosine", weightDecay: 0, maxLength: 2048 },
      lora: { r: 64, alpha: 16, dropout: 0.05, targetModules: "all-linear" },
      section: "scripts/finetune_qlora.sh, whose rank is the default of llava/train/train.py",
    },
  },
  written: { after: "\n" },
  addedTokens: [],
  prompt: VICUNA,
  captionPrompts: [""],
  layouts: ["llava-original"],
};
