// A decoder of compressed sound, by itself or behind a worker's wall: parts of a file in, the mean of its channels out.
import type AudioDecode from "audio-decode";
import type { Part } from "./counts.js";

/** By the names that the package of decoders has for them. */
export type SoundKind = "flac" | "mp3" | "oga" | "opus" | "m4a" | "webm" | "aac" | "aiff" | "caf" | "wav";

/** Bytes of a piece: at first, at least, at most. 4 KB are half a second of MP3. */
const [FIRST, LEAST, PIECE] = [1 << 10, 256, 4 << 10];
/** Samples of all channels that one piece should give at most, and behind which an answer is given. */
const AIM = 4 << 20;

/** Bytes of a file in their order; they are the decoder's from then on. */
export interface Input {
  parts: Part[];
  isEnd: boolean;
}

/** Sound of one rate and one number of channels. */
export interface Decoded {
  samples: Float32Array<ArrayBuffer>;
  sampleRate: number;
  channels: number;
}

export interface Given {
  runs: Decoded[];
  /** Not all that was put in is decoded: to be asked again, with nothing. */
  isLeft: boolean;
}

export interface Decoder {
  next(input: Input): Promise<Given>;
  /** What is held is given back; after an error, too. */
  close(): void;
}

/** On this thread. `scale` is taken of each sample; `between` pieces the thread may do other things. */
export async function openDecoder(
  decode: typeof AudioDecode,
  kind: SoundKind,
  scale: number,
  between?: () => Promise<unknown>,
): Promise<Decoder> {
  const decoder = await decode[kind]();
  const waiting: Part[] = [];
  let [size, isEnd, isEnded] = [FIRST, false, false];
  return {
    next: async (input) => {
      waiting.push(...input.parts);
      isEnd ||= input.isEnd;
      const given: { means: Float32Array<ArrayBuffer>[]; sampleRate: number; channels: number }[] = [];
      for (let sum = 0; sum < AIM && !isEnded && (waiting.length || isEnd); await between?.()) {
        const piece = waiting.length ? pieceOf(waiting, size) : undefined;
        isEnded = !piece;
        const { channelData, sampleRate } = await decoder(piece);
        const [channels, length] = [channelData.length, channelData[0]?.length ?? 0];
        size = nextSize(size, length * channels);
        if (!length) continue;
        sum += length * channels;
        const run = given.at(-1);
        if (run?.sampleRate === sampleRate && run.channels === channels) run.means.push(meanOf(channelData, scale));
        else given.push({ means: [meanOf(channelData, scale)], sampleRate, channels });
      }
      const runs = given.map(({ means, ...of }) => ({ samples: joined(means), ...of }));
      return { runs, isLeft: waiting.length > 0 || isEnd !== isEnded };
    },
    close: () => decoder.free(),
  };
}

function pieceOf(waiting: Part[], size: number): Uint8Array {
  const { bytes, isWhole } = waiting[0]!;
  if (isWhole || bytes.length <= size) return waiting.shift()!.bytes;
  waiting[0] = { bytes: bytes.subarray(size) };
  return bytes.subarray(0, size);
}

/** So many bytes that the next piece gives some millions of samples at most: of silence, a byte of FLAC is thousands. */
const nextSize = (size: number, decoded: number): number =>
  Math.min(PIECE, Math.max(LEAST, decoded > AIM ? Math.floor((size * AIM) / decoded) : size * 2));

function meanOf(channels: readonly Float32Array[], scale: number): Float32Array<ArrayBuffer> {
  const mean = new Float32Array(channels[0]?.length ?? 0);
  for (let i = 0; i < mean.length; ++i) {
    let sum = 0;
    for (const channel of channels) sum += channel[i]!;
    mean[i] = (sum * scale) / channels.length;
  }
  return mean;
}

function joined(parts: readonly Float32Array<ArrayBuffer>[]): Float32Array<ArrayBuffer> {
  if (parts.length === 1) return parts[0]!;
  const all = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
