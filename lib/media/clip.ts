// A clip before it is decoded, and which of its frames stand for it. Every source of video is read as one of these.
import { MediaError } from "./error.js";
import type { Pixels } from "./image.js";
import type { Loading } from "./source.js";

/** Frame i is shown from ticks[i] to ticks[i + 1]; ticks[0] is 0. */
export interface Timeline {
  readonly ticks: Float64Array;
  /** Undefined where nothing tells how long a frame lasts. */
  readonly ticksPerSecond: number | undefined;
}

export interface Clip extends AsyncDisposable {
  readonly timeline: Timeline;
  readonly hasSound?: boolean;
  /** Throws where these frames would take too long. */
  checkPicks?(indices: readonly number[]): void;
  /** How many frames one call should decode, where each call begins anew; else one is as good as many. */
  readonly perCall?: number;
  /** The frames of these indices, which ascend and do not repeat. */
  decode(indices: readonly number[], loading: Loading): Promise<Pixels[]>;
}

/** The part of a clip that is looked at. */
export interface Window {
  start?: number | undefined;
  seconds?: number | undefined;
}

export interface Picks {
  /** One for each frame asked for; a clip with fewer frames repeats some. */
  indices: number[];
  /** Of the clip. */
  fps?: number;
  /** Of the window. */
  seconds?: number;
}

/** `count` frames that last equally long. */
export function evenTimeline(count: number, fps: number | undefined): Timeline {
  return { ticks: Float64Array.from({ length: count + 1 }, (_, i) => i), ticksPerSecond: fps };
}

/** Frames that last `durations` ticks each. */
export function timelineOf(durations: readonly number[], ticksPerSecond: number): Timeline {
  const ticks = new Float64Array(durations.length + 1);
  for (const [i, duration] of durations.entries()) ticks[i + 1] = ticks[i]! + duration;
  return { ticks, ticksPerSecond };
}

/**
 * Which frames stand for a clip. middles: those that are shown at the middles of equal spans of its time. between: at the middles of equal spans of numbers
 * between the first and the last frame, ends of spans and middles as whole numbers (Video-ChatGPT's loader).
 */
export const FRAME_PICKS = ["middles", "between"] as const;
export type FramePicks = (typeof FRAME_PICKS)[number];
export interface Choice {
  frames: number;
  picks?: FramePicks | undefined;
}

/**
 * The window is cut into `frames` equal spans, and each gives the frame that is shown at its middle. Where all frames last equally long that
 * is frame floor((i + 0.5) · count / frames).
 */
export function pickFrames(timeline: Timeline, { frames, picks = "middles" }: Choice, window: Window, what: string): Picks {
  const { ticks, ticksPerSecond } = timeline;
  const count = ticks.length - 1;
  const end = ticks[count]!;
  const from = inTicks(window.start ?? 0, ticksPerSecond, "start", what);
  if (from >= end)
    throw new MediaError(
      "E_MEDIA_OPTION",
      what,
      `start before the end at ${end / (ticksPerSecond ?? 1)} s`,
      `${window.start}`,
      "give a smaller value to the option start",
    );
  const length = Math.min(end - from, window.seconds === undefined ? Infinity : inTicks(window.seconds, ticksPerSecond, "seconds", what));
  const indices = picks === "between" ? between(ticks, from, from + length, frames) : middles(ticks, from, length, frames);
  return ticksPerSecond === undefined ? { indices } : { indices, fps: (count * ticksPerSecond) / end, seconds: length / ticksPerSecond };
}

function middles(ticks: Float64Array, from: number, length: number, frames: number): number[] {
  const last = ticks.length - 2;
  let frame = 0;
  return Array.from({ length: frames }, (_, i) => {
    const middle = from + ((2 * i + 1) * length) / (2 * frames);
    while (frame < last && ticks[frame + 1]! <= middle) ++frame;
    return frame;
  });
}

/** get_seq_frames() of video_chatgpt/eval/model_utils.py, of the frames that are shown within the window. */
function between(ticks: Float64Array, from: number, to: number, frames: number): number[] {
  const first = Math.max(0, ticks.findIndex((tick) => tick > from) - 1);
  const beyond = ticks.findIndex((tick) => tick >= to);
  const span = (beyond - first - 1) / frames;
  const end = (i: number) => roundedToEven(span * i);
  return Array.from({ length: frames }, (_, i) => first + Math.floor((end(i) + end(i + 1)) / 2));
}
/** As numpy rounds. */
function roundedToEven(value: number): number {
  const below = Math.floor(value);
  return value - below === 0.5 ? below + (below % 2) : Math.round(value);
}

function inTicks(seconds: number, ticksPerSecond: number | undefined, option: string, what: string): number {
  if (seconds === 0) return 0;
  if (ticksPerSecond === undefined)
    throw new MediaError("E_MEDIA_OPTION", what, `a frame rate for the option ${option}`, "none", "set the option fps");
  const ticks = seconds * ticksPerSecond;
  // 0.29 s at 100 per second is 29 ticks, not 28.999999999999996.
  return Math.abs(ticks - Math.round(ticks)) < 1e-6 ? Math.round(ticks) : ticks;
}

export function checkFrames(count: number, maxFrames: number, what: string): void {
  if (count > maxFrames)
    throw new MediaError(
      "E_MEDIA_LIMIT",
      what,
      `at most ${maxFrames} frames`,
      `${count === Infinity ? "more" : count}`,
      "raise the option maxFrames if you trust it",
    );
}
