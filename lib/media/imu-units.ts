// Units that no name says, by what a sensor that rests or moves with a person must show: gravity, in m/s² or in g. What was decided is told.

import { shortNumber } from "./imu-clock.js";
import type { AccelerationUnit, GyroscopeUnit } from "./imu-names.js";

export const G = 9.80665;
export const ACCELERATIONS: Readonly<Record<AccelerationUnit, number>> = { "m/s2": 1, g: G, mg: G / 1000 };
export const TURNS: Readonly<Record<GyroscopeUnit, number>> = { "rad/s": 1, "deg/s": Math.PI / 180, "mdeg/s": Math.PI / 180_000 };

/** Fewer rows say nothing. */
const LEAST = 8;
/** Rows that are looked at. */
const MOST = 60_000;

/** What gravity may be, as the usual length of the vector. */
const BANDS: Readonly<Record<"m/s2" | "g", readonly [number, number]>> = { "m/s2": [7.5, 13], g: [0.8, 1.3] };

export interface Gravity {
  /** The usual length of the vector. */
  length: number;
  /** How much of it keeps its direction for a second: near 1 with gravity, near 0 without. */
  steady: number;
}

export function gravityOf(channels: readonly Float64Array[], rate: number): Gravity | undefined {
  const rows = Math.min(channels[0]!.length, MOST);
  if (rows < LEAST) return undefined;
  const lengths = new Float64Array(rows);
  for (let i = 0; i < rows; ++i) lengths[i] = Math.hypot(channels[0]![i]!, channels[1]![i]!, channels[2]![i]!);
  const window = Math.min(rows, Math.max(LEAST, Math.round(2 * rate)));
  const shares: number[] = [];
  for (let from = 0; from + window <= rows; from += window) {
    const mean = channels.map((channel) => channel.subarray(from, from + window).reduce((sum, v) => sum + v, 0) / window);
    const length = lengths.subarray(from, from + window).reduce((sum, v) => sum + v, 0) / window;
    if (length > 0) shares.push(Math.hypot(...mean) / length);
  }
  if (!shares.length) return { length: 0, steady: 0 };
  return { length: median(lengths), steady: median(Float64Array.from(shares)) };
}

const median = (values: Float64Array): number => Float64Array.from(values).sort()[values.length >> 1]!;
export const isGravity = ({ length, steady }: Gravity, unit: "m/s2" | "g"): boolean =>
  steady > 0.6 && length >= BANDS[unit][0] && length <= BANDS[unit][1];
/** What is left when gravity was taken out: no direction stays, and it is no reading in g that something else has hidden. */
export const lacksGravity = ({ steady }: Gravity): boolean => steady < 0.5;

export interface UnitsGiven {
  /** By an option. */
  asked?: { acceleration?: AccelerationUnit | undefined; gyroscope?: GyroscopeUnit | undefined };
  /** By the columns' names. */
  named: { acceleration?: AccelerationUnit | undefined; gyroscope?: GyroscopeUnit | undefined };
}
export interface Units {
  acceleration: AccelerationUnit;
  gyroscope: GyroscopeUnit;
  /** Sentences for a notice. */
  told: string[];
}

export function unitsOf({ asked = {}, named }: UnitsGiven, gravity: Gravity | undefined, gyroscope: readonly Float64Array[]): Units {
  const told: string[] = [];
  const real = gravity !== undefined && (isGravity(gravity, "m/s2") || isGravity(gravity, "g"));
  let acceleration = asked.acceleration ?? named.acceleration;
  if (!acceleration) {
    acceleration = gravity && isGravity(gravity, "g") ? "g" : "m/s2";
    if (acceleration === "g")
      told.push(
        `the accelerometer is read in g, since gravity is ${shortNumber(gravity!.length)} in it; the option acceleration: "m/s2" reads it otherwise`,
      );
    else if (gravity && !real && !lacksGravity(gravity))
      told.push(
        `the accelerometer is read in m/s², though its usual length, ${shortNumber(gravity.length)}, is gravity neither in m/s² (9.8) nor in g (1); the option acceleration says its unit`,
      );
  } else if (!asked.acceleration && gravity) {
    const other = acceleration === "g" ? "m/s2" : "g";
    if (acceleration !== "mg" && isGravity(gravity, other))
      told.push(
        `the accelerometer is read in ${acceleration}, as its name says, though gravity is ${shortNumber(gravity.length)} in it; the option acceleration: "${other}" reads it otherwise`,
      );
  }
  if (gravity && lacksGravity(gravity))
    told.push(`no gravity is in the accelerometer, which is read in ${acceleration}: encoders of motion are trained with gravity`);
  let turns = asked.gyroscope ?? named.gyroscope;
  if (!turns) {
    // A person turns at 20 rad/s (1100 degrees a second) for a moment, not for a twentieth of the time.
    const fast = real && gyroscope[0]!.length >= LEAST ? speeds(gyroscope) : undefined;
    turns = fast && (fast.often > 20 || fast.most > 75) ? "deg/s" : "rad/s";
    if (turns === "deg/s")
      told.push(
        `the gyroscope is read in deg/s, since it goes up to ${shortNumber(fast!.most)}; the option gyroscope: "rad/s" reads it otherwise`,
      );
    else if (acceleration !== "m/s2" && real)
      told.push(
        `the gyroscope is read in rad/s, since it goes up to ${shortNumber(fast?.most ?? 0)} only; the option gyroscope: "deg/s" reads it otherwise`,
      );
  }
  return { acceleration, gyroscope: turns, told };
}

/** How fast it turns at most, and in a twentieth of the time. */
function speeds(channels: readonly Float64Array[]): { most: number; often: number } {
  const rows = Math.min(channels[0]!.length, MOST);
  const lengths = Float64Array.from({ length: rows }, (_, i) => Math.hypot(channels[0]![i]!, channels[1]![i]!, channels[2]![i]!)).sort();
  return { most: lengths[rows - 1]!, often: lengths[Math.floor(0.95 * (rows - 1))]! };
}
