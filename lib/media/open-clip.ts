// Which reader a video's source needs: by what it is and by its first bytes, never by its name.
import { stat } from "node:fs/promises";
import { isPicture, openAnimation } from "./animation.js";
import { type Clip, checkFrames, evenTimeline } from "./clip.js";
import { MediaError } from "./error.js";
import { type FfmpegLimits, openWithFfmpeg } from "./ffmpeg-clip.js";
import { openFolder, openPictures } from "./frame-folder.js";
import { checkArea, image, loadImage } from "./image.js";
import { webcodecsPath } from "./libraries.js";
import { bytesOf, checkBytes, describe, type Loading, type MediaSource, openSource, pathOf } from "./source.js";
import type { Frames, VideoOptions, VideoPart, VideoSource } from "./video.js";
import { openWithWebcodecs } from "./webcodecs-clip.js";
import { openY4m, Y4M_MAGIC } from "./y4m.js";

export const VIDEO_LIMITS = { maxPixels: 40_000_000, maxFrames: 216_000, maxSeconds: 3600 };
const MAX_BYTES_WHOLE = 256 << 20;
const MAX_BYTES = 16 * 2 ** 30;
/** Enough to tell the kinds apart, and to find the mark of an animated PNG. */
const HEAD = 64 << 10;

export const isFrames = (source: unknown): source is Frames => typeof source === "object" && source !== null && "frames" in source;

export const isPictures = (source: unknown): source is readonly MediaSource[] => Array.isArray(source);

/** How messages call a clip. */
export function clipName(source: VideoSource): string {
  if (isFrames(source)) return "frames";
  if (!isPictures(source)) return describe(source);
  return source.length ? `${describe(source[0])} and the ${source.length - 1} pictures after it` : "a list of pictures";
}

/** What a source turns out to be; "other" is ffmpeg's, and so is "mp4" (MP4, MOV, WebM or MKV, whose sound and pictures can be read without it) where it is. */
export type Kind = "folder" | "y4m" | "picture" | "mp4" | "other";

/** The default depends on whether the source is read whole or from its file. */
export const byteLimit = ({ maxBytes }: VideoOptions, path: string | undefined): number =>
  maxBytes ?? (path === undefined ? MAX_BYTES_WHOLE : MAX_BYTES);

export async function kindOf(source: MediaSource, options: VideoOptions): Promise<Kind> {
  const path = pathOf(source);
  if (path !== undefined && (await stat(path).catch(() => undefined))?.isDirectory()) return "folder";
  const file = await openSource(source, byteLimit(options, path));
  try {
    checkBytes(source, file.size, byteLimit(options, path));
    const head = new Uint8Array(Math.min(HEAD, file.size));
    await file.read(head, 0);
    const text = Buffer.from(head.buffer, 0, Math.min(16, head.length)).toString("latin1");
    if (text.startsWith(Y4M_MAGIC)) return "y4m";
    if (isPicture(head)) return "picture";
    return text.slice(4, 8) === "ftyp" || text.startsWith("\x1aE\xdf\xa3") ? "mp4" : "other";
  } finally {
    await file.close();
  }
}

export async function openClip({ source, options }: VideoPart, what: string, loading: Loading): Promise<Clip> {
  const { fps } = options;
  const limits = { ...VIDEO_LIMITS, ...options };
  if (isFrames(source)) return openFrames(source, limits, fps);
  if (isPictures(source)) return openPictures(source, limits, fps);
  const path = pathOf(source);
  const maxBytes = byteLimit(options, path);
  switch (await kindOf(source, options)) {
    case "folder":
      return openFolder(path!, limits, fps);
    case "y4m":
      return openY4m(await openSource(source, maxBytes), what, limits, fps, loading);
    case "picture":
      return openAnimation(await bytesOf(source, options.maxBytes ?? MAX_BYTES_WHOLE, loading), what, limits, fps);
    case "mp4":
      return openWithEither(source, what, { ...limits, maxBytes }, loading);
    default:
      return openWithFfmpeg(source, what, { ...limits, maxBytes }, loading);
  }
}

/** Through ffmpeg where there is one, else through a library, unless somebody says which ffmpeg it should be. */
async function openWithEither(source: MediaSource, what: string, limits: FfmpegLimits, loading: Loading): Promise<Clip> {
  try {
    return await openWithFfmpeg(source, what, limits, loading);
  } catch (error) {
    const isNamed = limits.ffmpeg ?? limits.ffprobe ?? process.env.ANYMAL_FFMPEG ?? process.env.ANYMAL_FFPROBE;
    const library = !isNamed && error instanceof MediaError && error.code === "E_MEDIA_TOOL" ? webcodecsPath() : undefined;
    if (library === undefined) throw error;
    return openWithWebcodecs(library, source, what, limits, loading);
  }
}

async function openFrames({ frames, fps }: Frames, limits: typeof VIDEO_LIMITS, rate: number | undefined): Promise<Clip> {
  if (!frames.length) throw new MediaError("E_MEDIA_FORMAT", "frames", "at least one frame", "none", "pass decoded pictures");
  checkFrames(frames.length, limits.maxFrames, "frames");
  for (const { width, height } of frames) checkArea("frames", width, height, limits.maxPixels);
  return {
    timeline: evenTimeline(frames.length, fps ?? rate),
    hasSound: false,
    decode: (indices) => Promise.all(indices.map((i) => loadImage(image(frames[i]!)))),
    [Symbol.asyncDispose]: async () => {},
  };
}
