// Pictures as the means of a few fields: enough to tell which frame of a film one is, and which side is up.
import { type LoadedVideo, loadVideo, type VideoOptions, video } from "../../lib/media/video.js";

const [COLUMNS, ROWS] = [4, 2];
/** Of each clip, what is asked for. */
export const ASKED: readonly (readonly [frames: number, options: VideoOptions])[] = [
  [12, {}],
  [40, {}],
  [7, { start: 0.2, seconds: 0.3 }],
  [5, { start: 0.45, seconds: 0.15 }], // behind the first key frame
];

export interface Grid {
  size: [number, number];
  fps: number;
  seconds: number;
  hasSound: boolean;
  /** Of each frame, the mean colours field by field. */
  frames: number[][];
}

export async function gridOf(path: string, frames: number, options: VideoOptions): Promise<Grid> {
  const clip = await loadVideo(video(path, { ...options, audioTrack: "part" }), frames);
  const [{ width, height }] = clip.frames as [LoadedVideo["frames"][0]];
  return {
    size: [width, height],
    fps: clip.fps ?? 0,
    seconds: clip.seconds ?? 0,
    hasSound: clip.hasSound ?? false,
    frames: clip.frames.map(fields),
  };
}

function fields({ data, width, height }: LoadedVideo["frames"][0]): number[] {
  const sums = new Float64Array(3 * COLUMNS * ROWS);
  const [w, h] = [Math.floor(width / COLUMNS), Math.floor(height / ROWS)];
  for (let y = 0; y < h * ROWS; ++y)
    for (let x = 0; x < w * COLUMNS; ++x)
      for (let c = 0; c < 3; ++c) {
        const field = Math.floor(y / h) * COLUMNS + Math.floor(x / w);
        sums[3 * field + c] = (sums[3 * field + c] as number) + (data[3 * (y * width + x) + c] as number);
      }
  return Array.from(sums, (sum) => Math.round(sum / (w * h)));
}
