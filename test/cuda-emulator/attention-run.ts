// Attention on the emulated card, and by itself a process that runs it once, of the kind that its argument asks for.
import { pathToFileURL } from "node:url";
import { attention, attentionTwoSource, backward, type Device, device, Tensor } from "../../lib/index.js";
import { random } from "../harness.js";

export interface Asked {
  dtype: "f32" | "bf16";
  /** Of queries, of keys, of keys of a second source; heads of keys, their size. */
  T: number;
  S: number;
  S2: number;
  K: number;
  D: number;
  causal: boolean;
  /** One that all rows and heads share. */
  biased: boolean;
}

const [B, GROUP] = [2, 2];

/** Leaves, what attention makes of them, and a gradient for it. */
export function attentive(d: Device, { dtype, T, S, S2, K, D, causal, biased }: Asked) {
  const draw = random(5);
  const drawn = (shape: number[], type: Asked["dtype"] = dtype, requiresGrad = true) => {
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, draw);
    return Tensor.from(values, shape, { device: d, dtype: type, requiresGrad });
  };
  const q = drawn([B, T, K * GROUP, D]);
  const keys = [S, S, ...(S2 ? [S2, S2] : [])].map((rows) => drawn([B, rows, K, D])) as [Tensor, Tensor, Tensor, Tensor];
  const [k, v, k2, v2] = keys;
  const bias = biased ? drawn([1, 1, T, S], "f32") : undefined;
  const dy = drawn([B, T, K * GROUP, D], dtype, false);
  return {
    leaves: [q, ...keys, ...(bias ? [bias] : [])],
    dy,
    forward: () => (S2 ? attentionTwoSource(q, k, v, k2, v2) : attention(q, k, v, { causal, bias })),
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const d = device("emulated");
  const { forward, dy } = attentive(d, JSON.parse(process.argv[2] as string));
  backward(forward(), dy);
  await d.synchronize();
}
