// Several quantised weights over one x: a layer's queries, keys and values, and its gate and up, with branches and without.
import type { OpCase, Operand, TensorOperand } from "./op-cases.js";

const NF4 = 0;
const BLOCK = 64;

export function groupCases(dtype: "f32" | "bf16", packed: (format: number, O: number, I: number) => Operand): OpCase[] {
  const x = (...shape: number[]): TensorOperand => ({ dtype, shape });
  const f = (...shape: number[]): TensorOperand => ({ dtype: "f32", shape });
  const [I, r] = [2048, 16];
  const weights = (outputs: readonly number[]): Operand[] => [
    outputs.map((O) => packed(NF4, O, I)),
    outputs.map((O) => f((O * I) / BLOCK)),
    [],
    [],
  ];
  const branches = (outputs: readonly number[]): Operand[] => [outputs.map(() => x(r, I)), outputs.map((O) => x(O, r))];
  const numbers = (all: readonly number[]): Operand => ({ numbers: all });
  const of = (outputs: readonly number[]): Operand[] => [
    numbers(outputs.map((_, i) => i)),
    numbers(outputs.map(() => 1)),
    numbers(outputs.map((_, i) => 2 + i)),
  ];
  const none: Operand[] = [numbers([]), numbers([]), numbers([])];
  const total = (outputs: readonly number[]) => outputs.reduce((a, b) => a + b);
  const all: OpCase[] = [];
  for (const [name, outputs] of [
    ["q, k, v", [2048, 256, 256]],
    ["gate, up", [5632, 5632]],
  ] as const) {
    const O = total(outputs);
    const plain = (N: number): Operand[] => [
      ...[outputs.length, false, x(N, I), ...weights(outputs), [], [], []],
      ...[numbers(outputs), ...none, NF4, BLOCK, 0, 0, 0],
    ];
    all.push({
      op: "linear_quantized_group",
      shape: `nf4 ${name}, decode, N 1, I ${I}, O ${outputs.join(", ")}`,
      args: plain(1),
      flops: 2 * I * O,
      cold: true,
    });
    const N = 192;
    const shape = `nf4 ${name}, N ${N}, I ${I}, O ${outputs.join(", ")}, r ${r}`;
    all.push({
      op: "linear_quantized_group",
      shape,
      args: [
        ...[outputs.length, true, x(N, I), ...weights(outputs), [], ...branches(outputs)],
        ...[numbers(outputs), ...of(outputs), NF4, BLOCK, 0, 0.05, 1],
      ],
      flops: 2 * N * (I * O + r * (outputs.length * I + O)),
    });
    all.push({
      op: "linear_quantized_group_backward",
      shape,
      args: [
        ...[true, outputs.map(() => f(r, I)), outputs.map((o) => f(o, r)), outputs.map((o) => x(N, o))],
        ...[x(N, I), x(N * r * outputs.length), ...weights(outputs), ...branches(outputs), ...of(outputs), NF4, BLOCK, I, 0.05, 1],
      ],
      flops: 2 * N * (I * O + 2 * r * (outputs.length * I + O)),
    });
  }
  return all;
}
