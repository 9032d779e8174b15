// What a suite gets and gives, and how a thing is timed.
import type { Device } from "../lib/index.js";

export interface SuiteOptions {
  /** cpu, cuda or emulated; the suite `ops` runs on any, the others on the CPU. */
  device: string;
  /** ops: a Python that has PyTorch, to time the same beside ours. */
  rival?: string | undefined;
  level: string | undefined;
  threads: number | undefined;
  filter: string;
  /** Of the language model, where there is one. */
  size: string;
  /** load: a checkpoint to take in place of a small random one. */
  folder?: string | undefined;
}
export const SIZE_NAMES = ["tiny", "small", "1b", "7b"];
export type Row = Record<string, string | number>;
export type Suite = (options: SuiteOptions) => Promise<Row[]>;

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

export const digits = (value: number, count: number): number => Number(value.toFixed(count));
export const mebibytes = (bytes: number): number => Math.round(bytes / 2 ** 20);

export function printHeader(widths: Record<string, number>): void {
  console.log(
    Object.entries(widths)
      .map(([key, width]) => key.padStart(width))
      .join("  "),
  );
}
