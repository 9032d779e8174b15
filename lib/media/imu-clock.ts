// Which column is the clock, in what unit it counts, and in what order that puts the rows. A unit that cannot be known is asked for.
import type { Table } from "./csv.js";
import { MediaError } from "./error.js";
import type { TimeColumn } from "./imu-columns.js";
import { listed } from "./imu-columns.js";
import type { TimeUnit } from "./imu-names.js";

export interface Clock {
  name: string;
  /** Rows with a time, as it puts them. */
  order: Uint32Array;
  /** Seconds of these rows, from the first. */
  times: Float64Array;
  /** Seconds of the first on the clock's own scale. */
  origin: number;
  /** The first row without a time. */
  without: number | undefined;
  /** Rows came in another order. */
  sorted: boolean;
}
export interface ClockOptions {
  time?: TimeUnit | undefined;
  sort?: boolean | undefined;
}

export const SECONDS: Readonly<Record<TimeUnit, number>> = { s: 1, ms: 1e-3, us: 1e-6, ns: 1e-9 };
const UNITS = Object.keys(SECONDS) as TimeUnit[];
/** What a clock may give that says its unit, in Hz. */
const SAID = { least: 0.5, most: 8000 };
/** Steps of 1.9 to 100 are milliseconds where nothing is said (526 to 10 Hz), and so on. What lies between could be a count, ticks, or a slow clock. */
const UNSAID: Readonly<Record<TimeUnit, readonly [number, number]>> = {
  s: [1 / SAID.most, 0.25],
  ms: [1.9, 100],
  us: [1900, 100e3],
  ns: [1.9e6, 100e6],
};
/** Seconds from 1970 to these years tell their unit by their size. */
const EPOCH = [Date.UTC(2000) / 1000, Date.UTC(2100) / 1000] as const;

export function clockOf(table: Table, columns: readonly TimeColumn[], options: ClockOptions, what: string): Clock {
  const canonical = columns.find((column) => column.canonical);
  const candidates = canonical ? [canonical] : columns;
  if (candidates.length === 1) return read(table, candidates[0]!, options, what);
  const clocks: { column: TimeColumn; clock: Clock }[] = [];
  let failed: unknown;
  for (const column of candidates)
    try {
      clocks.push({ column, clock: read(table, column, options, what) });
    } catch (error) {
      failed ??= error;
    }
  if (!clocks.length) throw failed;
  const rank = ({ column }: { column: TimeColumn }) => (table.dates.has(column.at) ? 2 : column.unit ? 0 : 1);
  const best = [...clocks].sort((a, b) => rank(a) - rank(b))[0]!;
  const length = ({ times }: Clock) => times.at(-1)!;
  const wanted = length(best.clock);
  const other = clocks.find(({ clock }) => Math.abs(length(clock) - wanted) > 0.02 * wanted + 1);
  if (other)
    throw new MediaError(
      "E_MEDIA_FORMAT",
      what,
      "one clock",
      `several that do not agree: ${listed([best, other].map(({ column }) => column.name))} last ${wanted} s and ${length(other.clock)} s`,
      `say which with the option columns: { time: ${JSON.stringify(best.column.name)} }`,
    );
  return best.clock;
}

