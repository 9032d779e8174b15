// A resampler on the emulated card, and by itself a process that runs it once: how many layers, in which dtype and whether backward too, is its argument.
import { pathToFileURL } from "node:url";
import { backward, type Device, device, scope, Tensor } from "../../lib/index.js";
import { Resampler } from "../../lib/models/bridges/perceiver.js";
import { Weights } from "../../lib/nn/weights.js";
import { random } from "../harness.js";

export interface Asked {
  depth: number;
  dtype: "f32" | "bf16";
  backward: boolean;
}

/** Its few latents, more than the rows of the thinnest tile as real ones are, see many features, whose keys are split over blocks. */
export function resampler(d: Device, { depth, dtype }: Pick<Asked, "depth" | "dtype">): { model: Resampler; x: Tensor; grad: Tensor } {
  const [S, dim, latents] = [300, 32, 20];
  const weights = Weights.fresh({ seed: 1, device: d, trainable: true });
  const model = new Resampler(weights, { form: "openflamingo", dim, depth, heads: 2, dimHead: 16, latents });
  const draw = random(3);
  const drawn = (...shape: number[]) => {
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, draw);
    return Tensor.from(values, shape, { device: d, dtype });
  };
  return { model, x: drawn(1, S, dim), grad: drawn(1, latents, dim) };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const asked: Asked = JSON.parse(process.argv[2] as string);
  const d = device("emulated");
  const { model, x, grad } = resampler(d, asked);
  const y = scope(() => model.forward(x));
  if (asked.backward) backward(y, grad);
  await d.synchronize();
}
