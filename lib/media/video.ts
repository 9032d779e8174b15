// Videos: a part of a prompt, and the frames picked from it.
import { is } from "../core/checks.js";
import { type Choice, checkFrames, pickFrames } from "./clip.js";
import { MediaError, readingOf } from "./error.js";
import type { Pixels } from "./image.js";
import { clipName, openClip, VIDEO_LIMITS } from "./open-clip.js";
import { type AsData, above, checkKnown, LIMITS, WINDOW } from "./option-checks.js";
import { checkLoading, type Loading, type MediaSource } from "./source.js";
import { noticeSound } from "./video-sound.js";

/** A decoded clip. */
export interface Frames {
  readonly frames: readonly Pixels[];
  /** Frames per second, where it matters. */
  readonly fps?: number;
}

export interface VideoOptions {
  /** Where the clip begins, in seconds. Default 0. */
  start?: number;
  /** How much of it is looked at. Default up to the end. */
  seconds?: number;
  /** The rate of a clip that does not tell its own: a folder of frames, a list of pictures, decoded frames. */
  fps?: number;
  /** "ignore" (default) says once that a sound track is not used; "part" is silent, since soundOf() makes an audio part of it. */
  audioTrack?: "ignore" | "part";
  /** Told what is left out, in place of process.emitWarning. */
  onNotice?: (message: string) => void;
  /** Path of the ffmpeg command. Default $ANYMAL_FFMPEG, then PATH. Only asked for by files that are not read here. */
  ffmpeg?: string;
  /** Path of the ffprobe command. Default $ANYMAL_FFPROBE, then the folder of ffmpeg, then PATH. */
  ffprobe?: string;
  /** Refused when a frame's width × height is more. Default 40 million. */
  maxPixels?: number;
  /** Refused when the clip has more frames. Default 216 000, an hour at 60 per second. */
  maxFrames?: number;
  /** Refused when more seconds are looked at. Default 3600. */
  maxSeconds?: number;
  /** Refused when the file is larger. Default 256 MiB for what is read whole (GIF, WebP, bytes), 16 GiB for what is not. */
  maxBytes?: number;
}

const { maxPixels, maxFrames, maxSeconds, maxBytes } = LIMITS;
export const VIDEO_OPTIONS = {
  ...WINDOW,
  fps: above,
  audioTrack: is.oneOf("ignore", "part"),
  ffmpeg: is.text,
  ffprobe: is.text,
  ...{ maxPixels, maxFrames, maxSeconds, maxBytes },
} satisfies AsData<VideoOptions>;

/** A file, a folder of pictures in natural order, bytes, decoded frames, or a list of pictures: a frame each, in the list's order. */
export type VideoSource = MediaSource | Frames | readonly MediaSource[];

export interface VideoPart {
  readonly modality: "video";
  readonly source: VideoSource;
  readonly options: VideoOptions;
}

/** A video for a prompt: a file, a folder of pictures in natural order, bytes, decoded frames, or a list of pictures in their order. Nothing is read yet. */
export function video(source: VideoSource, options: VideoOptions = {}): VideoPart {
  checkKnown("video", VIDEO_OPTIONS, options, ["onNotice"]);
  return { modality: "video", source, options };
}

export interface LoadedVideo {
  /** As many as were asked for; a clip with fewer repeats some, and then the same object stands there twice. */
  frames: Pixels[];
  /** The clip's rate, where it is known. */
  fps?: number;
  /** How much of the clip the frames stand for. */
  seconds?: number;
  /** Whether the file has a sound track, where that is known. */
  hasSound?: boolean;
}

/**
 * `frames` pictures that stand for the clip: it is cut into that many equal spans, and each gives the frame shown at its middle, which is
 * frame floor((i + 0.5) · count / frames) where all last equally long. Only these are decoded (of an encoded stream also those that they
 * build on). The same rule holds for every kind of source.
 */
