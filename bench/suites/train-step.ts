// One training step of each stage over a random LLaMA in NF4: stage 1 trains a Perceiver resampler alone, stage 2 LoRA beside it, with its dropout; AdamW in 8
// bit and clipped gradients, nothing recomputed. Beside stage 1 steps of PyTorch through a LLaMA of the same shape, beside stage 2 stage 1.
import { contest, type Figures, type Side } from "../contest.js";
import { atEachLevel, type Place } from "../levels.js";
import { randomConfig } from "../random-llama.js";
import { commit } from "../record.js";
import { mebibytes, type SuiteOptions } from "../suite.js";
import { type Batch, Stage } from "../training.js";

const MEDIA = 64;
const BATCHES: readonly Batch[] = [
  { rows: 1, media: MEDIA, instruction: 32, response: 96 },
  { rows: 4, media: MEDIA, instruction: 24, response: 40 },
];
/** Of a card: AnyMAL's first stage on 70 billion weights. */
const ON_A_CARD: readonly Batch[] = [{ rows: 4, media: MEDIA, instruction: 32, response: 96 }];
const TURNS = 5;
/** Dequantising each weight at each use takes PyTorch half a minute a step: fewer turns say as much, and nothing in it gets warm. */
const EAGER_TURNS = 2;

export default function trainStep(options: SuiteOptions): Promise<Figures[]> {
  return atEachLevel(options, async (place, report) => {
    for (const dtype of ["bf16", "f32"] as const)
      for (const batch of place.device.name === "cpu" ? BATCHES : [...BATCHES, ...ON_A_CARD]) {
        const name = `nf4, ${dtype}, ${batch.rows} x ${batch.media + batch.instruction + batch.response} tokens`;
        if (!name.includes(options.filter)) continue;
        // A pair in f32 says little that one in bf16 does not: one size of it.
        if (dtype === "f32" && batch !== BATCHES[0]) continue;
        await measure(options, place, dtype, batch, name, report);
      }
  });
}

async function measure(
  options: SuiteOptions,
  place: Place,
  dtype: "f32" | "bf16",
  batch: Batch,
  name: string,
  report: (rows: readonly Figures[]) => void,
): Promise<void> {
  const { device, level, peaks } = place;
  const config = randomConfig(options.size);
  const turns = options.turns ?? TURNS;
  const told = (stage: Stage, before: number) => ({
    case: `stage ${stage.number}, ${name}`,
    level,
    unit: "ms",
    of: (seconds: number) => 1000 * seconds,
    limit: { name: `${dtype} register peak`, seconds: stage.flops / peaks[dtype] },
    more: (seconds: number) => ({
      "tokens/s": stage.tokens / seconds,
      "GFLOP/s": stage.flops / seconds / 1e9,
      "peak MiB": mebibytes(device.memory().bytesPeak - before),
    }),
  });
  const begin = async () => {
    await device.synchronize();
    device.resetPeak();
    return device.memory().bytesInUse;
  };
  const before = await begin();
  const first = new Stage(1, device, config, dtype, batch);
  if (batch.rows === 1 && dtype === "bf16") {
    const torch = await torchSteps(options, batch, ["f32", "bf16"]);
    report(
      await contest(
        told(first, before),
        () => first.sample(),
        torch.map((side) => [side]),
        turns,
      ),
    );
    for (const side of torch) await side.drop();
    const eager = await torchSteps(options, batch, ["nf4"]);
    if (eager.length) report(await contest(told(first, before), () => first.sample(), [eager], Math.min(turns, EAGER_TURNS), true));
    for (const side of eager) await side.drop();
  } else report(await contest(told(first, before), () => first.sample(), [], turns));
  const beside = await begin(); // stage 1, which stays
  const second = new Stage(2, device, config, dtype, batch);
  const stage1: Side = { name: "anymal, stage 1", version: commit(), sample: () => first.sample() };
  report(await contest(told(second, beside), () => second.sample(), [[stage1]], turns));
  await first.end();
  await second.end();
}

const AS = { f32: "f32, not quantised", bf16: "bf16, not quantised", nf4: "NF4 dequantised at each use, bf16" };

async function torchSteps(
  { size, rivals }: SuiteOptions,
  { rows, media, instruction, response }: Batch,
  storages: readonly (keyof typeof AS)[],
) {
  const { hiddenSize, intermediateSize, layers, heads, kvHeads, headDim, vocabSize } = randomConfig(size);
  const shape = { hidden: hiddenSize, intermediate: intermediateSize, layers, heads, kvHeads, headDim, vocabulary: vocabSize };
  const request = { what: "step", shape, rows, media, dim: 512, text: instruction + response, scored: response };
  return (await rivals?.torch(...storages.map((storage) => [{ ...request, storage }, AS[storage]] as const))) ?? [];
}
