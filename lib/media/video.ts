// Videos: a part of a prompt, and the frames picked from it.
import type { Pixels } from "./image.js";
import type { MediaSource } from "./source.js";

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
  /** The rate of a clip that does not tell its own: a folder of frames, decoded frames. */
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

export interface VideoPart {
  readonly modality: "video";
  readonly source: MediaSource | Frames;
  readonly options: VideoOptions;
}

/** A video for a prompt: a file, a folder of pictures in natural order, bytes, or decoded frames. Nothing is read yet. */
export function video(source: MediaSource | Frames, options: VideoOptions = {}): VideoPart {
  return { modality: "video", source, options };
}
