// The keys and values of one layer, in the form that they are kept in: f32, bf16, or codes of 8 bit with the largest of each position and head, as
// llama.cpp's cache types and transformers' QuantizedCache keep them to read half as much, or a quarter.
import type { Device } from "../core/device.js";
import { built, keep, scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import {
  attention,
  attentionDecode,
  cacheWrite,
  cast,
  dequantizeRowsInt8,
  gatherRows,
  quantizeRowsInt8,
  ropeCached,
  sliceCopy,
} from "../ops/index.js";
import type { Heads, Sequence } from "./sequence.js";

/** What keys and values are kept as. */
export type CacheType = "f32" | "bf16" | "int8";
export const CACHE_TYPES: readonly CacheType[] = ["f32", "bf16", "int8"];

/** One buffer (B,length,K,D), and beside codes their scales (B,length,K,1) f32. */
interface Kept {
  rows: Tensor;
  scales: Tensor | undefined;
}

export class KeyValues {
  readonly #keys: Kept;
  readonly #values: Kept;

  /** `shape` is (B,length,K,D); what is written and read has `dtype`. */
  constructor(
    device: Device,
    shape: readonly [number, number, number, number],
    private readonly dtype: "f32" | "bf16",
    type: CacheType,
  ) {
    const [B, length, K] = shape;
    // Zeros, not garbage: a key that is masked out still meets the query, and 0 · NaN would not be hidden.
    const kept = (): Kept => ({
      rows: keep(Tensor.zeros(shape, { device, dtype: type === "int8" ? "u8" : type })),
      scales: type === "int8" ? keep(Tensor.zeros([B, length, K, 1], { device, dtype: "f32" })) : undefined,
    });
    [this.#keys, this.#values] = built(() => [kept(), kept()]);
  }

  get tensors(): Tensor[] {
    return [this.#keys, this.#values].flatMap(({ rows, scales }) => (scales ? [rows, scales] : [rows]));
  }

  /** k, v (B,T,K,D) from slot (B) i32 on. */
  write(k: Tensor, v: Tensor, slot: Tensor): void {
    scope(() => {
      this.#put(this.#keys, k, slot);
      this.#put(this.#values, v, slot);
    });
  }
  /** Does it keep what has this dtype as it is? */
  keeps(dtype: Tensor["dtype"]): boolean {
    const { rows, scales } = this.#keys;
    return !scales && rows.dtype === dtype;
  }
  /** Turns q (B,T,H,D) and k (B,T,K,D) by their positions: the queries; the keys, with v, are here from slot (B) i32 on. */
  turn({ q, k, v }: Heads, { table, positions }: Pick<Sequence, "table" | "positions">, slot: Tensor): Tensor {
    return ropeCached(q, k, v, table, positions, { kCache: this.#keys.rows, vCache: this.#values.rows, slot });
  }
  #put({ rows, scales }: Kept, x: Tensor, slot: Tensor): void {
    if (!scales) {
      cacheWrite(rows, x.dtype === rows.dtype ? x : cast(x, rows.dtype), slot);
      return;
    }
    const [B, T, K, D] = x.shape as [number, number, number, number];
    const { codes, absmax } = quantizeRowsInt8(x.reshape([B * T * K, D]));
    cacheWrite(rows, codes.reshape([B, T, K, D]), slot);
    cacheWrite(scales, absmax.reshape([B, T, K, 1]), slot);
  }

  /**
   * What one query of each row, q (B,1,H,D), finds in its range (B,2) i32 of positions. With a bias (1|B,H,1,length) for the scores it goes through the op
   * that takes one: keys that are kept in another type than the model's are widened for it.
   */
  decode(q: Tensor, range: Tensor, { bias, ...options }: { scale: number; window: number; bias?: Tensor | undefined }): Tensor {
    if (bias) return this.#biased(q, range, bias, options.scale);
    const [{ rows: k, scales: kScale }, { rows: v, scales: vScale }] = [this.#keys, this.#values];
    if (kScale && vScale) return attentionDecode(q, k, v, range, { ...options, kScale, vScale });
    if (q.dtype === k.dtype) return attentionDecode(q, k, v, range, options);
    return scope(() => cast(attentionDecode(cast(q, k.dtype), k, v, range, options), q.dtype));
  }

  #biased(q: Tensor, range: Tensor, bias: Tensor, scale: number): Tensor {
    const [{ rows: k }, { rows: v }] = [this.#keys, this.#values];
    if (k.dtype === q.dtype) return attention(q, k, v, { range, bias, scale });
    return scope(() => attention(q, ...this.first(k.shape[1] as number), { range, bias, scale }));
  }

  /** Keys and values (B,count,K,D) of the first `count` positions, in the dtype of the model. */
  first(count: number): [Tensor, Tensor] {
    return [this.#first(this.#keys, count), this.#first(this.#values, count)];
  }
  #first({ rows, scales }: Kept, count: number): Tensor {
    return scope(() => {
      const part = sliceCopy(rows, 1, 0, count);
      if (!scales) return part.dtype === this.dtype ? part : cast(part, this.dtype);
      const { shape, size } = part;
      const flat = [size / (shape.at(-1) as number), shape.at(-1) as number];
      return dequantizeRowsInt8(part.reshape(flat), sliceCopy(scales, 1, 0, count).reshape([flat[0] as number]), this.dtype).reshape(shape);
    });
  }

  /** Puts the first `count` positions of another of the same type here, at slot (B) i32; with an index (B) i32, those of the rows that it names. */
  take(other: KeyValues, count: number, slot: Tensor, index?: Tensor): void {
    scope(() => {
      for (const [i, to] of this.tensors.entries()) {
        const part = sliceCopy(other.tensors[i] as Tensor, 1, 0, count);
        cacheWrite(to, index ? rowsOf(part, index) : part, slot);
      }
    });
  }

  /** Puts `count` positions of row `from`, those from `since` on, at the same places of row `to`. `slot`: (1) i32 of `since`. */
  fork(from: number, to: number, { since, count, slot }: { since: number; count: number; slot: Tensor }): void {
    scope(() => {
      for (const all of this.tensors) cacheWrite(all.slice(to, 1), sliceCopy(all.slice(from, 1), 1, since, count), slot);
    });
  }

  dispose(): void {
    for (const tensor of this.tensors) tensor.dispose();
  }
}

/** Rows of x (B,…) by index (N) i32 → (N,…). */
export const rowsOf = (x: Tensor, index: Tensor): Tensor => {
  const [B, ...rest] = x.shape as [number, ...number[]];
  return gatherRows(x.reshape([B, x.size / B]), index).reshape([index.size, ...rest]);
};
