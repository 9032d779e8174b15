// What a checkpoint's headers say, before anything is loaded: its tensors by pattern, how many weights they stand for, and how much memory the
// model takes in each storage.
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { onFileSync } from "../core/file-error.js";
import { Checkpoint, shardsOf, type WeightSource, weightFile } from "../io/checkpoint.js";

/** Tensors that differ by the number of their layer only. */
export interface TensorGroup {
  name: string;
  count: number;
  shape: readonly number[];
  /** As stored; "nf4", "fp4" and "int8" where codes stand for the weight. */
  dtype: string;
}

export interface WeightFacts {
  groups: TensorGroup[];
  /** Tensors, scales and code tables of quantised ones not counted. */
  tensors: number;
  parameters: number;
  files: number;
  storedBytes: number;
}

/** Of a quantised layer, what is not its weight. */
const BESIDE_CODES =
  /\.(weight\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\.bitsandbytes__(nf4|fp4))|SCB|weight_format)$/;

export function weightFacts(path: string, keep: (name: string) => boolean = () => true): WeightFacts {
  using checkpoint = Checkpoint.open(path);
  return factsOf(checkpoint, weightFiles(path), keep);
}

/** Of weights in the files named. */
export function factsOf(checkpoint: WeightSource, files: readonly string[], keep: (name: string) => boolean = () => true): WeightFacts {
  const groups = new Map<string, TensorGroup>();
  let [tensors, parameters] = [0, 0];
  for (const name of checkpoint.names()) {
    if (BESIDE_CODES.test(name) || !keep(name)) continue;
    const { shape, dtype } = meant(checkpoint, name);
    const pattern = name.replace(/(^|\.)\d+(?=\.)/g, "$1*");
    const key = `${pattern} ${dtype} ${shape}`;
    const group = groups.get(key) ?? { name: pattern, count: 0, shape, dtype };
    groups.set(key, { ...group, count: group.count + 1 });
    tensors += 1;
    if (isNumber(dtype)) parameters += size(shape);
  }
  return { groups: [...groups.values()], tensors, parameters, files: files.length, storedBytes: bytesOf(files) };
}

/** The weight itself where codes are stored. */
function meant(checkpoint: WeightSource, name: string): { shape: readonly number[]; dtype: string } {
  const { shape, dtype } = checkpoint.entry(name);
  for (const format of ["nf4", "fp4"]) {
    const state = `${name}.quant_state.bitsandbytes__${format}`;
    if (!checkpoint.has(state)) continue;
    const { shape: dense } = JSON.parse(new TextDecoder().decode(checkpoint.bytes(state))) as { shape: number[] };
    return { shape: dense, dtype: format };
  }
  return checkpoint.has(name.replace(/weight$/, "SCB")) && name.endsWith(".weight") ? { shape, dtype: "int8" } : { shape, dtype };
}

/** Counters and index tables train no more than they compute. */
const isNumber = (dtype: string): boolean => !/^([IU]\d|BOOL)/.test(dtype);
const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

export type StorageName = "f32" | "bf16" | "int8" | "nf4" | "nf4 + double quantisation";

/** Bytes in memory. In 4 and 8 bits `linear` says which weights are quantised; the others are in bf16. */
export function sizes(groups: readonly TensorGroup[], linear?: (name: string) => boolean): Partial<Record<StorageName, number>> {
  const sum = (of: (shape: readonly number[], quantised: boolean) => number) =>
    groups
      .filter(({ dtype }) => isNumber(dtype))
      .reduce((total, { name, count, shape }) => total + count * of(shape, shape.length === 2 && (linear?.(name) ?? false)), 0);
  const dense = { f32: sum((shape) => 4 * size(shape)), bf16: sum((shape) => 2 * size(shape)) };
  if (!linear) return dense;
  const quantised = (bytes: (weights: number, rows: number) => number) =>
    sum((shape, is) => (is ? bytes(size(shape), shape[0] as number) : 2 * size(shape)));
  const blocks = (weights: number) => Math.ceil(weights / 64);
  return {
    ...dense,
    int8: quantised((weights, rows) => weights + 4 * rows),
    nf4: quantised((weights) => Math.ceil(weights / 2) + 4 * blocks(weights)),
    "nf4 + double quantisation": quantised(
      (weights) => Math.ceil(weights / 2) + blocks(weights) + 4 * Math.ceil(blocks(weights) / 256) + 4,
    ),
  };
}

/** What Checkpoint.open reads: other files may lie beside. */
function weightFiles(path: string): string[] {
  if (existsSync(path) && statSync(path).isFile()) return [path];
  const held = weightFile(path) ?? "model.safetensors";
  return (held === "model.safetensors" ? [held] : shardsOf(path)).map((name) => join(path, name));
}

/** Of the files that hold the weights. */
export const storedBytes = (path: string): number => bytesOf(weightFiles(path));
const bytesOf = (files: readonly string[]): number =>
  files.reduce((sum, file) => sum + onFileSync("to be read", file, () => statSync(file)).size, 0);
