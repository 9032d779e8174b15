// A gated cross-attention block on the emulated card, and by itself a process that runs it once: in which dtype and whether backward too, is its argument.
import { pathToFileURL } from "node:url";
import { GatedCrossAttention } from "../../lib/adapters/gated-cross-attention.js";
import { backward, device, scope, Tensor } from "../../lib/index.js";
import { Weights } from "../../lib/nn/weights.js";
import { random } from "../harness.js";

export interface Asked {
  dtype: "f32" | "bf16";
  backward: boolean;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const asked: Asked = JSON.parse(process.argv[2] as string);
  const d = device("emulated");
  const [B, T, S, dim, dimVisual] = [1, 20, 40, 32, 48];
  const block = new GatedCrossAttention(Weights.fresh({ seed: 1, device: d, trainable: true }), { dim, dimVisual, heads: 2, dimHead: 16 });
  const draw = random(3);
  const drawn = (...shape: number[]) => {
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, draw);
    return Tensor.from(values, shape, { device: d, dtype: asked.dtype });
  };
  const [x, rows, grad] = [drawn(B, T, dim), drawn(B, S, dimVisual), drawn(B, T, dim)];
  const y = scope(() => block.gated(x, block.keysOf(rows)));
  if (asked.backward) backward(y, grad);
  await d.synchronize();
}
