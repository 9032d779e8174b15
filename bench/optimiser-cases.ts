// AdamW over all the parameters of a large training, in one call as the optimiser makes it.
import { type Handle, native } from "../lib/core/native.js";
import type { OpCase, Operand } from "./op-cases.js";

/** LoRA of rank 64 on each linear layer of 70 billion weights: some 800 million in 1120 tensors. */
const MANY = { tensors: 1120, each: 720_896 };
const FEW = { tensors: 8, each: 4096 };
const BLOCK = 256;
/** Read: gradient twice (norm, step), parameter, both states and their maxima; written: all but the gradient. */
const BYTES_EACH = 4 + 4 + 2 * 4 + 2 * 2 + (2 * 2 * 4) / BLOCK;

const BESIDE = { fused: "fused AdamW with 32-bit states, norm and clipping", bitsandbytes: "AdamW8bit of bitsandbytes, norm and clipping" };

export function manyParameters(size: string): OpCase[] {
  const { tensors, each } = size === "tiny" ? FEW : MANY;
  const list = (one: () => Operand): Operand[] => Array.from({ length: tensors }, one);
  const floats = () => list(() => ({ dtype: "f32", shape: [each] }));
  const states = (signed: boolean, part: 0 | 1) => list(() => (device) => quantised(device, each, signed, part));
  const numbers = { numbers: Array.from({ length: tensors }, () => 1e-4) };
  const steps = { numbers: Array.from({ length: tensors }, () => 3) };
  return [
    {
      op: "adamw_clipped",
      shape: `${tensors} tensors of ${each}, 8-bit states`,
      args: [
        ...[floats(), floats(), states(true, 0), states(false, 0), states(true, 1), states(false, 1)],
        ...[numbers, numbers, steps, 0.9, 0.95, 1e-8, 1],
      ],
      moved: tensors * each * BYTES_EACH,
      beside: Object.entries(BESIDE).map(([as, name]) => [{ what: "optimiser", tensors, each, as }, name]),
      only: "f32",
    },
  ];
}

/** Codes (0) or maxima (1) of random moments in 8 bit. */
function quantised(device: number, size: number, signed: boolean, part: 0 | 1): Handle {
  const n = native();
  const moments = n.tensor_create(device, 0, [size]);
  n.random_uniform(moments, signed ? -1e-3 : 0, 1e-3, 1, 0);
  const made = n.quantize_dynamic(moments, BLOCK, signed);
  n.tensor_dispose([moments, made[1 - part] as Handle]);
  return made[part] as Handle;
}
