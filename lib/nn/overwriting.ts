// What a file holds of tensors that stand in a model already, written into them to the bit: everything is looked at before the first write.
import type { Tensor } from "../core/tensor.js";
import { atOnce } from "../core/turns.js";
import { sameTensor, type WeightSource } from "../io/checkpoint.js";
import { describe, StateError } from "./module.js";

/** A tensor as a file has it. */
export interface Stored {
  /** Its names there. One that is tied has several: each of them is written, and one is enough to read it. */
  keys: readonly string[];
  tensor: Tensor;
  /** Of one that is joined with others in a table: the first of its rows, and how many the table has. */
  rows?: { from: number; of: number };
}

/** The shape under its name. */
export function storedShape({ tensor: { shape }, rows }: Stored): readonly number[] {
  return rows ? [rows.of, ...shape.slice(1)] : shape;
}

/**
 * What there is to write once everything is known to fit. Throws E_STATE where a weight is missing, left over, of another shape, or of a dtype that is not
 * among `dtypes` (F32 and BF16, both of which f32 holds exactly; without them the tensor's own), or where two names of one tensor hold different numbers.
 */
export function overwriting(file: WeightSource, all: readonly Stored[], dtypes?: readonly string[]): (() => void)[] {
  const known = new Set(all.flatMap(({ keys }) => keys));
  const missing = all.filter(({ keys }) => !keys.some((key) => file.has(key))).map(({ keys }) => keys[0] as string);
  const left = [...file.names()].filter((name) => !known.has(name));
  if (missing.length || left.length)
    throw new StateError(`the weights of the model in ${file.path}`, describe([...new Set(missing)], left));
  return all.map((one) => {
    const there = one.keys.filter((key) => file.has(key));
    const [name, other] = there as [string, string?];
    const { dtype, shape, bytes } = file.entry(name);
    const wanted = storedShape(one);
    const fits = dtypes ?? [one.tensor.dtype.toUpperCase()];
    if (!fits.includes(dtype) || String(shape) !== String(wanted))
      throw new StateError(`"${name}" as ${fits.join(" or ")} [${wanted}]`, `${dtype} [${shape}] in ${file.path}`);
    if (other !== undefined && !atOnce(sameTensor(file, name, other)))
      throw new StateError(`the same numbers under "${name}" and "${other}"`, `others in ${file.path}`);
    const { from, of } = one.rows ?? { from: 0, of: 1 };
    const row = bytes / of;
    const length = one.rows ? row * (one.tensor.shape[0] as number) : bytes;
    return () => {
      const own = file.bytes(name, from * row, length);
      one.tensor.write(dtype === "BF16" ? widened(own) : new Float32Array(own));
    };
  });
}

/** bf16 is the upper half of f32. */
const widened = (bytes: ArrayBuffer): Float32Array =>
  new Float32Array(Uint32Array.from(new Uint16Array(bytes), (half) => half << 16).buffer);
