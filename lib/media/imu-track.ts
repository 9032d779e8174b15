// A recording as it was read, and its samples at even steps in m/s² and rad/s.
import type { Pieces } from "../core/turns.js";
import { MediaError } from "./error.js";
import type { ImuOptions, ImuRecording } from "./imu.js";
import { shortNumber } from "./imu-clock.js";
import { IMU_LIMITS } from "./imu-limits.js";
import type { AccelerationUnit, GyroscopeUnit } from "./imu-names.js";
import type { Say } from "./imu-notice.js";
import type { Stream } from "./imu-streams.js";
import { ACCELERATIONS, TURNS } from "./imu-units.js";
import type { Matrix } from "./npy.js";
import { checkLength } from "./window.js";

/** One sensor in SI units, axes in place. */
export interface Sensor {
  /** x, y, z. */
  channels: Float64Array[];
  /** Seconds from the recording's beginning, the first may lie before it; without them `sampleRate` is there. */
  times?: Float64Array;
  sampleRate?: number;
  where(sample: number): string;
}
export interface Track {
  sensors: [Sensor, Sensor];
  /** Seconds up to which both were recorded. */
  end: number;
}

/** An hour at 9 kHz. */
const MOST_SAMPLES = 2 ** 25;
/** A hole is longer than this, and than four usual steps. */
const TOLD_GAP = 0.1;

interface Units {
  acceleration: AccelerationUnit;
  gyroscope: GyroscopeUnit;
}

/** Both sensors on one clock. It begins with the first sample of the accelerometer at which both were there. */
export function trackOf(acceleration: Stream, gyroscope: Stream, units: Units, axes: readonly string[] | undefined, what: string): Track {
  const turned = turner(axes, what);
  const channels = [turned(acceleration.channels, ACCELERATIONS[units.acceleration]), turned(gyroscope.channels, TURNS[units.gyroscope])];
  const streams = [acceleration, gyroscope] as const;
  const timed = acceleration.times && gyroscope.times;
  if (!timed) {
    const rate = (acceleration.rate ?? gyroscope.rate)!;
    const even = streams.map(({ times, channels: [x] }) => times ?? Float64Array.from({ length: x!.length }, (_, i) => i / rate));
    const isEven = !acceleration.times && !gyroscope.times;
    const sensors = streams.map(({ where }, i) => ({
      channels: channels[i]!,
      ...(isEven ? { sampleRate: rate } : { times: even[i]! }),
      where,
    }));
    return { sensors: sensors as [Sensor, Sensor], end: Math.min(...even.map((times) => times.at(-1)!)) };
  }
  const shift = gyroscope.times === acceleration.times ? 0 : gyroscope.origin - acceleration.origin;
  const later = gyroscope.times![0]! + shift;
  const first = acceleration.times!.findIndex((t) => t >= later - 1e-9);
  const end = Math.min(acceleration.times!.at(-1)!, gyroscope.times!.at(-1)! + shift);
  const zero = first < 0 ? Infinity : acceleration.times![first]!;
  if (zero > end)
    throw new MediaError(
      "E_MEDIA_FORMAT",
      what,
      "sensors that were recorded at the same time",
      `the accelerometer from ${spanOf(acceleration)} and the gyroscope from ${spanOf(gyroscope)}`,
      "join files of one recording, or give the option sampleRate in Hz where both have it and begin together",
    );
  const moved = [zero, zero - shift].map((by, i) => (by === 0 ? streams[i]!.times! : streams[i]!.times!.map((t) => t - by)));
  const sensors = streams.map(({ where }, i) => ({ channels: channels[i]!, times: moved[i]!, where }));
  return { sensors: sensors as [Sensor, Sensor], end: end - zero };
}

const spanOf = ({ times, origin }: Stream): string => `${shortNumber(origin + times![0]!)} to ${shortNumber(origin + times!.at(-1)!)} s`;

