// One thing on a straight way over eight frames.
import type { Pixels } from "../../media/image.js";
import type { Draw } from "../draw.js";
import { drawBackground, drawLook, FRAME, paint } from "./render-image.js";
import type { VideoScene } from "./scenes.js";

export const FRAMES = 8;
const FPS = 8;
/** Pixels from the first frame to the last. */
const WAY: Record<VideoScene["pace"], readonly [number, number]> = { slowly: [10, 14], quickly: [28, 34] };

/** Eight frames of 64 × 64 pixels. The thing keeps its look and stays within the frame; where it starts says nothing of where it goes. */
export function renderVideo({ color, shape, direction, pace }: VideoScene, draw: Draw): { frames: Pixels[]; fps: number } {
  const background = drawBackground(draw);
  const look = drawLook({ color, shape }, draw);
  const way = draw.between(...WAY[pace]);
  const [low, high] = [look.reach + 0.5, FRAME - look.reach - 0.5];
  const start = draw.between(low, high - way);
  const across = draw.between(low, high);
  const forwards = direction === "right" || direction === "down";
  const frames = Array.from({ length: FRAMES }, (_, i) => {
    const gone = way * (i / (FRAMES - 1));
    const along = start + (forwards ? gone : way - gone);
    const horizontal = direction === "left" || direction === "right";
    return paint(background, [{ look, x: horizontal ? along : across, y: horizontal ? across : along }]);
  });
  return { frames, fps: FPS };
}
