// A call of an op, as those who count along are told of it.
import type { DryObserver, DrySpec } from "../core/dry.js";

/** Argument i as a tensor, as a list of them, as a number, as a list of them, or whether it is there; and what the op gave. */
export interface OpCall {
  at(i: number): DrySpec;
  all(i: number): DrySpec[];
  n(i: number): number;
  numbers(i: number): readonly number[];
  given(i: number): boolean;
  made(): DrySpec[];
}

/** Tells `what` of every call. */
export const counting =
  (what: (op: string, call: OpCall) => void): DryObserver =>
  (op, args, result, spec) =>
    what(op, {
      at: (i) => spec(args[i] as number),
      all: (i) => (args[i] as readonly number[]).map(spec),
      n: (i) => Number(args[i]),
      numbers: (i) => args[i] as readonly number[],
      given: (i) => Boolean(args[i]),
      made: () => [result].flat().flatMap((handle) => (typeof handle === "number" ? [spec(handle)] : [])),
    });

const BYTES = [4, 2, 4, 1] as const;
export const sizeOf = ({ shape }: DrySpec): number => shape.reduce((a, b) => a * b, 1);
export const rowsOf = ({ shape }: DrySpec): number => shape.slice(0, -1).reduce((a, b) => a * b, 1);
export const colsOf = ({ shape }: DrySpec): number => shape.at(-1) ?? 1;
export const dim = ({ shape }: DrySpec, i: number): number => shape[i] as number;
export const isNarrow = ({ dtype }: DrySpec): boolean => dtype === 1;
export const floatsOf = (x: DrySpec): "f32" | "bf16" => (isNarrow(x) ? "bf16" : "f32");
/** Of a number. */
export const widthOf = ({ dtype }: DrySpec): number => BYTES[dtype] as number;
export const bytesOf = (x: DrySpec): number => sizeOf(x) * widthOf(x);
