// What an adapter's file is written of: tensors under each of their names, and those that are joined as one table.
import { noGrad } from "../core/autograd.js";
import { late } from "../io/model-folder.js";
import type { Writable } from "../io/safetensors.js";
import { type Stored, storedShape } from "../nn/overwriting.js";
import { concat } from "../ops/index.js";

/** Rows of a table come one after the other, in the order of `all`. */
export function* writables(all: Iterable<Stored>): Generator<[string, Writable]> {
  const tables = new Map<string, [Stored, ...Stored[]]>();
  for (const one of all) {
    const [name] = one.keys as [string];
    if (!one.rows) for (const key of one.keys) yield [key, one.tensor];
    else tables.set(name, [...(tables.get(name) ?? []), one] as [Stored, ...Stored[]]);
  }
  for (const [name, parts] of tables) {
    const tensors = parts.toSorted((a, b) => (a.rows?.from ?? 0) - (b.rows?.from ?? 0)).map(({ tensor }) => tensor);
    yield [name, late("f32", storedShape(parts[0]), () => noGrad(() => concat(tensors, 0)))];
  }
}
