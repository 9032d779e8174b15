// Before a compressed sound is decoded: what its header counts is held against the bytes that are there. The decoders loop to any number a header names.
import { MediaError } from "./error.js";

/** Bytes for the decoder, one part after the other. */
export interface Part {
  bytes: Uint8Array;
  /** To be given in one piece: a header that is looked through anew with each piece until it is complete. */
  isWhole?: boolean;
}

/** A file that may be decoded. */
export interface Prepared {
  parts: Iterable<Part>;
  /** Sample frames and their rate as the header tells them, where it does; a file that was cut has fewer. */
  declared?: { frames: number; sampleRate: number };
}

const [MAX_CHANNELS, MAX_RATE] = [255, 10_000_000];

/** Of a header, and again of what a decoder gives back. */
export function checkSignal(what: string, sampleRate: number, channels: number): void {
  const isRate = sampleRate >= 1 && sampleRate <= MAX_RATE; // NaN is none
  if (isRate && Number.isInteger(channels) && channels >= 1 && channels <= MAX_CHANNELS) return;
  throw new MediaError(
    "E_MEDIA_FORMAT",
    what,
    `1 to ${MAX_CHANNELS} channels at 1 to ${MAX_RATE} Hz`,
    `${channels} channels at ${sampleRate} Hz`,
    "the header is damaged: make the file again",
  );
}

/** A count that the bytes cannot hold. */
export function checkCount(what: string, table: string, count: number, most: number): void {
  if (count <= most) return;
  throw new MediaError(
    "E_MEDIA_FORMAT",
    what,
    `at most ${Math.max(0, Math.floor(most))} entries in ${table}, which is all its bytes hold`,
    `${count}`,
    "the file is damaged: make it again",
  );
}

export function damaged(what: string, expected: string, got: string): MediaError {
  return new MediaError("E_MEDIA_FORMAT", what, expected, got, "the file is damaged: make it again");
}
