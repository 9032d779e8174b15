// Two or more sides that do the same thing, in turns, so that whatever else the machine does meets all of them; and the figures that come of it.

import type { Device } from "../lib/index.js";
import { now } from "./clock.js";
import { median } from "./suite.js";

/** One that is timed. */
export interface Side {
  /** Of a rival: what the result calls it. */
  name: string;
  version: string;
  /** Seconds of one call, or step. */
  sample(): Promise<number>;
}

/** What a result says of one case at one dispatch level. bench/schema.json describes each field. */
export interface Figures {
  case: string;
  level: string;
  unit: string;
  median: number;
  min: number;
  max: number;
  samples: number;
  share: number | null;
  of: string | null;
  /** What the same samples say in other units. */
  more: Record<string, number>;
  rival: RivalFigures | null;
}
export interface RivalFigures {
  name: string;
  version: string;
  median: number;
  min: number;
  max: number;
  /** How many times as fast ours is: the median over the turns. */
  ratio: number;
}

/** Seconds of each side in each turn, ours first. Before them a turn in which pages are touched and code is compiled, unless they are `warm`. */
export async function inTurns(sides: readonly Side[], turns: number, warm = false): Promise<number[][]> {
  const seconds: number[][] = sides.map(() => []);
  for (let turn = warm ? 0 : -1; turn < turns; ++turn)
    for (const [i, side] of sides.entries()) {
      const taken = await side.sample();
      if (turn >= 0) (seconds[i] as number[]).push(taken);
    }
  return seconds;
}

/** Samples of `enqueue` that each fill at least `seconds` of the device's queue, which is warm by then. */
export async function sampler(device: Device, enqueue: () => void, seconds = 0.01): Promise<() => Promise<number>> {
  let calls = 1;
  const round = async () => {
    await device.synchronize();
    const start = now();
    for (let i = 0; i < calls; ++i) enqueue();
    await device.synchronize();
    return now() - start;
  };
  await round(); // buffers are allocated
  for (let t = await round(); t < seconds && calls < 1 << 16; t = await round())
    calls = Math.ceil(calls * Math.min(10, Math.max(1.5, (1.2 * seconds) / t)));
  return async () => (await round()) / calls;
}

export interface Told {
  case: string;
  level: string;
  unit: string;
  /** The figure of so many seconds: a time, or a rate. */
  of: (seconds: number) => number;
  /** The physical limit: what it is, and how many seconds it allows. */
  limit?: { name: string; seconds: number } | undefined;
  more?: (seconds: number) => Record<string, number>;
}

/**
 * One result for each group of rivals, or one alone where there are none. Of a group, such as one library with one thread and with two, the fastest counts.
 */
export function figuresOf(told: Told, ours: readonly number[], groups: readonly (readonly { side: Side; seconds: readonly number[] }[])[]) {
  const typical = median(ours);
  const limit = Number.isFinite(told.limit?.seconds) ? told.limit : undefined; // where no peak was measured, nothing limits
  const own = {
    case: told.case,
    level: told.level,
    unit: told.unit,
    ...spread(ours, told.of),
    samples: ours.length,
    share: limit ? rounded(limit.seconds / typical) : null,
    of: limit?.name ?? null,
    more: Object.fromEntries(Object.entries(told.more?.(typical) ?? {}).map(([key, value]) => [key, rounded(value)])),
  };
  const rivals = groups.flatMap((group) => [...group].sort((a, b) => median(a.seconds) - median(b.seconds))[0] ?? []);
  if (!rivals.length) return [{ ...own, rival: null }];
  return rivals.map(({ side: { name, version }, seconds }): Figures => {
    const ratio = rounded(median(seconds.map((theirs, turn) => theirs / (ours[turn] as number))));
    return { ...own, rival: { name, version, ...spread(seconds, told.of), ratio } };
  });
}

function spread(seconds: readonly number[], of: (seconds: number) => number): { median: number; min: number; max: number } {
  const values = seconds.map(of);
  return { median: rounded(median(values)), min: rounded(Math.min(...values)), max: rounded(Math.max(...values)) };
}

/** Four digits that count. */
export const rounded = (value: number): number => Number(value.toPrecision(4));

/** Ours against each group of rivals. */
export async function contest(
  told: Told,
  ours: () => Promise<number>,
  groups: readonly (readonly Side[])[],
  turns: number,
  warm = false,
): Promise<Figures[]> {
  const sides = [{ name: "anymal", version: "", sample: ours }, ...groups.flat()];
  const seconds = await inTurns(sides, turns, warm);
  const taken = new Map(sides.map((side, i) => [side as Side, seconds[i] as number[]]));
  const timed = groups.map((group) => group.map((side) => ({ side, seconds: taken.get(side) as number[] })));
  return figuresOf(told, seconds[0] as number[], timed);
}
