// The angle per position of each pair in rotary position embedding (arXiv 2104.09864), and how checkpoints stretch it over longer contexts.
// In the f32 steps of transformers' modeling_rope_utils.py.

export type RopeScaling =
  | { type: "default" }
  /** Positions count 1 / factor. */
  | { type: "linear"; factor: number }
  /** "NTK-aware": beyond maxPositions the base grows with the length of the sequence. */
  | { type: "dynamic"; factor: number; maxPositions: number }
  /** Llama 3.1: long wavelengths are stretched, short ones kept, those between blended. */
  | { type: "llama3"; factor: number; lowFreqFactor: number; highFreqFactor: number; originalMaxPositions: number }
  /** Llama 3.1 as GGUF has it: what each pair's frequency is divided by, (D/2). */
  | { type: "factors"; factors: readonly number[] }
  /** arXiv 2309.00071. */
  | {
      type: "yarn";
      factor: number;
      originalMaxPositions: number;
      /** Rotations within the original context from which on a pair is kept, and up to which it is stretched. */
      betaFast: number;
      betaSlow: number;
      /** Do the two bounds fall on whole pairs? */
      truncate: boolean;
      /** Multiplies cosines and sines. */
      attentionFactor: number;
    };

export interface RopeAngles {
  headDim: number;
  theta: number;
  scaling: RopeScaling;
}

const f = Math.fround;

/** (D/2) f32. `length` is the number of positions of the whole sequence, which only the dynamic kind asks for. */
export function inverseFrequencies({ headDim, theta, scaling }: RopeAngles, length = 0): Float32Array {
  switch (scaling.type) {
    case "default":
      return plain(headDim, theta);
    case "linear":
      return plain(headDim, theta).map((w) => w / scaling.factor);
    case "dynamic": {
      const { factor, maxPositions } = scaling;
      const stretch = (factor * Math.max(length, maxPositions)) / maxPositions - (factor - 1);
      return plain(headDim, theta * stretch ** (headDim / (headDim - 2)));
    }
    case "llama3": {
      const { factor, lowFreqFactor, highFreqFactor, originalMaxPositions } = scaling;
      return plain(headDim, theta).map((w) => {
        const wavelength = (2 * Math.PI) / w;
        if (wavelength > originalMaxPositions / lowFreqFactor) return w / factor;
        if (wavelength < originalMaxPositions / highFreqFactor) return w;
        const smooth = (originalMaxPositions / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
        return ((1 - smooth) * w) / factor + smooth * w;
      });
    }
    case "factors":
      return plain(headDim, theta).map((w, i) => w / (scaling.factors[i] as number));
    case "yarn":
      return yarn(headDim, theta, scaling);
  }
}

/** What cosines and sines are multiplied by. */
export const attentionFactorOf = (scaling: RopeScaling): number => (scaling.type === "yarn" ? scaling.attentionFactor : 1);

function plain(headDim: number, theta: number): Float32Array {
  return Float32Array.from({ length: headDim / 2 }, (_, i) => f(1 / f(theta ** f((2 * i) / headDim))));
}

/** Pairs that turn often within the original context are kept, pairs that do not turn once are stretched, those between blended along a ramp. */
function yarn(headDim: number, theta: number, scaling: Extract<RopeScaling, { type: "yarn" }>): Float32Array {
  const { factor, originalMaxPositions, betaFast, betaSlow, truncate } = scaling;
  const pairOf = (rotations: number) => (headDim * Math.log(originalMaxPositions / (rotations * 2 * Math.PI))) / (2 * Math.log(theta));
  const [first, last] = [pairOf(betaFast), pairOf(betaSlow)];
  const low = Math.max(truncate ? Math.floor(first) : first, 0);
  const high = Math.min(truncate ? Math.ceil(last) : last, headDim - 1);
  const width = high === low ? 0.001 : high - low;
  return plain(headDim, theta).map((w, i) => {
    const kept = f(1 - Math.min(1, Math.max(0, f(f(i - low) / width))));
    return f(f(w / factor) * f(1 - kept)) + f(w * kept);
  });
}

/** YaRN's own attention factor (equation 22), and DeepSeek's form of it where both scales are given. */
export function yarnAttentionFactor(factor: number, mscale = 0, mscaleAllDim = 0): number {
  const scaleOf = (m: number) => (factor <= 1 ? 1 : 0.1 * m * Math.log(factor) + 1);
  return mscale && mscaleAllDim ? scaleOf(mscale) / scaleOf(mscaleAllDim) : scaleOf(1);
}
