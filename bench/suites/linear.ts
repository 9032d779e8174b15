// Products through a decoder layer's weights: dense and quantised, alone and with a LoRA branch of rank 64, forward and back. Weights go round a set that is
// larger than the last cache, as a model's do; activations stay. Up to 16 rows are held against memory, from 64 on against the registers.
import { contest, type Figures, type Side, sampler } from "../contest.js";
import { atEachLevel, type Place } from "../levels.js";
import { PASSES, type Pass, Product, STORAGES, type Stored, WeightSet } from "../products.js";
import { randomConfig } from "../random-llama.js";
import { commit } from "../record.js";
import type { SuiteOptions } from "../suite.js";

const ROWS = [1, 2, 4, 8, 16, 64, 192, 512];
const [MOST_BY_MEMORY, LEAST_BY_REGISTERS] = [16, 64];
const TURNS = 5;

export default function linear(options: SuiteOptions): Promise<Figures[]> {
  const { hiddenSize: C, intermediateSize: F, heads, kvHeads, headDim: D } = randomConfig(options.size);
  const shapes = [
    { name: "q, o", I: C, O: heads * D },
    { name: "k, v", I: C, O: kvHeads * D },
    { name: "gate, up", I: C, O: F },
    { name: "down", I: F, O: C },
  ];
  return atEachLevel(options, async (place, report) => {
    for (const shape of shapes) {
      const cases = STORAGES.map((storage) => ({
        storage,
        chosen: ROWS.flatMap((rows) => PASSES.map((pass) => ({ rows, pass, name: nameOf(storage, shape, rows, pass) }))).filter(
          ({ name }) => name.includes(options.filter),
        ),
      })).filter(({ chosen }) => chosen.length);
      if (!cases.length) continue;
      using dense = new WeightSet(place.device, "bf16", shape);
      for (const { storage, chosen } of cases) {
        using own = storage === "bf16" ? undefined : new WeightSet(place.device, storage, shape);
        for (const { rows, pass, name } of chosen) report(await measure(options, place, own ?? dense, dense, rows, pass, name));
      }
    }
  });
}

const nameOf = (storage: Stored, { name, I, O }: { name: string; I: number; O: number }, rows: number, pass: Pass): string =>
  `${storage}, ${name} ${I} to ${O}, ${rows} rows, ${pass}`;

async function measure(
  options: SuiteOptions,
  { device, level, peaks }: Place,
  own: WeightSet,
  dense: WeightSet,
  rows: number,
  pass: Pass,
  name: string,
): Promise<Figures[]> {
  using product = new Product(own, rows, pass);
  const { flops, bytes } = product;
  const dtype = own.dtype;
  const limit =
    rows <= MOST_BY_MEMORY
      ? { name: "memory bandwidth", seconds: bytes / peaks.bandwidth }
      : rows >= LEAST_BY_REGISTERS
        ? { name: `${dtype} register peak`, seconds: flops / peaks[dtype] }
        : undefined;
  const told = {
    case: name,
    level,
    unit: "us",
    of: (seconds: number) => 1e6 * seconds,
    limit,
    more: (seconds: number) => ({ "GFLOP/s": flops / seconds / 1e9, "GB/s": bytes / seconds / 1e9 }),
  };
  const plain = !pass.startsWith("LoRA");
  const { I, O } = own.shape;
  const request = { what: "linear", dtype, rows, in: I, out: O, copies: own.copies, pass };
  const torch = own.storage === dtype && plain ? ((await options.rivals?.torch([request, dtype])) ?? []) : [];
  // What decoding costs: the same product through our own dense weight.
  using other = own !== dense && dtype === "bf16" && plain && rows >= LEAST_BY_REGISTERS ? new Product(dense, rows, pass) : undefined;
  const ourDense: Side[] = other
    ? [{ name: "anymal, dense bf16", version: commit(), sample: await sampler(device, () => other.enqueue()) }]
    : [];
  const ours = await sampler(device, () => product.enqueue());
  const figures = await contest(told, ours, [torch, ourDense], options.turns ?? TURNS, true);
  for (const side of torch) await side.drop();
  return figures;
}
