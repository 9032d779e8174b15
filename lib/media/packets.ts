// The packets of an encoded film, as whoever lists them tells of them: when each frame is shown, and from which one it can be decoded.
import { evenTimeline, type Timeline } from "./clip.js";

export interface Packet {
  /** Presentation time stamp, in ticks; NaN where the file has none. */
  stamp: number;
  duration: number;
  key: boolean;
}
export interface Shown<P extends Packet> {
  /** In the order in which they are shown; undefined where the file has no time stamps. */
  packets: readonly P[] | undefined;
  timeline: Timeline;
}

/** `fps`: what the file says of itself. */
export function shownOf<P extends Packet>(seen: readonly P[], ticksPerSecond: number, fps: number | undefined): Shown<P> {
  // Streams without a container have no time stamps: frames are counted instead.
  if (seen.some(({ stamp }) => Number.isNaN(stamp))) return { packets: undefined, timeline: evenTimeline(seen.length, fps) };
  // Two packets with one stamp are the fields of one frame.
  const packets = seen.toSorted((a, b) => a.stamp - b.stamp).filter(({ stamp }, i, all) => i === 0 || stamp !== all[i - 1]!.stamp);
  const [first, last] = [packets[0]!, packets.at(-1)!];
  const length = last.stamp - first.stamp;
  const usual = packets.length > 1 ? length / (packets.length - 1) : fps ? ticksPerSecond / fps : 1;
  const ticks = new Float64Array(packets.length + 1);
  for (const [i, { stamp }] of packets.entries()) ticks[i] = stamp - first.stamp;
  ticks[packets.length] = length + (last.duration || usual);
  return { packets, timeline: { ticks, ticksPerSecond } };
}
