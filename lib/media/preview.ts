// What a medium looks like to who reads about it: pictures, and curves over time, small enough for a page.

import { resampled, type Sound } from "./audio.js";
import { AudioProcessor } from "./audio-processor.js";
import type { Pixels } from "./image.js";

/** Values over time from the medium's begin to its end, one line beside another; of a filled one the two lines are the edges of an area. */
export interface Curve {
  name: string;
  lines: readonly (readonly number[])[];
  filled?: boolean;
}
export interface Preview {
  /** Side by side, as they follow one another. */
  pictures?: readonly Pixels[];
  curves?: readonly Curve[];
  seconds?: number;
}

/** Points of a curve, columns of a spectrogram. */
const POINTS = 300;

/** Least and largest value of each stretch. */
export function envelope(values: ArrayLike<number>, points = POINTS): [number[], number[]] {
  const count = Math.min(points, values.length);
  const [low, high]: [number[], number[]] = [[], []];
  for (let i = 0; i < count; ++i) {
    let [least, largest] = [Infinity, -Infinity];
    for (let k = Math.floor((i * values.length) / count); k < Math.floor(((i + 1) * values.length) / count); ++k) {
      least = Math.min(least, values[k] as number);
      largest = Math.max(largest, values[k] as number);
    }
    low.push(least);
    high.push(largest);
  }
  return [low, high];
}

/** The mean of each stretch. */
export function means(values: ArrayLike<number>, points = POINTS): number[] {
  const count = Math.min(points, values.length);
  return Array.from({ length: count }, (_, i) => {
    const [from, to] = [Math.floor((i * values.length) / count), Math.floor(((i + 1) * values.length) / count)];
    let sum = 0;
    for (let k = from; k < to; ++k) sum += values[k] as number;
    return sum / (to - from);
  });
}

const [RATE, BINS, WINDOW] = [16_000, 64, 1024];
/** Decibels below the loudest that are black. */
const RANGE = 80;

/** The log-mel spectrogram as a picture: time to the right, pitch upwards, louder is brighter. */
export async function melPicture(sound: Sound): Promise<Pixels> {
  const { samples } = await resampled(sound, RATE);
  const hop = Math.max(Math.ceil(WINDOW / 16), Math.ceil(samples.length / POINTS));
  const config = { sampling_rate: RATE, feature_size: BINS, fft_window_size: WINDOW, hop_length: hop, frequency_max: RATE / 2 };
  const processor = new AudioProcessor({ ...config, max_length_s: samples.length / RATE, truncation: "rand_trunc", padding: "pad" });
  const { data } = await processor.features([{ samples, sampleRate: RATE }]);
  const { frames } = processor;
  const loudest = data.reduce((a, b) => Math.max(a, b), -Infinity);
  const pixels = new Uint8Array(3 * frames * BINS);
  for (let t = 0; t < frames; ++t)
    for (let bin = 0; bin < BINS; ++bin) {
      const level = Math.max(0, 1 - (loudest - (data[t * BINS + bin] as number)) / RANGE);
      pixels.set(heat(level), 3 * ((BINS - 1 - bin) * frames + t));
    }
  return { data: pixels, width: frames, height: BINS };
}

/** From black over violet and orange to light yellow. */
function heat(level: number): [number, number, number] {
  const rising = (from: number, to: number) => Math.round(255 * Math.min(1, Math.max(0, (level - from) / (to - from))));
  return [rising(0.1, 0.65), rising(0.45, 1), Math.round(rising(0, 0.4) * 0.55 * (1 - Math.max(0, level - 0.4)) + rising(0.85, 1) * 0.5)];
}
