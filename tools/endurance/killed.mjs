// One training of kills.ts, which may be killed at any moment: a stage of the tiny world with rows that stay in their files, a mixture of sets, a row that cannot
// be used, and, where the stage has them, packing, dropout and validation. Says "begun", and each step.
//   node killed.mjs ROOT DATA STAGE OUTPUT
import { join } from "node:path";

const [root, data, stage, output] = process.argv.slice(2);
const { AnyMAL, align, FirstStage, instruct, representMedia } = await import(join(root, "dist/index.mjs"));
const tiny = (name) => join(root, "models/tiny", name);
const file = (name) => join(data, name);

const COMMON = {
  output,
  resume: true,
  lazy: true,
  onBadRow: "skip",
  onProblem: () => {},
  learningRate: 2e-3,
  seed: 5,
  batch: 4,
  saveEvery: 3,
};
const captions = [
  { from: file("captions-a.jsonl"), weight: 3 },
  { from: file("captions-b.csv"), weight: 1 },
];
const assemble = () => {
  const projector = { type: "resampler", layers: 1, tokens: 4, heads: 4 };
  const modalities = { image: { encoder: tiny("clip"), projector }, audio: { encoder: tiny("clap"), projector } };
  return AnyMAL.assemble({ llm: tiny("llama"), modalities, seed: 1 });
};

const STAGES = {
  async align() {
    const validation = { data: file("captions-held.jsonl"), every: 5, rows: 4, maxNewTokens: 4, metric: "loss" };
    return align(await assemble(), { ...COMMON, modality: "image", data: captions, steps: 24, packing: true, validation });
  },
  async instruct() {
    const validation = { data: file("held.json"), every: 5, rows: 4, maxNewTokens: 4, metric: "loss" };
    const lora = { r: 4, alpha: 8, dropout: 0.1 };
    const more = { modalityWeights: { image: 2, audio: 1 }, steps: 24, packing: true, validation, optimizer: "adamw8bit" };
    return instruct(await assemble(), { ...COMMON, ...more, lora, data: [file("image.json"), file("audio.json")] });
  },
  async represent() {
    const projector = { type: "q-former", queries: 4, layers: 2, width: 32, heads: 2, hidden: 32 };
    const first = await FirstStage.assemble({ encoder: tiny("clip"), words: tiny("llama"), projector, embedDim: 16, seed: 1 });
    return representMedia(first, { ...COMMON, data: captions, steps: 24 });
  },
};
const steps = await STAGES[stage]();
console.log("begun");
for await (const { step } of steps) console.log(`step ${step}`);
console.log("done");
