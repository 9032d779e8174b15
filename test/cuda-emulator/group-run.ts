// Products of one x with several quantised weights on the emulated card, and by itself a process that makes them once, or one weight's alone.
import { pathToFileURL } from "node:url";
import { type Device, device, noGrad, type Tensor } from "../../lib/index.js";
import { QuantizedWeight } from "../../lib/nn/quantized-weight.js";
import * as ops from "../../lib/ops/index.js";
import { type GroupMember, linearQuantizedGroup } from "../../lib/ops/linear-group.js";
import type { QuantFormat } from "../../lib/ops/quantize.js";
import { random } from "../harness.js";
import { drawn } from "./lora-run.js";

export interface Asked {
  dtype: "f32" | "bf16";
  format: QuantFormat;
  rows: number;
  inputs: number;
  outputs: readonly number[];
  /** Of each weight's branch; 0: it has none. */
  ranks: readonly number[];
  dropout: number;
  bias: boolean;
}

export function worldOf(d: Device, asked: Asked, seed: number): { x: Tensor; members: GroupMember[] } {
  const { dtype, format, rows, inputs, outputs, ranks, dropout, bias } = asked;
  const draw = random(seed);
  const member = (out: number, i: number): GroupMember => {
    using w = drawn(d, "f32", draw, out, inputs);
    const weight = QuantizedWeight.quantize(w, format === "int8" ? { format } : { format, doubleQuant: format === "nf4" });
    const r = ranks[i] as number;
    const branch = r ? { a: drawn(d, dtype, draw, r, inputs), b: drawn(d, dtype, draw, out, r), scaling: 0.5 + i, dropout } : undefined;
    return { weight, bias: bias ? drawn(d, dtype, draw, out) : undefined, branch };
  };
  return { x: drawn(d, dtype, draw, rows, inputs), members: outputs.map(member) };
}

export const together = (x: Tensor, members: readonly GroupMember[]): Tensor[] => noGrad(() => linearQuantizedGroup(x, members));
export const alone = (x: Tensor, { weight, bias, branch }: GroupMember): Tensor =>
  noGrad(() => {
    if (!branch) return ops.linearQuantized(x, weight, bias);
    const { a, b, ...options } = branch;
    return ops.linearQuantizedLora(x, weight, a, b, { ...options, bias });
  });

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const { one, worlds }: { one: boolean; worlds: readonly Asked[] } = JSON.parse(process.argv[2] as string);
  const d = device("emulated");
  for (const asked of worlds) {
    const { x, members } = worldOf(d, asked, 11);
    if (one) alone(x, members[0] as GroupMember);
    else together(x, members);
  }
  await d.synchronize();
}
