// Tables of which a file holds some rows apart: as one.
import { noGrad } from "../core/autograd.js";
import type { Device } from "../core/device.js";
import { scope } from "../core/scope.js";
import type { DType, Tensor } from "../core/tensor.js";
import { concat } from "../ops/index.js";
import type { WeightSource } from "./checkpoint.js";
import { SafetensorsError } from "./safetensors-header.js";
import { View } from "./views.js";

/** Rows of a table that a file holds apart, behind the table's own (IDEFICS' decoupled embedding): `behind` has the name of the rest by that of the table. */
export class Stacked extends View {
  readonly #behind: ReadonlyMap<string, string>;

  constructor(of: View, behind: Iterable<readonly [table: string, rest: string]>) {
    super(of.source, of.pairs());
    this.#behind = new Map([...behind].filter(([table, rest]) => of.has(table) && of.has(rest)));
    for (const [table, rest] of this.#behind) {
      const [one, other] = [of.entry(table), of.entry(rest)];
      const row = ({ shape: [, ...width], dtype }: ReturnType<WeightSource["entry"]>) => `rows of [${width}] in ${dtype}`;
      if (row(one) !== row(other))
        throw new SafetensorsError(
          of.path,
          `"${rest}" of ${row(one)}, as "${table}"`,
          row(other),
          "the checkpoint is of another architecture, or was put together of two models",
        );
    }
  }

  override names(): Iterable<string> {
    const hidden = new Set(this.#behind.values());
    return [...super.names()].filter((name) => !hidden.has(name));
  }
  override has(name: string): boolean {
    return super.has(name) && ![...this.#behind.values()].includes(name);
  }
  override entry(name: string): ReturnType<WeightSource["entry"]> {
    const one = super.entry(name);
    const rest = this.#rest(name);
    if (!rest) return one;
    const [rows, ...width] = one.shape as [number, ...number[]];
    return { dtype: one.dtype, shape: [rows + (rest.shape[0] as number), ...width], bytes: one.bytes + rest.bytes };
  }
  override load(name: string, device: Device, options: { dtype?: DType | undefined; shape?: readonly number[] | undefined } = {}): Tensor {
    const behind = this.#behind.get(name);
    if (behind === undefined) return super.load(name, device, options);
    const { shape, dtype } = options;
    const both = () => [super.load(name, device, { dtype }), super.load(behind, device, { dtype })];
    const joined = () => (shape ? concat(both(), 0).reshape(shape) : concat(both(), 0));
    return noGrad(() => scope(joined));
  }
  override loadBytes(name: string, device: Device): Tensor {
    const behind = this.#behind.get(name);
    if (behind === undefined) return super.loadBytes(name, device);
    return noGrad(() => scope(() => concat([super.loadBytes(name, device), super.loadBytes(behind, device)], 0)));
  }
  override bytes(name: string, from = 0, length?: number): ArrayBuffer {
    const behind = this.#behind.get(name);
    if (behind === undefined) return super.bytes(name, from, length);
    const own = super.entry(name).bytes;
    const end = length === undefined ? this.entry(name).bytes : from + length;
    const parts = [
      ...(from < own ? [super.bytes(name, from, Math.min(end, own) - from)] : []),
      ...(end > own ? [super.bytes(behind, Math.max(0, from - own), end - Math.max(from, own))] : []),
    ];
    return new Uint8Array(Buffer.concat(parts.map((part) => new Uint8Array(part)))).buffer; // a buffer of Node's may lie in a larger one
  }

  #rest(name: string): ReturnType<WeightSource["entry"]> | undefined {
    const behind = this.#behind.get(name);
    return behind === undefined ? undefined : super.entry(behind);
  }
}
