// Linears before a quantised weight on the emulated card, with LoRA or without, and by itself a process that runs each once, forward and backward.
import { pathToFileURL } from "node:url";
import { backward, type Device, device, scope, Tensor } from "../../lib/index.js";
import { QuantizedWeight } from "../../lib/nn/quantized-weight.js";
import * as ops from "../../lib/ops/index.js";
import { random } from "../harness.js";

export interface Asked {
  lora: boolean;
  /** Rows that a shape must have. */
  least?: number;
}

/** Few rows, some more, and what neither of their kernels takes: inputs that end within a block of the weight. */
const SHAPES = [
  { rows: 5, inputs: 192, outputs: 70 },
  { rows: 40, inputs: 576, outputs: 72 },
  { rows: 260, inputs: 72, outputs: 40 },
  { rows: 20, inputs: 600, outputs: 40 },
];
const FORMATS = ["nf4", "int8"] as const;
const DTYPES = ["f32", "bf16"] as const;
const RANK = 20;
const shapesOf = (least = 0) => SHAPES.filter(({ rows }) => rows >= least);
export const linears = (least?: number) => shapesOf(least).length * FORMATS.length * DTYPES.length;

export const drawn = (d: Device, dtype: (typeof DTYPES)[number], draw: () => number, ...shape: number[]) =>
  Tensor.from(Float32Array.from({ length: shape.reduce((a, b) => a * b) }, draw), shape, { device: d, dtype });

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const asked: Asked = JSON.parse(process.argv[2] as string);
  const d = device("emulated");
  const draw = random(7);
  for (const dtype of DTYPES)
    for (const { rows, inputs, outputs } of shapesOf(asked.least))
      for (const format of FORMATS) {
        using w = drawn(d, "f32", draw, outputs, inputs);
        const weight = QuantizedWeight.quantize(w, { format });
        const [x, a, b, dy] = [
          drawn(d, dtype, draw, rows, inputs),
          drawn(d, dtype, draw, RANK, inputs),
          drawn(d, dtype, draw, outputs, RANK),
          drawn(d, dtype, draw, rows, outputs),
        ] as const;
        x.requiresGrad = true;
        a.requiresGrad = b.requiresGrad = asked.lora;
        const y = scope(() =>
          asked.lora ? ops.linearQuantizedLora(x, weight, a, b, { scaling: 2, dropout: 0.1 }) : ops.linearQuantized(x, weight),
        );
        backward(y, dy);
      }
  await d.synchronize();
}
