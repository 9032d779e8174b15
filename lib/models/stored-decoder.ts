// Does a checkpoint hold the model that its config.json claims? Asked before anything is built, so that a wrong claim costs neither time nor memory, and is
// named by its key.
import type { WeightSource } from "../io/checkpoint.js";
import { renamed } from "../io/views.js";
import { describe, StateError } from "../nn/module.js";
import { ConfigError } from "./config.js";
import { HEAD } from "./llama-ties.js";

/** A key of config.json, a weight that shows it, rows or columns of that, and how many of them one of the key's units takes. */
export interface StoredSize {
  key: string;
  name: string;
  size: number;
  each?: number;
  /** Which of the weight's sizes. Default 0. */
  dim?: number;
}

export interface StoredDecoder {
  /** What a layer's number follows on, and what follows on that in every layer. */
  layers: string;
  sample: string;
  /** Of the configuration: how many layers, under which key; is the head the embedding? */
  count: number;
  key: string;
  tied: boolean;
  sizes: readonly StoredSize[];
  /** All names that there must be. */
  names: Iterable<string>;
}

/** Throws E_CONFIG where a size differs, E_STATE where weights are missing. */
export function checkStored(checkpoint: WeightSource, { layers, sample, count, key, tied, sizes, names }: StoredDecoder): void {
  const stored = layersIn(checkpoint.names(), layers);
  if (!stored) throw new StateError(`a decoder's weights, such as ${layers}.0.${sample}, in ${checkpoint.path}`, first(checkpoint));
  const differs = (key: string, wanted: string, got: unknown) =>
    new ConfigError(key, `${wanted}, as in ${checkpoint.path}`, got, "config.json and weights are of different models: fetch both again");
  if (stored !== count) throw differs(key, `${stored}`, count);

  for (const { key, name, size, each = 1, dim = 0 } of sizes) {
    // What is missing is named below; packed codes of 4 bits say nothing of the shape.
    if (!checkpoint.has(name) || checkpoint.has(`${name}.absmax`)) continue;
    const stored = checkpoint.entry(name).shape[dim] as number;
    if (stored !== size) throw differs(key, stored % each ? `such that ${name} has ${stored} rows` : `${stored / each}`, size / each);
  }
  const missing = [...names].filter((name) => !checkpoint.has(name));
  if (missing.length === 1 && missing[0] === HEAD) throw differs("tie_word_embeddings", "true where there is no lm_head.weight", tied);
  if (missing.length) throw new StateError(`every weight of the model in ${checkpoint.path}`, describe(missing, []));
}

/** A file of the body alone, whose names begin where `body` ends, under the names of the whole. `table`: the embedding's, below `body`. */
export function prefixed(checkpoint: WeightSource, body: string, table: string): WeightSource {
  const parts = body.split(".");
  if (checkpoint.has(`${body}.${table}`)) return checkpoint;
  for (let from = 1; from <= parts.length; ++from) {
    const [before, rest] = [parts.slice(0, from).join("."), parts.slice(from).join(".")];
    if (!checkpoint.has(rest ? `${rest}.${table}` : table)) continue;
    return renamed(checkpoint, (name) => (name === HEAD ? name : `${before}.${name}`));
  }
  return checkpoint;
}

function layersIn(names: Iterable<string>, layers: string): number {
  let most = 0;
  for (const name of names)
    if (name.startsWith(`${layers}.`)) most = Math.max(most, 1 + Number(/^\d+/.exec(name.slice(layers.length + 1))?.[0] ?? -1));
  return most;
}

function first(checkpoint: WeightSource): string {
  const some = [...checkpoint.names()].slice(0, 3);
  return some.length ? `${some.join(", ")} …` : "no weights";
}
