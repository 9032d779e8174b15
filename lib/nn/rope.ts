// Rotary position embedding (arXiv 2104.09864): the table of (cos, sin) per position and frequency, in the variants of LLaMA checkpoints.
import type { Device } from "../core/device.js";
import { keep } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";

export type RopeScaling =
  | { type: "default" }
  | { type: "linear"; factor: number }
  | { type: "llama3"; factor: number; lowFreqFactor: number; highFreqFactor: number; originalMaxPositions: number };

export interface RopeOptions {
  headDim: number;
  theta: number;
  scaling: RopeScaling;
}

/** One angle per position for each of the headDim/2 pairs, in f32 steps as transformers computes them. */
export function inverseFrequencies({ headDim, theta, scaling }: RopeOptions): Float32Array {
  const f = Math.fround;
  const plain = Float32Array.from({ length: headDim / 2 }, (_, i) => f(1 / f(theta ** f((2 * i) / headDim))));
  if (scaling.type === "default") return plain;
  if (scaling.type === "linear") return plain.map((w) => w / scaling.factor);
  // Llama 3.1: long wavelengths are stretched, short ones kept, those between blended.
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositions } = scaling;
  return plain.map((w) => {
    const wavelength = (2 * Math.PI) / w;
    if (wavelength > originalMaxPositions / lowFreqFactor) return w / factor;
    if (wavelength < originalMaxPositions / highFreqFactor) return w;
    const smooth = (originalMaxPositions / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
    return ((1 - smooth) * w) / factor + smooth * w;
  });
}

export class Rope {
  readonly frequencies: Float32Array;
  #table: Tensor | undefined; // (P,D/2,2) f32

  constructor(
    private readonly device: Device,
    options: RopeOptions,
  ) {
    this.frequencies = inverseFrequencies(options);
  }

  /** A table of at least `positions` rows; grows by doubling. */
  table(positions: number): Tensor {
    if (this.#table && (this.#table.shape[0] as number) >= positions) return this.#table;
    const rows = 2 ** Math.ceil(Math.log2(Math.max(positions, 64)));
    const values = new Float32Array(rows * this.frequencies.length * 2);
    let at = 0;
    for (let p = 0; p < rows; ++p) {
      for (const w of this.frequencies) {
        const angle = Math.fround(p * w);
        values[at++] = Math.cos(angle);
        values[at++] = Math.sin(angle);
      }
    }
    this.#table?.dispose();
    this.#table = keep(Tensor.from(values, [rows, this.frequencies.length, 2], { device: this.device }));
    return this.#table;
  }

  dispose(): void {
    this.#table?.dispose();
    this.#table = undefined;
  }
}
