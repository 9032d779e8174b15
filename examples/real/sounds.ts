// Sounds of up to 1.28 s as mel spectrograms: spoken faster or slower, by a higher or a lower voice, later, louder at one end of the band, over noise, with
// a piece of time or of the band missing. Few speakers train, so what another one would change must be changed here.
import { type AudioPart, AudioProcessor, loadAudio, type Sound } from "../../lib/index.js";
import type { Sense } from "./sense.js";

const BINS = 40;
const FRAMES = 128;
const RATE = 8000;
const HOP = 80;
/** What is quieter than the loudest value by more decibels is silence. */
const RANGE = 60;

const mel = new AudioProcessor({
  sampling_rate: RATE,
  fft_window_size: 256,
  hop_length: HOP,
  feature_size: BINS,
  frequency_min: 50,
  frequency_max: RATE / 2,
  max_length_s: (FRAMES * HOP) / RATE,
  truncation: "rand_trunc",
  padding: "pad",
});

export const SOUNDS: Sense<Sound> = {
  name: "audio",
  load: (part) => loadAudio(part as AudioPart),
  shape: [1, BINS, FRAMES],
  widths: [32, 64, 128, 128],
  stride: 2,
  steps: 500,
  learningRate: 3e-3,

  /** From 0, silence, to 2, the loudest; of no sound at all, 0. */
  async see(sound) {
    const { data } = await mel.features([sound]);
    const decibels = data.subarray(0, FRAMES * BINS);
    const loudest = decibels.reduce((a, b) => Math.max(a, b));
    const isSilent = sound.samples.every((value) => value === 0);
    const grid = new Float32Array(BINS * FRAMES);
    for (const [i, value] of decibels.entries())
      grid[(i % BINS) * FRAMES + Math.floor(i / BINS)] = isSilent ? 0 : Math.max(0, 2 + (2 * (value - loudest)) / RANGE);
    return grid;
  },

  vary(grid, into, draw) {
    const [speed, pitch] = [draw.between(0.8, 1.25), draw.between(0.85, 1.18)];
    const start = draw.between(-4, 30);
    const [loudness, tilt] = [draw.between(0.85, 1.1), draw.between(-0.4, 0.4)];
    const noise = draw.chance(0.5) ? draw.between(0, 0.7) : 0;
    const [low, band] = [draw.below(BINS), draw.chance(0.5) ? draw.below(6) : 0];
    const [first, gap] = [draw.below(FRAMES), draw.chance(0.5) ? draw.below(12) : 0];
    for (let b = 0, i = 0; b < BINS; ++b) {
      const [bin, up] = split(b * pitch);
      const isMissing = bin + 1 >= BINS || (b >= low && b < low + band);
      const louder = tilt * (b / BINS - 0.5);
      for (let t = 0; t < FRAMES; ++t, ++i) {
        const at = (t - start) * speed;
        const frame = Math.floor(at);
        const isSilent = isMissing || frame < 0 || frame + 1 >= FRAMES || (t >= first && t < first + gap);
        const heard = isSilent ? 0 : between(grid, bin * FRAMES + frame, up, at - frame);
        into[i] = Math.max(heard && heard * loudness + louder, noise && noise + 0.1 * draw.uniform());
      }
    }
  },
};

const split = (at: number): [whole: number, rest: number] => [Math.floor(at), at - Math.floor(at)];

/** The grid's value between the point at `i`, the next bin and the next frame. */
function between(grid: Float32Array, i: number, up: number, on: number): number {
  const lower = (1 - on) * (grid[i] as number) + on * (grid[i + 1] as number);
  const upper = (1 - on) * (grid[i + FRAMES] as number) + on * (grid[i + FRAMES + 1] as number);
  return (1 - up) * lower + up * upper;
}
