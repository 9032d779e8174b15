// An optimiser's steps on the emulated card, and by itself a process that makes some: how many tensors, steps and which moments is its argument.
import { pathToFileURL } from "node:url";
import { type Device, device, Tensor } from "../../lib/index.js";
import { AdamW, decayMatricesOnly } from "../../lib/train/optimizer.js";
import { random } from "../harness.js";

export interface Asked {
  tensors: number;
  steps: number;
  moments: "f32" | "8bit";
}

/** Matrices and vectors, some large enough for moments of 8 bits, in two groups; a step has fresh gradients. */
export function trained(d: Device, { tensors, moments }: Omit<Asked, "steps">): { optimizer: AdamW; step: () => Tensor } {
  const draw = random(5);
  const drawn = (shape: readonly number[], requiresGrad = false) =>
    Tensor.from(Float32Array.from({ length: shape.reduce((a, b) => a * b) }, draw), [...shape], { device: d, requiresGrad });
  const shapes = Array.from({ length: tensors }, (_, i) => [[7, 9], [11], [70, 60]][i % 3] as number[]);
  const parameters = shapes.map((shape, i) => [`p${i}`, drawn(shape, true)] as const);
  const optimizer = new AdamW(decayMatricesOnly(parameters, 0.1), { maxGradNorm: 1, moments });
  const step = () => {
    for (const [, p] of parameters) p.grad = drawn(p.shape);
    const norm = optimizer.step(1e-3);
    optimizer.zeroGrad();
    return norm;
  };
  return { optimizer, step };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const asked: Asked = JSON.parse(process.argv[2] as string);
  const d = device("emulated");
  const { step } = trained(d, asked);
  for (let i = 0; i < asked.steps; ++i) step();
  await d.synchronize();
}
