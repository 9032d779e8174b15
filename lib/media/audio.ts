// Sounds: a part of a prompt, and its samples.
import type { MediaSource } from "./source.js";

export interface AudioOptions {
  /** Where to begin, in seconds. Default 0. */
  start?: number;
  /** How much to take, in seconds; less where the sound ends before. Default: to the end. */
  seconds?: number;
  /** Refused when what is taken is longer. Default 600. */
  maxSeconds?: number;
  /** Refused when the file is larger. Default 256 MiB. */
  maxBytes?: number;
}
export interface AudioPart {
  readonly modality: "audio";
  readonly source: MediaSource | Sound;
  readonly options: AudioOptions;
}

/** One channel, from -1 to 1. */
export interface Sound {
  readonly samples: Float32Array;
  readonly sampleRate: number;
}

/** A sound for a prompt: a file (path, file: or data: URL, bytes) or samples. Nothing is read yet. */
export function audio(source: MediaSource | Sound, options: AudioOptions = {}): AudioPart {
  return { modality: "audio", source, options };
}
