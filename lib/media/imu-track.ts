// A recording as it was read, and its samples at even steps in m/s² and rad/s.
import type { Table } from "./csv.js";
import { MediaError } from "./error.js";
import type { ImuOptions, ImuRecording } from "./imu.js";
import type { AccelerationUnit, Choice, GyroscopeUnit, TimeUnit } from "./imu-columns.js";
import type { Matrix } from "./npy.js";
import { checkLength } from "./window.js";

export interface Track {
  /** Six channels, in SI units, axes in place. */
  channels: Float64Array[];
  /** Seconds from the first sample; without them `sampleRate` is there. */
  times?: Float64Array;
  sampleRate?: number;
}

export const IMU_LIMITS = { maxSeconds: 3600, maxBytes: 256 << 20 };
const G = 9.80665;
const SECONDS: Readonly<Record<TimeUnit, number>> = { s: 1, ms: 1e-3, us: 1e-6, ns: 1e-9 };

export function tableTrack({ columns, where }: Table, choice: Choice, options: ImuOptions, what: string): Track {
  const rows = columns[0]!.length;
  if (!rows) throw bad(what, "at least one row", "none", "record it again, or leave it out");
  const units = {
    acceleration: options.acceleration ?? choice.acceleration ?? "m/s2",
    gyroscope: options.gyroscope ?? choice.gyroscope ?? "rad/s",
  } as const;
  const channels = placed(columns.slice(0, 6), units, options.axes, what);
  const stamps = columns[6];
  if (!stamps) return { channels, sampleRate: options.sampleRate! };
  const times = stamps.map((t) => t - stamps[0]!);
  for (let i = 1; i < rows; ++i)
    if (times[i]! < times[i - 1]!)
      throw bad(where(i), "time that goes forward", `${stamps[i]} after ${stamps[i - 1]}`, "sort the rows, or split the recording");
  const end = times[rows - 1]!;
  if (!(end > 0)) throw bad(what, "time that goes forward", "one time in all rows", "give the option sampleRate");
  const seconds = SECONDS[options.time ?? choice.timeUnit ?? unitOfSteps(end / (rows - 1))];
  return { channels, times: times.map((t) => t * seconds) };
}

// Sensors send 4 to 4000 times a second.
function unitOfSteps(step: number): TimeUnit {
  if (step < 0.25) return "s";
  return step < 250 ? "ms" : step < 250e3 ? "us" : "ns";
}

/** (N, 6) or (6, N) without names or time. */
export function matrixTrack({ values, shape }: Matrix, options: ImuOptions, what: string): Track {
  const { sampleRate, acceleration = "m/s2", gyroscope = "rad/s" } = options;
  if (sampleRate === undefined)
    throw new MediaError("E_MEDIA_OPTION", what, "the option sampleRate", "numbers without time", "give sampleRate in Hz");
  const byShape = shape[0] === 6 ? "columns" : "rows";
  if (shape[0] === 6 && shape[1] === 6 && !options.orientation)
    throw new MediaError("E_MEDIA_OPTION", what, "the option orientation for (6, 6)", "none", 'give "rows" or "columns"');
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
  const columns = Array.from({ length: 6 }, (_, c) => {
    const column = new Float64Array(n);
    for (let i = 0; i < n; ++i) {
      column[i] = values[at(c, i)]!;
      if (!Number.isFinite(column[i]))
        throw bad(what, "finite samples", `${column[i]} in sample ${i}`, "remove it, or make the file again");
    }
    return column;
  });
  return { channels: placed(columns, { acceleration, gyroscope }, options.axes, what), sampleRate };
}

interface Units {
  acceleration: AccelerationUnit;
  gyroscope: GyroscopeUnit;
}
function placed(columns: Float64Array[], { acceleration, gyroscope }: Units, axes: readonly string[] = ["x", "y", "z"], what: string) {
  const read = axes.map((axis) => /^([+-]?)([xyz])$/.exec(axis));
  if (axes.length !== 3 || new Set(read.map((axis) => axis?.[2])).size !== 3 || read.includes(null))
    throw new MediaError("E_MEDIA_OPTION", what, 'axes like ["x", "-z", "y"]', JSON.stringify(axes), "name each of x, y, z once");
  const scales = [acceleration === "g" ? G : 1, gyroscope === "deg/s" ? Math.PI / 180 : 1];
  return scales.flatMap((scale, sensor) =>
    read.map((axis) => {
      const factor = axis![1] === "-" ? -scale : scale;
      const column = columns[3 * sensor + "xyz".indexOf(axis![2]!)]!;
      return factor === 1 ? column : column.map((v) => v * factor);
    }),
  );
}

/** The rate of even time stamps, or the usual one of uneven. */
export function ownRate({ times, sampleRate }: Track, what: string): number {
  if (!times) return sampleRate!;
  const steps = times.length - 1;
  const mean = steps / times[steps]!;
  if (isEven(times, mean)) return snapped(mean);
  const spans = times.subarray(1).map((t, i) => t - times[i]!);
  const median = spans.sort()[steps >> 1]!;
  if (!(median > 0)) return snapped(mean);
  if (1 / median > 10 * mean)
    throw bad(
      what,
      "steady time stamps",
      `steps of ${median} s, on average ${1 / mean} s`,
      "give the option sampleRate, or cut the gaps out",
    );
  return snapped(1 / median);
}

// Stamps that are rounded (to ms, say) still count as even.
function isEven(times: Float64Array, rate: number): boolean {
  return times.every((t, i) => Math.abs(t * rate - i) < 0.05);
}
// 99.99999 is 100.
const snapped = (rate: number): number => (Math.abs(rate - Math.round(rate)) < 1e-4 * rate ? Math.round(rate) : rate);

/** Samples at start + k/rate, up to the last that was recorded. */
export function sampled(track: Track, rate: number, options: ImuOptions, what: string): ImuRecording {
  const { channels, times } = track;
  const { start = 0, seconds, maxSeconds = IMU_LIMITS.maxSeconds } = options;
  const recorded = channels[0]!.length;
  const end = times ? times[recorded - 1]! : (recorded - 1) / track.sampleRate!;
  if (start > end) throw new MediaError("E_MEDIA_OPTION", what, "start inside the recording", `${start} s of ${end} s`, "begin earlier");
  const toEnd = Math.floor((end - start) * rate + 1e-6) + 1;
  const count = Math.min(toEnd, seconds === undefined ? Infinity : Math.max(1, Math.round(seconds * rate)));
  checkLength(what, count / rate, maxSeconds);
  const samples = new Float32Array(6 * count);
  let i = 0;
  for (let k = 0; k < count; ++k) {
    let place: number;
    if (times) {
      const t = start + k / rate;
      while (i + 2 < recorded && times[i + 1]! <= t) ++i;
      const step = times[i + 1]! - times[i]!;
      place = i + (step > 0 ? Math.min(1, (t - times[i]!) / step) : 1);
    } else {
      place = Math.min(recorded - 1, start * track.sampleRate! + k * (track.sampleRate! / rate));
    }
    const before = Math.floor(place);
    const part = place - before;
    for (const [c, channel] of channels.entries()) {
      const from = channel[before]!;
      const to = channel[Math.min(before + 1, recorded - 1)]!;
      samples[c * count + k] = from + part * (to - from);
    }
  }
  return { samples, sampleRate: rate };
}

function bad(what: string, wanted: string, got: string, remedy: string): MediaError {
  return new MediaError("E_MEDIA_FORMAT", what, wanted, got, remedy);
}
