// Video-ChatGPT's published projection (video_chatgpt-7B.bin): LLaVA's one linear layer under LLaVA's own name, which is why it is told by --table alone. It
// becomes the bridge clip-pool.
import type { KeyTable } from "./table.js";

/** Frames that its prompts have rows for: video_chatgpt/inference.py. */
const FRAMES = 100;

export const videoChatgpt: KeyTable = {
  name: "video-chatgpt",
  system: "Video-ChatGPT",
  marks: [/^(?!)/],
  rules: [
    { from: /^(?:model\.)?mm_projector\.(weight|bias)$/, to: "proj.$1" },
    { from: /^(?:model\.)?(?:embed_tokens|vision_tower)\..+$/, to: null },
  ],
  fileOf: () => "projector.safetensors",
  files: (known) => {
    known.size("proj.bias", 0);
    return { "projector.json": { type: "clip-pool", temporal: FRAMES, normalize: false, dim: known.size("proj.weight", 1) } };
  },
};
