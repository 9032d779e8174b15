// What several tests of ops need: the machine's dispatch levels, and central differences.
import * as assert from "uvu/assert";
import { AnymalError, backward, type Device, device, scope, Tensor } from "../lib/index.js";

const LEVELS = ["generic", "avx2", "avx512", "avx512_bf16", "amx"];

/** Every dispatch level that this machine has, or the one that ANYMAL_CPU_LEVEL names, each as a device of its own; of a device without levels, the device. */
export function levels(): [string, Device][] {
  const name = process.env.ANYMAL_DEVICE ?? "cpu";
  if (name !== "cpu") return [[name, device(name)]];
  const forced = process.env.ANYMAL_CPU_LEVEL;
  return (forced ? [forced] : LEVELS).flatMap((level): [string, Device][] => {
    try {
      return [[level, device("cpu", { level })]];
    } catch (error) {
      if (error instanceof AnymalError || (error as { code?: string }).code === "E_DEVICE") return [];
      throw error;
    }
  });
}

/** Uniform in [-1, 1), a function of the seed: mulberry32. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 15), z | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 31 - 1;
  };
}

export interface Input {
  values: Float32Array;
  shape: readonly number[];
}

/**
 * Gradients against central differences: the probe Σ rᵢ·yᵢ is taken in double precision over the op's f32 outputs, at two widths, and
 * extrapolated (Richardson). The tolerance is the rounding of the outputs over the width, plus what the extrapolation leaves.
 */
export async function checkGradients(
  what: string,
  d: Device,
  inputs: Readonly<Record<string, Input>>,
  run: (tensors: Record<string, Tensor>) => Tensor,
  seed: number,
): Promise<void> {
  const draw = random(seed);
  let probe: Float64Array | undefined;
  const make = (changed: string | undefined, at: number, by: number, requiresGrad: boolean) =>
    Object.fromEntries(
      Object.entries(inputs).map(([name, { values, shape }]) => {
        const copy = Float32Array.from(values);
        if (name === changed) copy[at] = (copy[at] as number) + by;
        return [name, Tensor.from(copy, shape, { device: d, requiresGrad })];
      }),
    );
  const value = async (name: string, at: number, by: number) => {
    const tensors = make(name, at, by, false);
    const y = scope(() => run(tensors));
    const data = (await y.data()) as Float32Array;
    for (const t of [y, ...Object.values(tensors)]) t.dispose();
    return data.reduce((total, v, i) => total + v * (probe as Float64Array)[i]!, 0);
  };

  const tensors = make(undefined, 0, 0, true);
  const y = scope(() => run(tensors));
  const out = (await y.data()) as Float32Array;
  probe = Float64Array.from(out, () => Math.fround(draw()));
  const noise = out.reduce((total, v, i) => total + Math.abs(v * probe![i]!), 0) * 2 ** -23 * 4;
  const dy = Tensor.from(Float32Array.from(probe), y.shape, { device: d });
  backward(y, dy);
  for (const [name, { values }] of Object.entries(inputs)) {
    const grad = (await tensors[name]!.grad?.data()) as Float32Array | undefined;
    assert.ok(grad, `${what}: no gradient of ${name}`);
    const scale = Math.max(...grad.map(Math.abs), 1e-3);
    for (let i = 0; i < values.length; ++i) {
      const h = 2 ** -6 * Math.max(0.25, Math.abs(values[i] as number));
      const slope = async (width: number) => ((await value(name, i, width)) - (await value(name, i, -width))) / (2 * width);
      const [wide, narrow] = [await slope(2 * h), await slope(h)];
      const want = (4 * narrow - wide) / 3;
      const tolerance = (2 * noise) / h + 2e-3 * scale + 0.2 * Math.abs(narrow - wide);
      assert.ok(
        Math.abs((grad[i] as number) - want) <= tolerance,
        `${what}: gradient of ${name}[${i}] is ${grad[i]}, central differences say ${want} ± ${tolerance} (seed ${seed})`,
      );
    }
    tensors[name]!.grad?.dispose();
  }
  for (const t of [y, dy, ...Object.values(tensors)]) t.dispose();
}
