// Writes GGUF files as tests and fuzzing need them: any keys, any tensors, and any lie about them.
import type { Field } from "./target.js";

/** A value of a key: its type by number, and what it holds. */
export type GgufField =
  | { type: 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 10 | 11 | 12; value: number | bigint }
  | { type: 8; value: string | Uint8Array; length?: bigint }
  | { type: 9; of: number; items: readonly (string | number | bigint)[]; count?: bigint };

export interface GgufEntry {
  name: string;
  /** As in the file: the fastest size first. */
  sizes: readonly (number | bigint)[];
  type: number;
  offset?: number | bigint;
  data: Uint8Array;
}
export interface GgufPlan {
  magic?: string;
  version?: number;
  alignment?: number;
  values: readonly (readonly [key: string, field: GgufField])[];
  tensors: readonly GgufEntry[];
  valueCount?: bigint;
  tensorCount?: bigint;
}

export const u32 = (value: number): GgufField => ({ type: 4, value });
export const f32 = (value: number): GgufField => ({ type: 6, value });
export const flag = (value: boolean): GgufField => ({ type: 7, value: Number(value) });
export const text = (value: string): GgufField => ({ type: 8, value });
export const list = (of: number, items: readonly (string | number | bigint)[]): GgufField => ({ type: 9, of, items });

const WIDTHS: Readonly<Record<number, 1 | 2 | 4 | 8>> = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 };

class Writer {
  readonly fields: Field[] = [];
  #parts: Uint8Array[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }
  raw(bytes: Uint8Array): void {
    this.#parts.push(bytes);
    this.#size += bytes.length;
  }
  number(type: number, value: number | bigint, known = true): void {
    const view = new DataView(new ArrayBuffer(8));
    if (type === 6) view.setFloat32(0, Number(value), true);
    else if (type === 12) view.setFloat64(0, Number(value), true);
    else view.setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
    const bytes = WIDTHS[type] ?? 4;
    if (known && type !== 6 && type !== 12) this.fields.push({ at: this.#size, bytes });
    this.raw(new Uint8Array(view.buffer, 0, bytes));
  }
  string(value: string | Uint8Array, length?: bigint): void {
    const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value;
    this.number(10, length ?? bytes.length);
    this.raw(bytes);
  }
  value(field: GgufField): void {
    this.number(4, field.type);
    if (field.type === 8) this.string(field.value, field.length);
    else if (field.type === 9) {
      this.number(4, field.of);
      this.number(10, field.count ?? field.items.length);
      for (const item of field.items) {
        if (field.of === 8) this.string(String(item));
        else this.number(field.of, item as number | bigint, false);
      }
    } else this.number(field.type, field.value);
  }
  pad(alignment: number): void {
    this.raw(new Uint8Array((alignment - (this.#size % alignment)) % alignment));
  }
  bytes(): Uint8Array {
    return Buffer.concat(this.#parts);
  }
}

/** The file, and where its lengths, counts, types and offsets are. */
export function ggufFile(plan: GgufPlan): { bytes: Uint8Array; fields: Field[] } {
  const { magic = "GGUF", version = 3, alignment = 32, values, tensors } = plan;
  const w = new Writer();
  w.raw(new TextEncoder().encode(magic));
  w.number(4, version);
  w.number(10, plan.tensorCount ?? tensors.length);
  w.number(10, plan.valueCount ?? values.length);
  for (const [key, field] of values) {
    w.string(key);
    w.value(field);
  }
  let offset = 0;
  for (const { name, sizes, type, data, offset: told } of tensors) {
    w.string(name);
    w.number(4, sizes.length);
    for (const size of sizes) w.number(10, size);
    w.number(4, type);
    w.number(10, told ?? offset);
    offset = Math.ceil((offset + data.length) / alignment) * alignment;
  }
  w.pad(alignment);
  for (const { data } of tensors) {
    w.raw(data);
    w.pad(alignment);
  }
  return { bytes: w.bytes(), fields: w.fields };
}
