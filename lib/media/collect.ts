// The pieces of a decoded sound put together, held once.
import type { AudioOptions } from "./audio.js";
import { checkSamples, type DecodedPiece, unreadable } from "./compressed-audio.js";
import { checkLength } from "./window.js";

/** Samples of one block: what a sound is kept in until its length is known. */
const BLOCK = 1 << 22;

interface Taken {
  samples: Float32Array<ArrayBuffer>;
  sampleRate: number;
  /** Decoded, those before the window included. */
  frames: number;
}

/** As far as the options take them; the rest is not decoded. No samples where the sound ends before the window. */
export async function collected(
  pieces: AsyncGenerator<DecodedPiece>,
  what: string,
  { start = 0, seconds, maxSeconds, maxSamples }: AudioOptions & { maxSeconds: number; maxSamples: number },
): Promise<Taken> {
  const store = new Store();
  let [rate, frames] = [0, 0];
  for await (const { samples, sampleRate } of pieces) {
    rate ||= sampleRate;
    if (sampleRate !== rate) throw unreadable(what, `a change from ${rate} to ${sampleRate} Hz`);
    const from = Math.round(start * rate);
    const end = seconds === undefined ? Infinity : from + Math.max(1, Math.round(seconds * rate));
    const taken = samples.subarray(Math.max(0, from - frames), Math.max(0, end - frames));
    frames += samples.length;
    checkLength(what, (store.length + taken.length) / rate, maxSeconds, "at least ");
    checkSamples(what, store.length + taken.length, maxSamples, "of what is taken");
    store.append(taken);
    if (frames >= end) break;
  }
  if (!frames) throw unreadable(what, "no sound in it");
  return { samples: store.finish(), sampleRate: rate, frames };
}

/** Blocks that are given back while they are copied into one array: at no time is a long sound there twice. */
class Store {
  readonly #blocks: Growing[] = [];
  #used = BLOCK; // of the last block
  length = 0;

  append(samples: Float32Array): void {
    for (let at = 0; at < samples.length; ) {
      if (this.#used === BLOCK) {
        this.#blocks.push(growing(4 * BLOCK));
        this.#used = 0;
      }
      const block = this.#blocks.at(-1)!;
      const part = samples.subarray(at, at + BLOCK - this.#used);
      const needed = 4 * (this.#used + part.length);
      if (block.byteLength < needed) block.resize(Math.min(4 * BLOCK, Math.max(needed, 2 * block.byteLength)));
      new Float32Array(block, 4 * this.#used, part.length).set(part);
      this.#used += part.length;
      at += part.length;
    }
    this.length += samples.length;
  }

  finish(): Float32Array<ArrayBuffer> {
    const all = new Float32Array(this.length);
    for (const [i, block] of this.#blocks.entries()) {
      all.set(new Float32Array(block, 0, Math.min(BLOCK, this.length - i * BLOCK)), i * BLOCK);
      block.resize(0);
    }
    return all;
  }
}

/** Of ECMAScript 2024; every Node.js that is supported has it. */
interface Growing extends ArrayBuffer {
  resize(bytes: number): void;
}
const growing = (most: number): Growing => Reflect.construct(ArrayBuffer, [0, { maxByteLength: most }]) as Growing;
