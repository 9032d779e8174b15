// A kind of media that the library does not have: waves in text files, one number a line.
import { mediaKind } from "../../lib/media/kinds/own.js";

export interface Wave {
  values: Float32Array;
}
/** What the encoder was asked for, medium by medium. */
export const asked: number[] = [];

/** Two rows of three: mean, largest and smallest of each half. */
export function halves({ values }: Wave): Float32Array {
  const half = values.length >> 1;
  const told = [values.subarray(0, half), values.subarray(half)].flatMap((part) => [
    part.reduce((a, b) => a + b, 0) / part.length,
    Math.max(...part),
    Math.min(...part),
  ]);
  return Float32Array.from(told);
}

export const encoder = {
  key: "halves 1",
  shape: [2, 3] as const,
  encode: (waves: readonly Wave[]) => {
    asked.push(waves.length);
    return waves.map(halves);
  },
};

export const wave = mediaKind<Wave>({
  name: "wave",
  about: "a wave, a number a line",
  options: { gain: { wanted: "a number", fits: (v) => typeof v === "number" } },
  load: async ({ bytes, options, what }) => {
    const values = Float32Array.from(
      Buffer.from(await bytes())
        .toString()
        .trim()
        .split("\n"),
      Number,
    );
    if (values.some(Number.isNaN)) throw new Error(`${what} holds a word`);
    return { values: values.map((v) => v * ((options.gain as number | undefined) ?? 1)) };
  },
  blank: ({ values }) => ({ values: new Float32Array(values.length) }),
  encoder,
});
