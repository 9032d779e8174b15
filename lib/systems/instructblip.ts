// InstructBLIP (arXiv 2305.06500): BLIP-2 whose Q-Former reads the question too, so that what it takes out of a picture is what is asked for.
import { blip2 } from "./blip-2.js";
import type { Stage, System } from "./system.js";

const instruct: Stage = {
  how: "instruct",
  opens: ["projectors.*"],
  numbers: { batch: 128, learningRate: 1e-5, steps: 60_000, schedule: "constant", warmupSteps: 1000, weightDecay: 0.05, maxLength: 256 },
  section: "section 2.5: 60 K steps, batches of 128 for Vicuna-7B, from 1e-8 to 1e-5 in 1000 steps",
};

export const instructblip: System = {
  ...blip2,
  name: "instructblip",
  title: "a Q-Former that reads the question beside the picture, into a frozen language model",
  paper: "arXiv 2305.06500",
  // bert-base-uncased and one token more, [DEC].
  modalities: {
    image: {
      projector: {
        type: "q-former",
        queries: 32,
        layers: 12,
        width: 768,
        vocabulary: 30_523,
        positions: 512,
        padding: 0,
        normalize: "layernorm",
      },
      select: "all",
    },
  },
  stages: {
    align: {
      ...instruct,
      how: "align",
      section:
        "section 2: its captioning sets are instructions among others; it begins from BLIP-2's Q-Former, of which stage 1 here stands in",
    },
    instruct,
  },
  captionPrompts: [
    ...[
      "A short image caption.",
      "A short image description.",
      "Write a short description for the image.",
      "Briefly describe the content of the image.",
    ],
    ...["Can you briefly explain what you see in the image?", "Please provide a short depiction of the picture."],
  ],
  layouts: ["instructblip-hf"],
};