export async function loadVideo(part: VideoPart, frames: number, loading: Loading = {}): Promise<LoadedVideo> {
  checkLoading("loadVideo", loading);
  const most = FRAMES_HELD * (part.options.maxPixels ?? VIDEO_LIMITS.maxPixels);
  let held = 0;
  return readingOf(clipName(part.source), loading.signal, () =>
    framesOf(part, { frames }, loading, async (picture) => {
      held += picture.width * picture.height;
      if (held > most)
        throw new MediaError(
          "E_MEDIA_LIMIT",
          clipName(part.source),
          `frames of at most ${most} pixels together`,
          "more",
          "ask for fewer frames, or raise the option maxPixels if you trust it",
        );
      return picture;
    }),
  );
}

/** What `make` makes of the frames that loadVideo gives, a few of which are held at a time. A frame that stands there several times is made once. */
export async function framesMade<T>(
  part: VideoPart,
  choice: Choice,
  loading: Loading,
  make: (picture: Pixels) => Promise<T>,
): Promise<T[]> {
  return (await readingOf(clipName(part.source), loading.signal, () => framesOf(part, choice, loading, make))).frames;
}

/** Frames of the largest size that are held together at most. */
const FRAMES_HELD = 8;

async function framesOf<T>(
  part: VideoPart,
  choice: Choice,
  loading: Loading,
  make: (picture: Pixels) => Promise<T>,
): Promise<Omit<LoadedVideo, "frames"> & { frames: T[] }> {
  const { source, options } = part;
  const what = clipName(source);
  checkKnown(what, VIDEO_OPTIONS, options, ["onNotice"]);
  checkValues(what, options, choice.frames);
  loading.signal?.throwIfAborted();
  await using clip = await openClip(part, what, loading);
  const { indices, fps, seconds } = pickFrames(clip.timeline, choice, options, what);
  const maxSeconds = options.maxSeconds ?? VIDEO_LIMITS.maxSeconds;
  if (seconds !== undefined && seconds > maxSeconds)
    throw new MediaError(
      "E_MEDIA_LIMIT",
      what,
      `at most ${maxSeconds} s`,
      `${seconds} s`,
      "choose a part with the options start and seconds, or raise the option maxSeconds",
    );
  if (clip.hasSound && options.audioTrack !== "part") noticeSound(part, what);
  const distinct = [...new Set(indices)];
  clip.checkPicks?.(distinct);
  const at = new Map<number, T>();
  const { perCall = 1 } = clip;
  for (let from = 0; from < distinct.length; from += perCall) {
    const group = distinct.slice(from, from + perCall);
    for (const [i, picture] of (await clip.decode(group, loading)).entries()) {
      loading.signal?.throwIfAborted();
      at.set(group[i]!, await make(picture));
    }
  }
  const { hasSound } = clip;
  return {
    frames: indices.map((index) => at.get(index)!),
    ...(fps !== undefined && { fps }),
    ...(seconds !== undefined && { seconds }),
    ...(hasSound !== undefined && { hasSound }),
  };
}

function checkValues(what: string, options: VideoOptions, frames: number): void {
  const fail = (expected: string, got: unknown) => {
    throw new MediaError("E_MEDIA_OPTION", what, expected, String(got), "correct the option");
  };
  const { start = 0, audioTrack = "ignore" } = options;
  if (!(Number.isSafeInteger(frames) && frames > 0)) fail("a whole number of frames from 1 on", frames);
  if (!(Number.isFinite(start) && start >= 0)) fail("start from 0 on", start);
  if (audioTrack !== "ignore" && audioTrack !== "part") fail('audioTrack "ignore" or "part"', audioTrack);
  for (const name of ["seconds", "fps", "maxPixels", "maxFrames", "maxSeconds", "maxBytes"] as const) {
    const value = options[name];
    if (value !== undefined && !(value > 0)) fail(`${name} above 0`, value);
  }
  checkFrames(frames, options.maxFrames ?? VIDEO_LIMITS.maxFrames, what);
}
