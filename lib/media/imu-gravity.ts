// Gravity that an app writes into a file of its own, put back into the acceleration that it was taken from.
import type { Stream } from "./imu-streams.js";
import { rateOf } from "./imu-track.js";
import { ACCELERATIONS, gravityOf, isGravity, lacksGravity } from "./imu-units.js";

export const rateOfStream = ({ times, rate }: Stream): number =>
  rateOf({ ...(times && { times }), ...(rate !== undefined && { sampleRate: rate }) });

/** Whether gravity was taken out, by the names or by the numbers. */
export function lacking(stream: Stream): boolean {
  const gravity = gravityOf(stream.channels, rateOfStream(stream));
  return stream.linear !== undefined || (gravity !== undefined && lacksGravity(gravity));
}

/** Gravity at the accelerometer's times, added. */
export function summed(stream: Stream, gravity: Stream): Stream {
  const own = stream.acceleration ?? guessed(gravity);
  const factor = ACCELERATIONS[gravity.acceleration ?? guessed(gravity)] / ACCELERATIONS[own];
  const rows = gravity.channels[0]!.length;
  const { times } = gravity;
  let i = 0;
  const place = (sample: number): number => {
    if (!times || !stream.times) return Math.min(rows - 1, sample);
    const t = stream.times[sample]! + stream.origin - gravity.origin;
    while (i + 2 < rows && times[i + 1]! <= t) ++i;
    const step = times[i + 1]! - times[i]!;
    return i + (step > 0 ? Math.max(0, Math.min(1, (t - times[i]!) / step)) : 0);
  };
  const places = Float64Array.from(stream.channels[0]!, (_, sample) => place(sample));
  const channels = stream.channels.map((channel, axis) => {
    const other = gravity.channels[axis]!;
    return channel.map((v, sample) => {
      const before = Math.floor(places[sample]!);
      const next = other[Math.min(before + 1, rows - 1)]!;
      return v + factor * (other[before]! + (places[sample]! - before) * (next - other[before]!));
    });
  });
  return { ...stream, channels, acceleration: own, linear: undefined };
}
const guessed = (gravity: Stream): "g" | "m/s2" => {
  const found = gravityOf(gravity.channels, rateOfStream(gravity));
  return found && isGravity(found, "g") ? "g" : "m/s2";
};
