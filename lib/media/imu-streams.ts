// One sensor of a table: its three columns and its times, rows without a value found or left out.
import type { Pieces } from "../core/turns.js";
import type { Table, Wanted } from "./csv.js";
import { MediaError } from "./error.js";
import type { ImuOptions } from "./imu.js";
import { type Clock, clockOf } from "./imu-clock.js";
import type { Choice, SensorColumns } from "./imu-columns.js";
import type { AccelerationUnit, GyroscopeUnit } from "./imu-names.js";
import type { Say } from "./imu-notice.js";
import { ACCELERATIONS } from "./imu-units.js";

export interface Stream {
  /** x, y, z as they were read. */
  channels: Float64Array[];
  /** Seconds from `origin`; without them samples are `1 / rate` apart. */
  times?: Float64Array | undefined;
  /** Seconds on the clock's own scale. */
  origin: number;
  rate?: number | undefined;
  what: string;
  where(sample: number): string;
  acceleration?: AccelerationUnit | undefined;
  gyroscope?: GyroscopeUnit | undefined;
  /** The names say that gravity was taken out. */
  linear?: string | undefined;
  ros?: boolean | undefined;
}
export interface Streams {
  acceleration?: Stream;
  gyroscope?: Stream;
}

/** What has to be read of a table for a choice. */
export function wantedOf({ acceleration, gyroscope, times }: Choice, needsTime: boolean): Wanted {
  const clocks = needsTime ? times.map(({ at }) => at) : [];
  return { places: [...(acceleration?.at ?? []), ...(acceleration?.gravity ?? []), ...(gyroscope?.at ?? []), ...clocks], clocks };
}

/** `rate`: samples a second, where the clock is not asked. */
export function* streamsOf(
  table: Table,
  choice: Choice,
  rate: number | undefined,
  options: ImuOptions,
  what: string,
  say: Say,
): Pieces<Streams> {
  if (!table.rows) throw new MediaError("E_MEDIA_FORMAT", what, "at least one row", "none", "record it again, or leave it out");
  for (const sentence of choice.decided) say("files", `${what}: ${sentence}`);
  const drop = options.missing === "drop";
  const sensors = { acceleration: choice.acceleration, gyroscope: choice.gyroscope };
  const lacking = Object.values(sensors).flatMap((sensor) => (sensor ? [firstWithout(table, placesOf(sensor))] : []));
  if (rate === undefined && !choice.times.length)
    throw new MediaError(
      "E_MEDIA_OPTION",
      what,
      "a time column, or the option sampleRate",
      table.names.slice(0, 20).map((name) => JSON.stringify(name)).join(", "), // biome-ignore format: short
      'give the option sampleRate in Hz, or name the column with the option columns: { time: "…" }',
    );
  yield;
  const clock = rate === undefined ? clockOf(table, choice.times, options, what) : undefined;
  if (!drop) {
    const timeless = clock?.without === undefined ? [] : [{ row: clock.without, name: clock.name }];
    const first = [...timeless, ...lacking.filter((one) => one !== undefined)].sort((a, b) => a.row - b.row)[0];
    if (first)
      throw new MediaError(
        "E_MEDIA_FORMAT",
        table.where(first.row),
        `a number in the column "${first.name}"`,
        "an empty cell, NaN or NULL",
        'correct the cell, or leave such rows out with the option missing: "drop"',
      );
  }
  if (clock?.sorted) say("rows", `${what}: rows were put into the order of "${clock.name}"`);
  const order = clock?.order ?? Uint32Array.from({ length: table.rows }, (_, row) => row);
  const left = [table.rows - order.length, table.linesLeftOut ?? 0];
  const streams: Streams = {};
  for (const [name, sensor] of Object.entries(sensors) as ["acceleration" | "gyroscope", SensorColumns | undefined][]) {
    if (!sensor) continue;
    yield;
    const { stream, without } = streamOf(table, sensor, order, clock, rate, what);
    if (without) say("rows", `${what}: ${without} of ${table.rows} rows have no ${name}, and are left out of it`);
    streams[name] = stream;
  }
  if (left[0]) say("rows", `${what}: ${left[0]} of ${table.rows} rows have no "${clock!.name}", and are left out`);
  if (left[1]) say("rows", `${what}: ${left[1]} lines have more or fewer cells, and are left out`);
  return streams;
}

const placesOf = ({ at, gravity = [] as number[] }: { at: readonly number[]; gravity?: readonly number[] | undefined }) => [
  ...at,
  ...gravity,
];

function firstWithout(table: Table, places: readonly number[]): { row: number; name: string } | undefined {
  let first: { row: number; name: string } | undefined;
  for (const at of places) {
    const row = table.column(at).findIndex(Number.isNaN);
    if (row >= 0 && (!first || row < first.row)) first = { row, name: table.names[at]! };
  }
  return first;
}

function streamOf(
  table: Table,
  sensor: SensorColumns,
  order: Uint32Array,
  clock: Clock | undefined,
  rate: number | undefined,
  what: string,
): { stream: Stream; without: number } {
  const columns = sensor.at.map((at) => table.column(at));
  const gravity = sensor.gravity?.map((at) => table.column(at));
  const kept = order.filter((row) => ![...columns, ...(gravity ?? [])].some((column) => Number.isNaN(column[row]!)));
  const without = order.length - kept.length;
  if (!kept.length)
    throw new MediaError(
      "E_MEDIA_FORMAT",
      what,
      "at least one whole row",
      `no numbers in ${JSON.stringify(table.names[sensor.at[0]])}`,
      "record it again, or leave it out",
    );
  const [own, other] = [sensor.acceleration, sensor.gravityUnit];
  const factor = own && other ? ACCELERATIONS[other] / ACCELERATIONS[own] : 1;
  const channels = columns.map((column, axis) =>
    Float64Array.from(kept, (row) => column[row]! + (gravity ? factor * gravity[axis]![row]! : 0)),
  );
  let times = clock?.times;
  if (without && clock) {
    const place = new Map(Array.from(order, (row, i) => [row, i]));
    times = Float64Array.from(kept, (row) => clock.times[place.get(row)!]!);
  } else if (without) times = Float64Array.from(kept, (row) => row / rate!);
  const stream: Stream = {
    channels,
    times,
    origin: clock?.origin ?? 0,
    rate: times ? undefined : rate,
    what,
    where: (sample) => table.where(kept[sample]!),
    acceleration: sensor.acceleration ?? sensor.gravityUnit,
    gyroscope: sensor.gyroscope,
    ...(sensor.linear && !gravity && { linear: table.names[sensor.at[0]]! }),
    ...(sensor.ros && { ros: true }),
  };
  return { stream, without };
}
