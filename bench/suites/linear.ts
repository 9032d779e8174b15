// Products through a decoder layer's weights: dense and quantised, alone and with a LoRA branch of rank 64, forward and back. Weights go round a set that is
// larger than the last cache, as a model's do; activations stay. On the CPU up to 16 rows are held against memory, from 64 on against the registers; on a
// card, where calls are a graph, against the longer of both, and beside 4 bit stands PyTorch that makes the weight dense first.
import type { Device } from "../../lib/index.js";
import type { LlamaConfig } from "../../lib/models/llama-config.js";
import { capturedSampler } from "../captured.js";
import { contest, type Figures } from "../contest.js";
import { atEachLevel, type Place } from "../levels.js";
import { floorOf } from "../limits.js";
import { PASSES, type Pass, Product, STORAGES, type Stored, WeightSet } from "../products.js";
import { randomConfig } from "../random-llama.js";
import { commit } from "../record.js";
import type { Prepared } from "../rivals/process.js";
import type { SuiteOptions } from "../suite.js";

const ROWS = [1, 2, 4, 8, 16, 64, 192, 512];
/** Of a decode step, its batches, and the rows of training steps. */
const ROWS_ON_A_CARD = [1, 16, 64, 256, 768];
const DEQUANTISED = { eager: "dequantised, eager", compiled: "dequantised, compiled", bitsandbytes: "dequantised by bitsandbytes" };
const [MOST_BY_MEMORY, LEAST_BY_REGISTERS] = [16, 64];
const TURNS = 5;

export default function linear(options: SuiteOptions): Promise<Figures[]> {
  const shapes = layerShapes(randomConfig(options.size));
  const rowsOf = options.device === "cpu" ? ROWS : ROWS_ON_A_CARD;
  return atEachLevel(options, async (place, report) => {
    for (const shape of shapes) {
      const cases = STORAGES.map((storage) => ({
        storage,
        chosen: rowsOf
          .flatMap((rows) => PASSES.map((pass) => ({ rows, pass, name: nameOf(storage, shape, rows, pass) })))
          .filter(({ name }) => name.includes(options.filter)),
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

export const layerShapes = ({ hiddenSize: C, intermediateSize: F, heads, kvHeads, headDim: D }: LlamaConfig) => [
  { name: "q, o", I: C, O: heads * D },
  { name: "k, v", I: C, O: kvHeads * D },
  { name: "gate, up", I: C, O: F },
  { name: "down", I: F, O: C },
];

export const nameOf = (storage: Stored, { name, I, O }: { name: string; I: number; O: number }, rows: number, pass: Pass): string =>
  `${storage}, ${name} ${I} to ${O}, ${rows} rows, ${pass}`;

/** With LoRA what the branch adds, on many rows of 16 bit what decoding costs: the same product without it. */
function ownRival(own: WeightSet, dense: WeightSet, rows: number, pass: Pass): { name: string; product: Product } | undefined {
  if (pass.startsWith("LoRA"))
    return { name: "anymal, without LoRA", product: new Product(own, rows, pass === "LoRA forward" ? "forward" : "dX") };
  if (own === dense || own.dtype !== "bf16" || rows < LEAST_BY_REGISTERS) return undefined;
  return { name: "anymal, dense bf16", product: new Product(dense, rows, pass) };
}

async function torchProducts({ rivals }: SuiteOptions, device: Device, own: WeightSet, rows: number, pass: Pass): Promise<Prepared[][]> {
  if (!rivals || pass.startsWith("LoRA")) return [];
  const { I, O } = own.shape;
  const { dtype, copies } = own;
  const request = { dtype, rows, in: I, out: O, copies, pass };
  if (own.storage === dtype) return [await rivals.torch([{ what: "linear", ...request }, dtype])];
  if (own.storage !== "nf4 nested" || device.name === "cpu") return [];
  const ways = await rivals.torch(
    ...Object.entries(DEQUANTISED).map(([as, name]) => [{ what: "dequantised", ...request, as }, name] as const),
  );
  return ways.map((way) => [way]);
}

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
  const { dtype, copies } = own;
  const onCpu =
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
    limit: device.name === "cpu" ? onCpu : floorOf(peaks, dtype, flops, bytes),
    more: (seconds: number) => ({ "GFLOP/s": flops / seconds / 1e9, "GB/s": bytes / seconds / 1e9 }),
  };
  const torch = await torchProducts(options, device, own, rows, pass);
  const other = ownRival(own, dense, rows, pass);
  using theirs = other ? await capturedSampler(device, () => other.product.enqueue(), copies) : undefined;
  using ours = await capturedSampler(device, () => product.enqueue(), copies);
  const beside = other && theirs ? [[{ name: other.name, version: commit(), sample: () => theirs.sample() }]] : [];
  const figures = await contest(told, () => ours.sample(), [...torch, ...beside], options.turns ?? TURNS, true);
  other?.product[Symbol.dispose]();
  for (const side of torch.flat()) await side.drop();
  return figures;
}
