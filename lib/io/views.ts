// Views of a checkpoint: some of its tensors under other names, so that who reads a decoder or a tower needs not know what stands around it. A view knows
// which of the file's names it shows; what no view of a file shows is left over, and can be told.
import type { Device } from "../core/device.js";
import type { DType, Tensor } from "../core/tensor.js";
import type { Pieces } from "../core/turns.js";
import type { WeightSource } from "./checkpoint.js";
import { SafetensorsError } from "./safetensors-header.js";

export class View implements WeightSource {
  /** The name in `source` by the name that is asked for. */
  readonly #stored: ReadonlyMap<string, string>;

  /** Throws E_SAFETENSORS where two of the source's names become one. */
  constructor(
    readonly source: WeightSource,
    names: Iterable<readonly [stored: string, asked: string]>,
  ) {
    const stored = new Map<string, string>();
    for (const [name, asked] of names) {
      const other = stored.get(asked);
      if (other !== undefined)
        throw new SafetensorsError(
          source.path,
          `one tensor for "${asked}"`,
          `"${other}" and "${name}"`,
          "it was put together of two models",
        );
      stored.set(asked, name);
    }
    this.#stored = stored;
  }

  get path(): string {
    return this.source.path;
  }
  /** Of the source's names, those that are shown. */
  shown(): Iterable<string> {
    return this.#stored.values();
  }

  *pairs(): Generator<[stored: string, asked: string]> {
    for (const [asked, stored] of this.#stored) yield [stored, asked];
  }

  names(): Iterable<string> {
    return this.#stored.keys();
  }
  has(name: string): boolean {
    return this.#stored.has(name);
  }
  entry(name: string): ReturnType<WeightSource["entry"]> {
    return this.source.entry(this.#name(name));
  }
  load(name: string, device: Device, options?: { dtype?: DType | undefined; shape?: readonly number[] | undefined }): Tensor {
    return this.source.load(this.#name(name), device, options);
  }
  *prepare(prefix: string, device: Device, dtype: "f32" | "bf16"): Pieces<void> {
    if (!this.source.prepare) return;
    for (const [asked, stored] of this.#stored) if (asked.startsWith(prefix)) yield* this.source.prepare(stored, device, dtype);
  }
  loadBytes(name: string, device: Device): Tensor {
    return this.source.loadBytes(this.#name(name), device);
  }
  bytes(name: string, from?: number, length?: number): ArrayBuffer {
    return this.source.bytes(this.#name(name), from, length);
  }

  #name(name: string): string {
    const stored = this.#stored.get(name);
    if (stored !== undefined) return stored;
    throw new SafetensorsError(
      this.path,
      `a tensor "${name}"`,
      "none of that name",
      "the checkpoint is of another architecture, or incomplete",
    );
  }
}

/** What lies below `prefix`, without it; everything for "". */
export function within(source: WeightSource, prefix: string): View {
  const head = prefix && `${prefix}.`;
  return renamed(source, (name) => (name.startsWith(head) ? name.slice(head.length) : undefined));
}

/** Each name as `rename` has it; undefined: it is not shown. */
export function renamed(source: WeightSource, rename: (name: string) => string | undefined): View {
  const names: [string, string][] = [];
  for (const name of source.names()) {
    const asked = rename(name);
    if (asked !== undefined) names.push([name, asked]);
  }
  return new View(source, names);
}

/** The names of `source` that none of its views shows. Throws E_SAFETENSORS where two of them show one: a weight belongs to one part of a model. */
export function left(source: WeightSource, views: readonly View[]): string[] {
  const taken = new Set<string>();
  for (const view of views)
    for (const name of view.shown()) {
      if (taken.has(name))
        throw new SafetensorsError(source.path, `"${name}" in one part of the model`, "in two", "check the names of its parts");
      taken.add(name);
    }
  return [...source.names()].filter((name) => !taken.has(name));
}
