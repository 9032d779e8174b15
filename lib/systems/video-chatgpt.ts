// Video-ChatGPT (arXiv 2306.05424; github.com/mbzuai-oryx/Video-ChatGPT): LLaVA for clips: CLIP sees 100 frames, whose means over patches and over frames go
// through LLaVA's one linear layer, which alone trains.
import { VICUNA } from "./llava.js";
import type { System } from "./system.js";

export const videoChatgpt: System = {
  name: "video-chatgpt",
  title: "means of 100 frames over patches and over time through one linear layer into a frozen Vicuna",
  paper: "arXiv 2306.05424",
  modalities: {
    video: { projector: { type: "clip-pool", temporal: 100, normalize: false }, layer: -2, select: "patch", frames: 100, picks: "between" },
  },
  adapters: [],
  stages: {
    // It begins from LLaVA's layer, of which captions of clips stand in here.
    align: {
      how: "align",
      opens: ["projectors.*"],
      numbers: { batch: 128, learningRate: 2e-3, steps: 4651, schedule: "cosine", weightDecay: 0, maxLength: 2048 },
      section: "section 4.1: LLaVA-Lightning-7B's weights; these are the numbers of LLaVA's scripts/pretrain.sh",
    },
    instruct: {
      how: "instruct",
      opens: ["projectors.*"],
      // Three epochs of 100 K pairs, 4 on each of 8 GPUs.
      numbers: { batch: 32, learningRate: 2e-5, steps: 9375, schedule: "cosine", weightDecay: 0, maxLength: 2048 },
      section: "section 4.1; docs/train_video_chatgpt.md",
    },
  },
  written: { before: "\n<vid_start>", after: "<vid_end>" },
  addedTokens: [],
  prompt: VICUNA,
  captionPrompts: [""],
  layouts: [],
};
