// What an encoder of one kind of media sees: a grid of numbers per medium, and how it may look another time.
import type { Draw, MediaPart } from "../../lib/index.js";

/** `Loaded` is what the library reads of a file: pixels, samples. */
// biome-ignore lint/suspicious/noExplicitAny: of whatever load() makes
export interface Sense<Loaded = any> {
  readonly name: "audio" | "image";
  /** Of the grid. */
  readonly shape: readonly [channels: number, height: number, width: number];
  /** Of the encoder's layers. */
  readonly widths: readonly number[];
  /** Of the encoder's first layer; the others halve what they see. */
  readonly stride: number;
  /** Of its training. */
  readonly steps: number;
  readonly learningRate: number;
  load(part: MediaPart): Promise<Loaded>;
  /** The grid, row by row. */
  see(loaded: Loaded): Promise<Float32Array> | Float32Array;
  /** Writes the grid changed at random into `into`: what a word is true of in other circumstances. */
  vary(grid: Float32Array, into: Float32Array, draw: Draw): void;
}

export const gridSize = ({ shape: [channels, height, width] }: Sense): number => channels * height * width;
