// MMICL (arXiv 2309.07915; github.com/HaozheZhao/MIC): InstructBLIP for many pictures in one prompt, each declared by a token of its own, by which the text
// speaks of it afterwards. The projection trains, and of the language model the queries and values of its attention.
import { blip2 } from "./blip-2.js";
import type { Stage, System } from "./system.js";

/** Names of pictures: 20, as in run.py's vocabulary; a prompt has no more pictures. */
export const PROXIES = Array.from({ length: 20 }, (_, n) => `<image${n}>`);

/** What its code for Vicuna writes for a picture's rows. */
export const ROWS = "<visual_embedding>";

const instruct: Stage = {
  how: "instruct",
  opens: ["projectors.*.language_projection.*", "llm.*.q_proj.weight", "llm.*.v_proj.weight", "tokens.*"],
  // Three epochs of 1 889 000 instances, 3 on each of 6 GPUs, 8 steps accumulated; the warm-up is a fifth.
  numbers: {
    batch: 144,
    learningRate: 1e-4,
    steps: 39_354,
    schedule: "linear",
    warmupSteps: 7871,
    weightDecay: 5e-4,
    maxLength: 1152,
  },
  section: "stage II; model/utils.py for what trains, run_script/flickr/deep_speed_instructblip_t5xxl.sh for the numbers",
};

export const mmicl: System = {
  ...blip2,
  name: "mmicl",
  title:
    "many pictures, each declared by a token of its own that the text speaks of it by; a Q-Former, queries and values of attention trained",
  paper: "arXiv 2309.07915",
  // InstructBLIP's Q-Former, which its scripts tell nothing (using_instruct_qformer False): text for it is an option of the projector.
  modalities: { image: { projector: { type: "q-former", queries: 32, layers: 12, width: 768, normalize: "layernorm" }, select: "all" } },
  quantization: "none",
  stages: {
    align: {
      ...(blip2.stages.align as Stage),
      section: "stage I: as BLIP-2's, whose weights its Q-Former begins with; these are BLIP-2's numbers",
    },
    instruct,
    "instruct-lora": {
      ...instruct,
      opens: ["projectors.*.language_projection.*", "tokens.*", "adapters.*"],
      lora: { r: 8, alpha: 16, dropout: 0.05, targetModules: ["q_proj", "v_proj"] },
      section: "not of the paper: the same two linear layers through LoRA, with the rank that LoRA's own paper has for them",
    },
  },
  written: { before: "image {n} is ", proxy: "<image{n}>", after: ".\n", mark: ROWS },
  addedTokens: PROXIES,
  layouts: ["instructblip-hf"],
};
