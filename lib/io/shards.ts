// A model's weights over several files, as Hugging Face cuts and names them, and the index that says what is where.
import { type Writable, writtenBytes } from "./safetensors.js";

/** Bytes of one file, where nobody says otherwise: as Hugging Face has it. */
export const SHARD_BYTES = 5e9;
/** Tensors that one layer needs together stay in one shard. */
export type Group = [string, Writable][];

const five = (n: number): string => String(n).padStart(5, "0");

/** model.safetensors, or model-00001-of-00003.safetensors and so on. */
export const shardNames = (count: number): string[] =>
  Array.from({ length: count }, (_, i) => (count === 1 ? "model.safetensors" : `model-${five(i + 1)}-of-${five(count)}.safetensors`));

/** In order, each as full as it gets. */
export function shardsOf(groups: readonly Group[], most: number): Group[] {
  const shards: Group[] = [[]];
  let bytes = 0;
  for (const group of groups) {
    const size = bytesOf(group);
    if (bytes + size > most && bytes > 0) {
      shards.push([]);
      bytes = 0;
    }
    (shards.at(-1) as Group).push(...group);
    bytes += size;
  }
  return shards;
}
const bytesOf = (group: Group): number => group.reduce((sum, [, value]) => sum + writtenBytes(value), 0);

/** The text of model.safetensors.index.json. */
export function indexOf(shards: readonly Group[], files: readonly string[]): string {
  const where = shards.flatMap((shard, i) => shard.map(([name]): [string, string] => [name, files[i] as string]));
  const total_size = shards.reduce((sum, shard) => sum + bytesOf(shard), 0);
  const weight_map = Object.fromEntries(where.sort(([a], [b]) => (a < b ? -1 : 1)));
  return `${JSON.stringify({ metadata: { total_size }, weight_map }, null, 2)}\n`;
}
