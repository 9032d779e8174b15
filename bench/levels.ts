// A suite at each dispatch level of the CPU that it was asked for, or on another device, beside what the same run measured of that machine's limits.
import { type Device, device } from "../lib/index.js";
import { clockInUse } from "./clock.js";
import type { Figures } from "./contest.js";
import type { Peaks } from "./record.js";
import { highestPeak, type SuiteOptions, warpGroupPeak } from "./suite.js";

/** Those that users have. "generic" is measured where it is named. */
export const LEVELS = ["avx2", "avx512", "avx512_bf16", "amx"];

export interface Place {
  device: Device;
  /** The dispatch level, or the other device's name. */
  level: string;
  peaks: Peaks;
}

/** What each row of a suite goes through on its way. */
export type Report = (rows: readonly Figures[]) => void;

export async function atEachLevel(options: SuiteOptions, work: (place: Place, report: Report) => Promise<void>): Promise<Figures[]> {
  const rows: Figures[] = [];
  const { peaks: measure = peaksOf, say = console.log } = options;
  let bandwidth: number | undefined; // the same at every level
  for (const level of options.levels) {
    const opened = open(options, level);
    if (!opened) continue;
    await using d = opened;
    const peaks = await measure(d, bandwidth);
    const { f32, bf16 } = peaks;
    bandwidth = peaks.bandwidth;
    const place = { device: d, level: d.name === "cpu" ? nameOf(d.describe()) : d.name, peaks };
    const said = f32 ? [`${giga(f32)} GFLOP/s f32`, `${giga(bf16)} bf16`, `${(bandwidth / 1e9).toFixed(1)} GB/s`] : ["none"];
    if (peaks.wgmma) said.push(`${giga(peaks.wgmma)} GFLOP/s bf16 by wgmma`);
    say(`${d.describe()}: measured peaks ${said.join(", ")}`);
    options.measured?.(place.level, place.peaks, threadsOf(d.describe()), d.describe());
    await work(place, (more) => {
      rows.push(...more);
      for (const row of more) say(lineOf(row));
      options.row?.(rows);
    });
  }
  return rows;
}

/** Undefined where this machine lacks a level of several; of one that was named the error says so. */
function open({ device: name, threads, levels }: SuiteOptions, level: string | undefined): Device | undefined {
  if (name !== "cpu") return device(name);
  try {
    return device("cpu", { ...(level && { level }), ...(threads && { threads }) });
  } catch (error) {
    if (levels.length === 1) throw error;
    return undefined;
  }
}

/** Of one thread by its own clock, of several by the wall's: where seconds of several threads count, nothing is held against them. */
async function peaksOf(d: Device, bandwidth: number | undefined): Promise<Peaks> {
  if (d.name === "emulated") return { f32: 0, bf16: 0, bandwidth: 0 }; // what an emulator can do is nobody's limit
  if (clockInUse() !== "wall" && threadsOf(d.describe()) !== 1) return { f32: 0, bf16: 0, bandwidth: 0 };
  const [f32, bf16] = [await highestPeak(d, "f32"), await highestPeak(d, "bf16")];
  const peaks = { f32, bf16, bandwidth: bandwidth ?? (await highestPeak(d, "bandwidth")) };
  return d.name === "cpu" ? peaks : { ...peaks, wgmma: await warpGroupPeak(d.name) };
}

const giga = (rate: number) => (rate / 1e9).toFixed(0);
/** Of "cpu: amx, 2 threads". */
export const nameOf = (description: string): string => /^cpu: (\w+)/.exec(description)?.[1] ?? "cpu";
export const threadsOf = (description: string): number => Number(/(\d+) threads?/.exec(description)?.[1] ?? 0);

function lineOf({ case: name, level, unit, median, min, max, share, of, rival }: Figures): string {
  const own = `${level.padEnd(11)}  ${name.padEnd(52)}  ${`${median}`.padStart(8)} ${unit} (${min} to ${max})`;
  const limit = share === null ? "" : `, ${(100 * share).toFixed(0)} % of ${of}`;
  return `${own}${limit}${rival ? `; ${rival.name}: ${rival.median} (${rival.min} to ${rival.max}), ratio ${rival.ratio}` : ""}`;
}
