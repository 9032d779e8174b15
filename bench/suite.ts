// What a suite gets and gives, and how a thing is timed.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Device, device } from "../lib/index.js";
import type { Figures } from "./contest.js";
import type { Peaks } from "./record.js";
import type { Rivals } from "./rivals/index.js";

interface CommonOptions {
  /** cpu, cuda or emulated; ops, decode and train-step run on any, the others on the CPU. */
  device: string;
  threads: number | undefined;
  filter: string;
  /** Of the language model, where there is one. */
  size: string;
}

/** Of a suite whose rows are in the form that bench/schema.json describes. */
export interface SuiteOptions extends CommonOptions {
  /** Of the CPU, one after the other; undefined: the highest. */
  levels: readonly (string | undefined)[];
  /** Turns of each contest, where the suite's own number is not wanted. */
  turns: number | undefined;
  /** Other libraries that take turns with ours. */
  rivals: Rivals | undefined;
  /** demo: one run each. */
  seeds: readonly number[];
  /** demo: times the training steps. */
  effort: number;
  /** Called with all rows after each, so that what was measured is kept if the rest is not. */
  row?: (rows: readonly Figures[]) => void;
  /** What this machine gives at most; default: measured. `bandwidth` is known from a level before. */
  peaks?: (device: Device, bandwidth: number | undefined) => Promise<Peaks>;
  /** Where each line goes; default: the console. */
  say?: (line: string) => void;
  /** Told once per level. */
  measured?: (level: string, peaks: Peaks, threads: number, device: string) => void;
}
export type Suite = (options: SuiteOptions) => Promise<Figures[]>;

/** Of a suite that fills a table of its own: ops, load, align-step, loop-lag. */
export interface TableOptions extends CommonOptions {
  /** ops: a Python that has PyTorch, to time the same beside ours. */
  rival?: string | undefined;
  level: string | undefined;
  /** load: a checkpoint to take in place of a small random one. */
  folder?: string | undefined;
  /** ops: called with all rows after each, so that what was measured is kept if the rest is not. */
  row?: (rows: readonly Row[]) => void;
  /** ops: the row of an earlier run that has these cells, if the run is taken up again. */
  measured?: (cells: Row) => Row | undefined;
  /** Keeps something beside the rows. */
  fact?: (name: string, value: unknown) => void;
}
export const SIZE_NAMES = ["tiny", "small", "1b", "7b", "70b"];
export type Row = Record<string, string | number>;
export type Table = (options: TableOptions) => Promise<Row[]>;

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] as number;
};

/** Median seconds of one `enqueue`, over rounds that each fill at least `roundSeconds` of the device's queue. */
export async function secondsPerCall(device: Device, enqueue: () => void, roundSeconds = 0.02, rounds = 7): Promise<number> {
  let calls = 1;
  const round = async () => {
    await device.synchronize();
    const start = performance.now();
    for (let i = 0; i < calls; ++i) enqueue();
    await device.synchronize();
    return (performance.now() - start) / 1000;
  };
  await round(); // buffers are allocated, pages touched
  for (let t = await round(); t < roundSeconds && calls < 1 << 16; t = await round()) {
    calls = Math.ceil(calls * Math.min(10, Math.max(1.5, (1.2 * roundSeconds) / t)));
  }
  const times: number[] = [];
  for (let i = 0; i < rounds; ++i) times.push((await round()) / calls);
  return median(times);
}

const CACHES = "/sys/devices/system/cpu/cpu0/cache";
const UNITS: Record<string, number> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

/** Bytes of the last cache before memory: a GPU says it, of a CPU the system does; where it does not, 64 MiB. */
export function cacheBytes(device: Device): number {
  const ofGpu = /(\d+) MiB of L2 cache/.exec(device.describe());
  if (ofGpu) return Number(ofGpu[1]) * 2 ** 20;
  try {
    const sizes = readdirSync(CACHES)
      .filter((name) => name.startsWith("index"))
      .map((name) => /^(\d+)([KMG])/.exec(readFileSync(join(CACHES, name, "size"), "utf8")))
      .map((found) => (found ? Number(found[1]) * (UNITS[found[2] as string] as number) : 0));
    return Math.max(...sizes) || 64 * 2 ** 20;
  } catch {
    return 64 * 2 ** 20;
  }
}

/** A call on less than this takes its launch, wherever its operands lie. */
const MOST_COPIES = 512;

/** Sets of operands of `bytes` each that are twice the cache together. */
export const copiesPast = (cache: number, bytes: number): number =>
  Math.min(MOST_COPIES, Math.max(1, Math.ceil((2 * cache) / Math.max(1, bytes))));

export function printRow(row: Row, widths: Record<string, number>): void {
  const cells = Object.entries(widths).map(([key, width]) => {
    const cell = String(row[key] ?? "");
    return typeof row[key] === "number" ? cell.padStart(width) : cell.padEnd(width);
  });
  console.log(cells.join("  "));
}

/** The best of three: a peak measured while something else ran would flatter every row. */
export async function highestPeak(device: Device, what: "f32" | "bf16" | "bandwidth"): Promise<number> {
  const peaks = [await device.peak(what), await device.peak(what), await device.peak(what)];
  return Math.max(...peaks);
}

/** Of bf16 products by a Hopper card's warp groups; 0 where there are none. */
export async function warpGroupPeak(name: string): Promise<number> {
  await using d = device(name, { path: "hopper" });
  return await highestPeak(d, "bf16"); // before it is closed
}

export const digits = (value: number, count: number): number => Number(value.toFixed(count));
export const mebibytes = (bytes: number): number => Math.round(bytes / 2 ** 20);

export function printHeader(widths: Record<string, number>): void {
  console.log(
    Object.entries(widths)
      .map(([key, width]) => key.padStart(width))
      .join("  "),
  );
}
