// Compressed sound, decoded piece by piece: memory stays within the limits, the event loop turns, an abort is heard.
import { setImmediate as turn } from "node:timers/promises";
import { checkSignal, type Part } from "./counts.js";
import { MediaError, reasonOf } from "./error.js";
import { audioDecodeFor, isMissing, missing } from "./libraries.js";
import { prepared } from "./prepare-sound.js";
import type { Loading } from "./source.js";

const PIECE = 4 << 10; // half a second of MP3: a few milliseconds of decoding between two turns of the event loop
export const KINDS = "WAV, FLAC, MP3, OGG, Opus, M4A, MP4, WebM, AAC, AIFF or CAF";

type Kind = "flac" | "mp3" | "oga" | "opus" | "m4a" | "webm" | "aac" | "aiff" | "caf" | "wav";

export interface DecodedPiece {
  /** The mean of the channels. */
  samples: Float32Array;
  sampleRate: number;
}

/** What the first bytes say the file is. */
export function kindOf(bytes: Uint8Array): Kind | undefined {
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
  if (head.startsWith("ID3")) {
    const length = [6, 7, 8, 9].reduce((n, i) => (n << 7) | (bytes[i]! & 0x7f), 0);
    return kindOf(bytes.subarray(10 + length + (bytes[5]! & 0x10 ? 10 : 0))) ?? "mp3";
  }
  if (bytes[0] === 0xff && (bytes[1]! & 0xf6) === 0xf0) return "aac";
  if (bytes[0] === 0xff && (bytes[1]! & 0xe0) === 0xe0 && (bytes[1]! & 0x06) !== 0) return "mp3";
  return undefined;
}

export async function* decodePieces(bytes: Uint8Array, what: string, { signal }: Loading): AsyncGenerator<DecodedPiece> {
  const kind = kindOf(bytes);
  if (!kind) throw unreadable(what, "no file of these kinds by its first bytes");
  const { parts } = prepared(kind, bytes, what);
  const decode = await audioDecodeFor(what);
  const decoder = await decode[kind]().catch((cause: unknown) => {
    if (isMissing(cause)) throw missing(what, `what decodes ${kind}`, "npm install audio-decode", cause);
    throw unreadable(what, reasonOf(cause), cause);
  });
  const scale = kind === "flac" ? flacScale(bytes) : 1;
  try {
    for (const piece of piecesOf(parts)) {
      signal?.throwIfAborted();
      const { channelData, sampleRate } = await decoder(piece).catch((cause: unknown) => {
        throw unreadable(what, reasonOf(cause), cause);
      });
      if (channelData[0]?.length) {
        checkSignal(what, sampleRate, channelData.length);
        yield { samples: meanOf(channelData, scale), sampleRate: Math.round(sampleRate) };
      }
      await turn();
    }
  } finally {
    decoder.free();
  }
}

/** Undefined at the end. The decoders keep views of what they get; a copy keeps the caller's bytes out of that. */
function* piecesOf(parts: Iterable<Part>): Generator<Uint8Array | undefined> {
  for (const { bytes, isWhole } of parts) {
    const length = isWhole ? bytes.length : PIECE;
    for (let at = 0; at < bytes.length; at += length) yield bytes.slice(at, at + length);
  }
  yield undefined;
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

function meanOf(channels: readonly Float32Array[], scale: number): Float32Array {
  const mean = new Float32Array(channels[0]!.length);
  for (let i = 0; i < mean.length; ++i) {
    let sum = 0;
    for (const channel of channels) sum += channel[i]!;
    mean[i] = (sum * scale) / channels.length;
  }
  return mean;
}

export function unreadable(what: string, got: string, cause?: unknown): MediaError {
  return new MediaError("E_MEDIA_FORMAT", what, KINDS, got, "play it: the file is damaged or of another kind", { cause });
}
