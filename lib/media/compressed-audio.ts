// Compressed sound, decoded piece by piece in a worker: memory stays within the limits, the event loop turns, an abort is heard.
import { setImmediate as turn } from "node:timers/promises";
import { checkSignal, type Part, type Prepared } from "./counts.js";
import { budget, decoderInWorker, isExhausted } from "./decode-pool.js";
import { type Input, openDecoder, type SoundKind } from "./decoder.js";
import { MediaError, reasonOf } from "./error.js";
import { audioDecodeFor, isMissing, missing } from "./libraries.js";
import { prepared, tagLength } from "./prepare-sound.js";
import type { Loading } from "./source.js";

/** Bytes that a decoder gets at once; a shorter sound is decoded at one go. */
const BATCH = 64 << 10;
/** Samples of all channels that are decoded of one file, those before its window included: two hours in stereo at 150 kHz, half a minute of work. */
const MOST_DECODED = 2 ** 31;
export const KINDS = "WAV, FLAC, MP3, OGG, Opus, M4A, MP4, WebM, AAC, AIFF or CAF";

export interface DecodedPiece {
  /** The mean of the channels. */
  samples: Float32Array;
  sampleRate: number;
}

/** What the first bytes say the file is. */
export function kindOf(bytes: Uint8Array): SoundKind | undefined {
  const text = (from: number, to: number): string => Buffer.from(bytes.subarray(from, to)).toString("latin1");
  const head = text(0, 4);
  if (head === "fLaC") return "flac";
  if (head === "OggS") {
    const page = text(0, 64);
    return page.includes("OpusHead") ? "opus" : page.includes("\x7fFLAC") ? "flac" : "oga";
  }
  if (text(4, 8) === "ftyp") return "m4a";
  if (head === "\x1aE\xdf\xa3") return "webm";
  if (head === "FORM" && /^AIF[FC]$/.test(text(8, 12))) return "aiff";
  if (head === "caff") return "caf";
  if (head === "RIFF" && text(8, 12) === "WAVE") return "wav";
  if (head.startsWith("ID3")) return kindOf(bytes.subarray(tagLength(bytes))) ?? "mp3";
  if (bytes[0] === 0xff && (bytes[1]! & 0xf6) === 0xf0) return "aac";
  if (bytes[0] === 0xff && (bytes[1]! & 0xe0) === 0xe0 && (bytes[1]! & 0x06) !== 0) return "mp3";
  return undefined;
}

/** A sound that may be decoded, and what its header tells of its length. */
export interface OpenSound extends Prepared {
  kind: SoundKind;
  scale: number;
}

/** Throws E_MEDIA_FORMAT for what is of no known kind, or tells of itself what cannot be. */
export function openSound(bytes: Uint8Array, what: string): OpenSound {
  const kind = kindOf(bytes);
  if (!kind) throw unreadable(what, "no file of these kinds by its first bytes");
  return { kind, scale: kind === "flac" ? flacScale(bytes) : 1, ...prepared(kind, bytes, what) };
}

export async function* decodePieces({ kind, scale, parts }: OpenSound, what: string, { signal }: Loading): AsyncGenerator<DecodedPiece> {
  const decode = await audioDecodeFor(what);
  signal?.throwIfAborted();
  const failed = (cause: unknown): never => {
    if (signal?.aborted && cause === signal.reason) throw cause;
    if (isMissing(cause)) throw missing(what, `what decodes ${kind}`, "npm install audio-decode", cause);
    if (isExhausted(cause)) throw new MediaError("E_MEDIA_LIMIT", what, `a sound that is decoded in ${budget()}`, reasonOf(cause), "make the file again, or convert it to WAV", { cause }); // biome-ignore format: one line
    throw unreadable(what, reasonOf(cause), cause);
  };
  const decoder = decoderInWorker(kind, scale, signal, () => openDecoder(decode, kind, scale, turn));
  let spent = 0;
  try {
    for (const batch of batchesOf(parts))
      for (let [input, isLeft] = [batch, true]; isLeft; input = { ...batch, parts: [] }) {
        signal?.throwIfAborted();
        const given = await decoder.next(input).catch(failed);
        isLeft = given.isLeft;
        for (const { samples, sampleRate, channels } of given.runs) {
          checkSignal(what, sampleRate, channels);
          spent += samples.length * channels;
          checkSamples(what, spent, MOST_DECODED, "in all channels");
          yield { samples, sampleRate: Math.round(sampleRate) };
        }
        await turn();
      }
  } finally {
    decoder.close();
  }
}

/** Decoders keep views of what they get; a copy keeps the caller's bytes out of that. */
function* batchesOf(parts: Iterable<Part>): Generator<Input> {
  let [batch, size]: [Part[], number] = [[], 0];
  for (const { bytes, isWhole = false } of parts)
    for (let at = 0; at < bytes.length; ) {
      if (size >= BATCH) {
        yield { parts: batch, isEnd: false };
        [batch, size] = [[], 0];
      }
      const piece = Uint8Array.from(bytes.subarray(at, isWhole ? bytes.length : at + BATCH));
      batch.push({ bytes: piece, isWhole });
      at += piece.length;
      size += piece.length;
    }
  yield { parts: batch, isEnd: true };
}

export function checkSamples(what: string, samples: number, most: number, of: string): void {
  if (samples <= most) return;
  throw new MediaError("E_MEDIA_LIMIT", what, `at most ${most} samples ${of}`, `${samples} and more`, "take a part with the options start and seconds, or raise the option maxSamples"); // biome-ignore format: one line
}

/** How long an MP4 or M4A says it is. These are decoded in one piece, so a limit has to be kept before. */
export function declaredSeconds(bytes: Uint8Array): number | undefined {
  if (kindOf(bytes) !== "m4a") return undefined;
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const at = file.indexOf("mvhd", 0, "latin1") + 4;
  if (at < 4 || at + 32 > file.length) return undefined;
  const isLong = file[at] === 1;
  const scale = file.readUInt32BE(at + (isLong ? 20 : 12));
  const duration = isLong ? Number(file.readBigUInt64BE(at + 24)) : file.readUInt32BE(at + 16);
  return scale > 0 ? duration / scale : undefined;
}

/** The decoder makes 1 of the largest integer; of a WAV, as everywhere else, that is a little less. */
function flacScale(bytes: Uint8Array): number {
  const at = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 1 << 16)).indexOf("fLaC", 0, "latin1");
  if (at < 0 || at + 22 > bytes.length) return 1;
  const bits = (((bytes[at + 20]! & 1) << 4) | (bytes[at + 21]! >> 4)) + 1; // of STREAMINFO, the first block
  return 1 - 2 ** (1 - bits);
}

export function unreadable(what: string, got: string, cause?: unknown): MediaError {
  return new MediaError("E_MEDIA_FORMAT", what, KINDS, got, "play it: the file is damaged or of another kind", { cause });
}
