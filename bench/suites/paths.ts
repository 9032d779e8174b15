// The kernels that a card has for products with quantised weights, each on the same shapes, in turns: what cuda/linear/path.cu chooses from. The CPU has one
// way alone, and no rows here.
import { type Device, device } from "../../lib/index.js";
import { capturedSampler, type Sampled } from "../captured.js";
import { type Figures, figuresOf, inTurns, type Side } from "../contest.js";
import { atEachLevel, type Place } from "../levels.js";
import { floorOf } from "../limits.js";
import { PATHS, pathCase } from "../path-table.js";
import { type Pass, Product, WeightSet } from "../products.js";
import { randomConfig } from "../random-llama.js";
import { commit } from "../record.js";
import type { SuiteOptions } from "../suite.js";
import { layerShapes, nameOf } from "./linear.js";

const STORED = ["nf4 nested", "int8"] as const;
const THROUGH: readonly Pass[] = ["forward", "dX"];
const ROWS = [1, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
const TINY_ROWS = [1, 40];
const TURNS = 3;

export default function paths(options: SuiteOptions): Promise<Figures[]> {
  return atEachLevel(options, async (place, report) => {
    if (place.device.name === "cpu") return;
    const devices = new Map(PATHS.map((path) => [path, device(options.device, { path })]));
    for (const shape of layerShapes(randomConfig(options.size)))
      for (const storage of STORED) {
        const named = (rows: number, pass: Pass) => nameOf(storage, shape, rows, pass);
        const cases = (options.size === "tiny" ? TINY_ROWS : ROWS).flatMap((rows) => THROUGH.map((pass) => ({ rows, pass })));
        const chosen = cases.filter(({ rows, pass }) => named(rows, pass).includes(options.filter));
        if (!chosen.length) continue;
        const sets = new Map([...devices].map(([path, d]) => [path, new WeightSet(d, storage, shape)]));
        for (const { rows, pass } of chosen) report(await measure(options, place, sets, rows, pass, named(rows, pass)));
        for (const set of sets.values()) set[Symbol.dispose]();
      }
    for (const d of devices.values()) await d.close();
  });
}

interface Way extends Side, Disposable {
  product: Product;
}

/** Undefined where this path cannot make this product. */
async function wayOf(path: string, d: Device, set: WeightSet, rows: number, pass: Pass): Promise<Way | undefined> {
  const product = new Product(set, rows, pass);
  let sampled: Sampled;
  try {
    product.enqueue();
    await d.synchronize();
    sampled = await capturedSampler(d, () => product.enqueue(), set.copies);
  } catch (error) {
    product[Symbol.dispose]();
    if (/the path "\w+", .* does not make/.test((error as Error).message)) return undefined;
    throw error;
  }
  const { sample } = sampled;
  const dispose = () => {
    sampled[Symbol.dispose]();
    product[Symbol.dispose]();
  };
  return { name: path, version: commit(), product, sample, [Symbol.dispose]: dispose };
}

async function measure(
  options: SuiteOptions,
  { level, peaks }: Place,
  sets: ReadonlyMap<string, WeightSet>,
  rows: number,
  pass: Pass,
  name: string,
): Promise<Figures[]> {
  const ways: Way[] = [];
  for (const [path, set] of sets) ways.push(...[(await wayOf(path, set.device, set, rows, pass)) ?? []].flat());
  const seconds = await inTurns(ways, options.turns ?? TURNS, true);
  const figures = ways.flatMap(({ name: path, product: { flops, bytes } }, i) => {
    const told = { case: pathCase(name, path), level, unit: "us", of: (s: number) => 1e6 * s, limit: floorOf(peaks, "bf16", flops, bytes) };
    return figuresOf(told, seconds[i] as number[], []);
  });
  for (const way of ways) way[Symbol.dispose]();
  return figures;
}