function read(table: Table, column: TimeColumn, options: ClockOptions, what: string): Clock {
  const stamps = table.column(column.at);
  if (table.unread.has(column.at))
    throw format(
      what,
      `numbers or dates in the column "${column.name}"`,
      "other texts",
      'name another clock with the option columns: { time: "…" }, or give the option sampleRate in Hz',
    );
  const rows: number[] = [];
  let without: number | undefined;
  for (let row = 0; row < table.rows; ++row)
    if (Number.isNaN(stamps[row]!)) without ??= row;
    else rows.push(row);
  if (!rows.length)
    throw format(
      what,
      `a time in the column "${column.name}"`,
      "none in any row",
      "name another clock with the option columns, or give the option sampleRate in Hz",
    );
  const late = rows.findIndex((row, i) => i > 0 && stamps[row]! < stamps[rows[i - 1]!]!);
  const sorted = late > 0;
  if (sorted) {
    // Ego4D says itself that packets may come in another order; elsewhere a clock that goes back may begin a second recording.
    if (!(options.sort ?? column.canonical))
      throw format(
        table.where(rows[late]!),
        "time that goes forward",
        `${stamps[rows[late]!]} after ${stamps[rows[late - 1]!]}`,
        "sort the rows with the option sort: true, or split the recording",
      );
    rows.sort((a, b) => stamps[a]! - stamps[b]! || a - b);
  }
  const first = stamps[rows[0]!]!;
  const steps = Float64Array.from(rows.slice(1), (row, i) => stamps[row]! - stamps[rows[i]!]!);
  const scale = SECONDS[unitOf(first, steps, column, table.dates.has(column.at), options, what)];
  const times = Float64Array.from(rows, (row) => (stamps[row]! - first) * scale);
  return { name: column.name, order: Uint32Array.from(rows), times, origin: first * scale, without, sorted };
}

function unitOf(first: number, steps: Float64Array, column: TimeColumn, isDate: boolean, { time }: ClockOptions, what: string): TimeUnit {
  const ascending = steps.filter((step) => step > 0).sort();
  if (!ascending.length) throw format(what, "time that goes forward", "one time in all rows", "give the option sampleRate in Hz");
  if (ascending.length < steps.length / 2)
    throw format(
      what,
      "a time for each row",
      `${steps.length - ascending.length} of ${steps.length + 1} rows with the time of the row before`,
      "the clock is coarser than the samples: give the option sampleRate in Hz",
    );
  if (isDate) return "s";
  if (time) return time;
  const quarter = ascending[ascending.length >> 2]!;
  const median = ascending[(ascending.length - 1) >> 1]!;
  const most = ascending[(3 * (ascending.length - 1)) >> 2]!;
  if (column.unit) return saidUnit(column.unit, median, column.name, what);
  const mean = steps.reduce((sum, step) => sum + step, 0) / steps.length;
  if (mean > 10 * median)
    throw format(
      what,
      "steady time stamps",
      `steps of ${shortNumber(median)}, on average ${shortNumber(mean)}`,
      "give the option sampleRate in Hz, or cut the gaps out",
    );
  const byEpoch = UNITS.find((unit) => first * SECONDS[unit] >= EPOCH[0] && first * SECONDS[unit] < EPOCH[1]);
  if (byEpoch && isRate(1 / (median * SECONDS[byEpoch]), 2)) return byEpoch;
  const bySteps = UNITS.find((unit) => [quarter, median, most].every((step) => step >= UNSAID[unit][0] && step <= UNSAID[unit][1]));
  if (bySteps) return bySteps;
  throw new MediaError(
    "E_MEDIA_OPTION",
    what,
    `the unit of the clock "${column.name}"`,
    `steps of ${shortNumber(median)}, which may be a count or time in any unit`,
    'give the option time: "s", "ms", "us" or "ns", or the option sampleRate in Hz',
  );
}

/** A unit that a name says, where it makes sense. */
function saidUnit(unit: TimeUnit, step: number, name: string, what: string): TimeUnit {
  const rate = (of: TimeUnit) => 1 / (step * SECONDS[of]);
  if (isRate(rate(unit), SAID.least)) return unit;
  const likely = UNITS.find((other) => isRate(rate(other), 4));
  throw new MediaError(
    "E_MEDIA_OPTION",
    what,
    `a clock in ${unit}, as the name "${name}" says`,
    `steps of ${shortNumber(step)}, which would be ${shortNumber(rate(unit))} Hz`,
    `${likely ? `give the option time: "${likely}" if it is ${shortNumber(rate(likely))} Hz` : `give the option time: "${unit}" if it is so`}, or the option sampleRate in Hz`,
  );
}

const isRate = (rate: number, least: number): boolean => rate >= least && rate <= SAID.most * 1.01;
export const shortNumber = (value: number): string => String(Number(value.toPrecision(4)));

function format(where: string, wanted: string, got: string, remedy: string): MediaError {
  return new MediaError("E_MEDIA_FORMAT", where, wanted, got, remedy);
}
