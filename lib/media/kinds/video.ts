// Clips: pictures one after another.
import type { Pixels } from "../image.js";
import { loadVideo, VIDEO_OPTIONS, type VideoPart, video } from "../video.js";
import { black, imageKind } from "./image.js";
import type { Kind } from "./kind.js";

/** Frames that a clip is shown by. */
const STRIP = 6;

export const videoKind: Kind<VideoPart> = {
  name: "video",
  about: "a clip, a folder of frames, or a list of pictures in their order",
  options: VIDEO_OPTIONS,
  functions: ["onNotice"],
  folder: true,
  list: true,
  framesOf: imageKind.name,
  captionPrompts: ["Describe the video.", "What happens in the video?", "Give a caption of the video."],
  part: (source, options) => video(source as VideoPart["source"], options),
  async preview(part, loading) {
    const { frames, seconds } = await loadVideo(part, STRIP, loading);
    return { pictures: frames.filter((frame, i) => frame !== frames[i - 1]), ...(seconds !== undefined && { seconds }) };
  },
  /** A black clip; what was cut out of the part's is the whole of it. */
  async blank(part, loading) {
    const { frames, fps, seconds } = await loadVideo(part, 1, loading);
    const count = fps !== undefined && seconds !== undefined ? Math.max(1, Math.round(fps * seconds)) : 1;
    const { start: _start, seconds: _seconds, ...options } = part.options;
    return video({ frames: new Array<Pixels>(count).fill(black(frames[0] as Pixels)), ...(fps !== undefined && { fps }) }, options);
  },
};
