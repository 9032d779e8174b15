// One training step of each stage over a random LLaMA in NF4: stage 1 trains a Perceiver resampler alone, stage 2 LoRA beside it, with its dropout; AdamW in 8
// bit and clipped gradients, nothing recomputed. Beside stage 1 steps of PyTorch through a LLaMA of the same shape, one rival after the other, since each
// holds a model; beside stage 2 stage 1.
import { contest, type Figures, type Side } from "../contest.js";
import { atEachLevel, type Place } from "../levels.js";
import { arithmeticLimit } from "../limits.js";
import { randomConfig, shapeOf } from "../random-llama.js";
import { commit } from "../record.js";
import { mebibytes, type SuiteOptions } from "../suite.js";
import { type Batch, resamplerOf, Stage } from "../training.js";

const MEDIA = 64;
const BATCHES: readonly Batch[] = [
  { rows: 1, media: MEDIA, instruction: 32, response: 96 },
  { rows: 4, media: MEDIA, instruction: 24, response: 40 },
];
/** Of a card: AnyMAL's first stage on 70 billion weights. */
const ON_A_CARD: Batch = { rows: 4, media: MEDIA, instruction: 32, response: 96 };
/** In its place at the tiny size, which is for trying. */
const BRIEF: Batch = { rows: 2, media: 4, instruction: 2, response: 2, brief: true };
const TURNS = 5;
/** Dequantising each weight at each use takes PyTorch half a minute a step: fewer turns say as much, and nothing in it gets warm. */
const EAGER_TURNS = 2;

export default function trainStep(options: SuiteOptions): Promise<Figures[]> {
  return atEachLevel(options, async (place, report) => {
    for (const dtype of ["bf16", "f32"] as const)
      for (const batch of batchesOf(options)) {
        const name = `nf4, ${dtype}, ${batch.rows} x ${batch.media + batch.instruction + batch.response} tokens`;
        if (!name.includes(options.filter)) continue;
        // A pair in f32 says little that one in bf16 does not: one size of it.
        if (dtype === "f32" && batch !== BATCHES[0]) continue;
        await measure(options, place, dtype, batch, name, report);
      }
  });
}

const batchesOf = ({ device, size }: SuiteOptions): readonly Batch[] =>
  device === "cpu" ? BATCHES : size === "tiny" ? [BRIEF] : [...BATCHES, ON_A_CARD];

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
    limit: arithmeticLimit(peaks, dtype, stage.flops),
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
  const groups = dtype === "bf16" && options.rivals ? rivalsOf(batch) : [];
  let stands = false; // beside somebody
  for (const storages of groups) {
    const torch = await torchSteps(options, batch, storages);
    const most = storages.includes("nf4") ? Math.min(turns, EAGER_TURNS) : turns;
    const each = torch.map((side) => [side]);
    if (torch.length) report(await contest(told(first, before), () => first.sample(), each, most, storages.includes("nf4")));
    stands ||= torch.length > 0;
    for (const side of torch) await side.drop();
  }
  if (!stands) report(await contest(told(first, before), () => first.sample(), [], turns));
  const beside = await begin(); // stage 1, which stays
  const second = new Stage(2, device, config, dtype, batch);
  const stage1: Side = { name: "anymal, stage 1", version: commit(), sample: () => first.sample() };
  report(await contest(told(second, beside), () => second.sample(), [[stage1]], turns));
  await first.end();
  await second.end();
}

const AS = {
  f32: "f32, not quantised",
  bf16: "bf16, not quantised",
  nf4: "NF4 dequantised at each use, bf16",
  bitsandbytes: "NF4 dequantised at each use by bitsandbytes, bf16",
};
type Stored = keyof typeof AS;

/** Those that stand together, and those for whom there is room only when the others have gone. */
function rivalsOf(batch: Batch): Stored[][] {
  if (!BATCHES.includes(batch)) return [["nf4"], ["bitsandbytes"]];
  return batch === BATCHES[0] ? [["f32", "bf16"], ["nf4"]] : [];
}

async function torchSteps({ size, rivals }: SuiteOptions, batch: Batch, storages: readonly Stored[]) {
  const { rows, media, instruction, response } = batch;
  const { dim } = resamplerOf(batch);
  const request = { what: "step", shape: shapeOf(randomConfig(size)), rows, media, dim, text: instruction + response, scored: response };
  return (await rivals?.torch(...storages.map((storage) => [{ ...request, storage }, AS[storage]] as const))) ?? [];
}