/** Axes of a sensor where the option says, times a factor. */
function turner(
  axes: readonly string[] = ["x", "y", "z"],
  what: string,
): (channels: readonly Float64Array[], scale: number) => Float64Array[] {
  const read = Array.isArray(axes) ? axes.map((axis) => /^([+-]?)([xyz])$/.exec(axis)) : [];
  if (read.length !== 3 || new Set(read.map((axis) => axis?.[2])).size !== 3 || read.includes(null))
    throw new MediaError("E_MEDIA_OPTION", what, 'axes like ["x", "-z", "y"]', JSON.stringify(axes), "name each of x, y, z once");
  return (channels, scale) =>
    read.map((axis) => {
      const factor = axis![1] === "-" ? -scale : scale;
      const column = channels["xyz".indexOf(axis![2]!)]!;
      return factor === 1 ? column : column.map((v) => v * factor);
    });
}

/** (N, 6) or (6, N) without names: the six channels. */
export function matrixChannels({ values, shape }: Matrix, options: ImuOptions, what: string): Float64Array[] {
  const byShape = shape[0] === 6 ? "columns" : "rows";
  if (shape[0] === 6 && shape[1] === 6 && !options.orientation)
    throw new MediaError(
      "E_MEDIA_OPTION",
      what,
      "the option orientation for (6, 6)",
      "none",
      'give the option orientation: "rows" or "columns"',
    );
  const orientation = options.orientation ?? byShape;
  const [n, width] = orientation === "rows" ? shape : [shape[1], shape[0]];
  if (width !== 6 || !n)
    throw bad(
      what,
      orientation === "rows" ? "(N, 6)" : "(6, N)",
      `(${shape.join(", ")})`,
      "keep accelerometer x, y, z and gyroscope x, y, z only, or turn the option orientation",
    );
  const at = orientation === "rows" ? (c: number, i: number) => i * 6 + c : (c: number, i: number) => c * n + i;
  return Array.from({ length: 6 }, (_, c) => {
    const column = new Float64Array(n);
    for (let i = 0; i < n; ++i) {
      column[i] = values[at(c, i)]!;
      if (!Number.isFinite(column[i]))
        throw bad(what, "finite samples", `${column[i]} in sample ${i}`, "remove it, or make the file again");
    }
    return column;
  });
}

/** The rate of even time stamps, or the usual one of uneven; of sensors that differ, the faster one's. */
export function ownRate({ sensors }: Track): number {
  const [a, g] = sensors.map(rateOf) as [number, number];
  return g > 1.02 * a ? g : a;
}

export function rateOf({ times, sampleRate }: Pick<Sensor, "times" | "sampleRate">): number {
  if (!times) return sampleRate!;
  const steps = times.length - 1;
  if (!steps) return 1;
  const mean = steps / (times[steps]! - times[0]!);
  if (isEven(times, mean)) return snapped(mean);
  const median = usualStep(times);
  return snapped(median > 0 ? 1 / median : mean);
}

/** The median of the steps. */
function usualStep(times: Float64Array): number {
  const spans = times.subarray(1).map((t, i) => t - times[i]!);
  return spans.sort()[spans.length >> 1]!;
}
// Stamps that are rounded (to ms, say) still count as even.
function isEven(times: Float64Array, rate: number): boolean {
  return times.every((t, i) => Math.abs((t - times[0]!) * rate - i) < 0.05);
}
// 99.99999 is 100.
const snapped = (rate: number): number => (Math.abs(rate - Math.round(rate)) < 1e-4 * rate ? Math.round(rate) : rate);

