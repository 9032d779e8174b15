// A decoder of compressed sound, by itself or behind a worker's wall: pieces of a file in, the mean of its channels out.
import type AudioDecode from "audio-decode";

/** By the names that the package of decoders has for them. */
export type SoundKind = "flac" | "mp3" | "oga" | "opus" | "m4a" | "webm" | "aac" | "aiff" | "caf" | "wav";

/** What one piece gave; nothing where the decoder waits for more. */
export interface Decoded {
  samples: Float32Array<ArrayBuffer>;
  sampleRate: number;
  channels: number;
}

export interface Decoder {
  /** The next piece, undefined at the end. The array is the decoder's from then on. */
  next(piece: Uint8Array<ArrayBuffer> | undefined): Promise<Decoded>;
  /** What is held is given back; after an error, too. */
  close(): void;
}

/** On this thread. `scale` is taken of each sample. */
export async function openDecoder(decode: typeof AudioDecode, kind: SoundKind, scale: number): Promise<Decoder> {
  const decoder = await decode[kind]();
  return {
    next: async (piece) => {
      const { channelData, sampleRate } = await decoder(piece);
      return { samples: meanOf(channelData, scale), sampleRate, channels: channelData.length };
    },
    close: () => decoder.free(),
  };
}

function meanOf(channels: readonly Float32Array[], scale: number): Float32Array<ArrayBuffer> {
  const mean = new Float32Array(channels[0]?.length ?? 0);
  for (let i = 0; i < mean.length; ++i) {
    let sum = 0;
    for (const channel of channels) sum += channel[i]!;
    mean[i] = (sum * scale) / channels.length;
  }
  return mean;
}
