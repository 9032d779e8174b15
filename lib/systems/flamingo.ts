// Flamingo (arXiv 2204.14198) as OpenFlamingo has it (arXiv 2308.01390): a resampler whose rows stand beside the text, and gated layers of
// cross-attention that read them.
import type { System } from "./system.js";

export const flamingo: System = {
  name: "flamingo",
  title: "a resampler's rows beside the text, read by gated cross-attention between frozen layers",
  paper: "arXiv 2204.14198",
  modalities: {
    image: {
      projector: {
        ...{ type: "resampler", form: "openflamingo", layers: 6, tokens: 64, heads: 8, dimHead: 64 },
        ...{ gives: "beside", normalize: false },
      },
      select: "patch",
    },
  },
  adapters: [
    {
      kind: "gated-cross-attention",
      on: "llm",
      config: { form: "openflamingo", every: 4, heads: 8, dimHead: 64, onlyAttendImmediateMedia: true },
      widths: { dimVisual: "image" },
      section: "section 2.2, Table 4: every fourth layer of 9 B; OpenFlamingo's helpers.py for the widths",
    },
  ],
  stages: {
    align: {
      how: "align",
      opens: ["projectors.*", "adapters.*"],
      numbers: { batch: 64, learningRate: 1e-4, steps: 500_000, schedule: "constant", warmupSteps: 5000, weightDecay: 0.1, maxLength: 256 },
      section: "section 2.4 and appendix B.1.2; batch and added rows: OpenFlamingo's train_utils.py",
    },
    instruct: {
      how: "instruct",
      opens: ["projectors.*", "adapters.*"],
      numbers: { batch: 32, learningRate: 1e-4, steps: 500_000, schedule: "constant", warmupSteps: 5000, weightDecay: 0.1, maxLength: 256 },
      section: "section 2.4: interleaved pages, whose own form this is",
    },
  },
  written: { id: "<image>", end: "<|endofchunk|>" },
  addedTokens: ["<|endofchunk|>", "<image>"],
  layouts: ["idefics"],
};