/** Samples at start + k/rate, up to the last that was recorded; at most `most`. */
export function* sampled(track: Track, rate: number, options: ImuOptions, what: string, say: Say, most = Infinity): Pieces<ImuRecording> {
  const { start = 0, seconds, maxSeconds = IMU_LIMITS.maxSeconds } = options;
  const { end } = track;
  if (start > end) throw new MediaError("E_MEDIA_OPTION", what, "start inside the recording", `${start} s of ${end} s`, "begin earlier");
  const toEnd = Math.floor((end - start) * rate + 1e-6) + 1;
  const taken = Math.min(toEnd, seconds === undefined ? Infinity : Math.max(1, Math.round(seconds * rate)));
  checkLength(what, taken / rate, maxSeconds);
  const count = Math.min(taken, most);
  if (count > MOST_SAMPLES)
    throw new MediaError("E_MEDIA_LIMIT", what, `at most ${MOST_SAMPLES} samples`, `${count} at ${shortNumber(rate)} Hz`, "take a part with the options start and seconds, or give the option sampleRate in Hz"); // biome-ignore format: one line
  const samples = new Float32Array(6 * count);
  const [acceleration, gyroscope] = track.sensors;
  const last = start + (count - 1) / rate;
  const together = acceleration.times === gyroscope.times;
  checkHoles(acceleration, together ? "sensors" : "accelerometer", start, last, options, what, say);
  yield;
  if (!together) checkHoles(gyroscope, "gyroscope", start, last, options, what, say);
  for (const [at, sensor] of track.sensors.entries()) {
    yield;
    yield* fill(samples.subarray(3 * at * count, 3 * (at + 1) * count), sensor, start, rate, count);
  }
  return { samples, sampleRate: rate };
}

const FILLED_AT_ONCE = 2 ** 14;

function* fill(into: Float32Array, { channels, times, sampleRate }: Sensor, start: number, rate: number, count: number): Pieces<void> {
  const recorded = channels[0]!.length;
  let i = 0;
  for (let k = 0; k < count; ++k) {
    let place: number;
    if (times) {
      const t = start + k / rate;
      while (i + 2 < recorded && times[i + 1]! <= t) ++i;
      const step = times[i + 1]! - times[i]!;
      place = i + (step > 0 ? Math.max(0, Math.min(1, (t - times[i]!) / step)) : recorded > 1 ? 1 : 0);
    } else {
      place = Math.min(recorded - 1, start * sampleRate! + k * (sampleRate! / rate));
    }
    const before = Math.floor(place);
    const part = place - before;
    for (const [c, channel] of channels.entries()) {
      const from = channel[before]!;
      const to = channel[Math.min(before + 1, recorded - 1)]!;
      into[c * count + k] = from + part * (to - from);
    }
    if ((k + 1) % FILLED_AT_ONCE === 0) yield;
  }
}

/** Where nothing was recorded there is no motion to be read: said, and refused where it is long. */
function checkHoles({ times, where }: Sensor, name: string, from: number, to: number, options: ImuOptions, what: string, say: Say): void {
  if (!times || times.length < 3) return;
  const { maxGap = IMU_LIMITS.maxGap } = options;
  const least = Math.max(TOLD_GAP, 4 * usualStep(times));
  const holes: { at: number; seconds: number }[] = [];
  for (let i = 0; i + 1 < times.length; ++i)
    if (times[i + 1]! - times[i]! > least && times[i]! < to && times[i + 1]! > from)
      holes.push({ at: i, seconds: times[i + 1]! - times[i]! });
  if (!holes.length) return;
  const longest = holes.reduce((one, other) => (other.seconds > one.seconds ? other : one));
  const text = `${shortNumber(longest.seconds)} s without samples of the ${name} from ${shortNumber(times[longest.at]!)} s on`;
  if (longest.seconds > maxGap)
    throw bad(
      where(longest.at),
      `no hole of more than ${maxGap} s`,
      text,
      `take a part with the options start and seconds, or have it bridged with the option maxGap: ${Math.ceil(longest.seconds * 10 + 1) / 10}`,
    );
  const others = holes.length > 1 ? `, and ${holes.length - 1} shorter holes` : "";
  say(
    "gap",
    `${what}: ${text} (${where(longest.at)})${others}; straight lines bridge them, and the option maxGap: ${TOLD_GAP} refuses them`,
  );
}

function bad(what: string, wanted: string, got: string, remedy: string): MediaError {
  return new MediaError("E_MEDIA_FORMAT", what, wanted, got, remedy);
}
