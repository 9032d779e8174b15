// Files of torch.save as a folder in safetensors: what this library reads, written from what people have. Numbers go from file to file in pieces; nothing of
// the pickle is run, and OUT appears whole or not at all.
import { copyFile, mkdir, readdir, rename, rm, rmdir } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { expected } from "../core/errors.js";
import { onFile } from "../core/file-error.js";
import { formatJson } from "../core/json.js";
import { checkOptions, optionNames } from "../core/options.js";
import { inTurns } from "../core/turns.js";
import { SINGLE } from "./checkpoint.js";
import { type PlannedTensor, planned } from "./convert/plan.js";
import { besideOf, filesBeside, type Source, sourceOf } from "./convert/source.js";
import { type Json, KEY_TABLES, type KeyTable, Known, tableFor, wrapping } from "./key-tables/index.js";
import { TABLES } from "./model-folder.js";
import { saveSafetensors, writtenBytes } from "./safetensors.js";
import { type Group, indexOf, SHARD_BYTES, shardNames, shardsOf } from "./shards.js";
import { PickleError } from "./torch/error.js";
import { TorchFile } from "./torch-file.js";
import { clearRubbish, syncFolder, temporaryName, writeNew } from "./whole-file.js";

export interface ConvertOptions {
  /** Which dict of tensors, where a file holds several: "model", "state_dict"; "." for the file itself. */
  key?: string | undefined;
  /** Whose names the file has: a key table by its name; "none" keeps them. Default: by the names themselves. */
  table?: string | undefined;
  /** Bytes of one file at most, save where a single weight is larger. Default 5 GB, as Hugging Face has it. */
  maxShardBytes?: number | undefined;
  signal?: AbortSignal | undefined;
}
const OPTIONS = optionNames<ConvertOptions>({ key: true, table: true, maxShardBytes: true, signal: true });

export interface Converted {
  /** Absolute. */
  folder: string;
  /** Of weights, in their order. */
  files: string[];
  tensors: number;
  bytes: number;
  /** The key table that was used. */
  table: string | undefined;
  /** Names that were not written because config.json ties them to another one. */
  tied: string[];
  /** Names that the table leaves away: buffers, other towers. */
  left: string[];
  /** Files beside the weights: copied, and made from the shapes. */
  copied: string[];
  made: string[];
}

/**
 * Writes what a file of torch.save holds, or a folder of them (pytorch_model.bin, its shards, consolidated.NN.pth, adapter_model.bin), as a new folder
 * in safetensors format, with what lies beside: config.json, tokenizer, processor. A file of a known system (KEY_TABLES) gets Hugging Face's names and
 * a config.json. Rejects with E_PICKLE where a file holds more than tensors in plain containers, or does not fit its table; E_FILE where OUT holds
 * something or the system refuses; the signal's reason when aborted. Then OUT is as it was.
 */
export async function convertCheckpoint(from: string, to: string, options: ConvertOptions = {}): Promise<Converted> {
  checkOptions("convertCheckpoint", options, OPTIONS);
  const { key, table: asked, maxShardBytes = SHARD_BYTES, signal } = options;
  if (!(maxShardBytes >= 1)) throw expected("E_VALUE", "convertCheckpoint", "maxShardBytes of at least 1", maxShardBytes);
  signal?.throwIfAborted();
  const folder = resolve(to);
  await checkFree(folder);
  const source = sourceOf(from);
  const files: TorchFile[] = [];
  try {
    for (const path of source.files) files.push(await inTurns(TorchFile.inPieces(path, { key }), { signal }));
    for (const file of files) await inTurns(file.checked(), { signal });
    const table = tableOf(files, asked);
    const inside = table?.inside === undefined ? {} : (files[0]?.plain(table.inside) ?? {});
    const beside = table?.needs === undefined ? inside : needed(source, from, table.needs, table);
    const { tensors, left } = planned(files, table, table?.numbers?.(from, beside));
    const tied = tiedAway(tensors, besideOf(source.folder, "config.json"));
    for (const name of tied) tensors.delete(name);
    const made = table?.files?.(new Known(from, shapesOf(tensors), dtypeOf(tensors), beside)) ?? {};
    return {
      ...(await write(folder, source, tensors, made, maxShardBytes, signal, table?.fileOf)),
      table: table?.name,
      tied,
      left,
    };
  } finally {
    for (const file of files) file.close();
  }
}

async function checkFree(folder: string): Promise<void> {
  const held = await onFile("to be read", folder, () => readdir(folder)).catch((error) => {
    if (error.system === "ENOENT") return [];
    throw error;
  });
  if (held.length) throw expected("E_FILE", folder, "a new or an empty folder", `one that holds ${held[0]}`, "name another one");
}

function tableOf(files: readonly TorchFile[], asked: string | undefined): KeyTable | undefined {
  if (asked === "none") return undefined;
  const all = files.flatMap((file) => {
    const names = [...file.names()];
    const prefix = wrapping(names);
    return names.map((name) => name.slice(prefix.length));
  });
  if (asked === undefined) return tableFor(all);
  const table = KEY_TABLES.find(({ name }) => name === asked);
  if (!table)
    throw expected("E_VALUE", "convertCheckpoint", `a key table: ${KEY_TABLES.map(({ name }) => name).join(", ")} or none`, `"${asked}"`);
  return table;
}

function needed(source: Source, from: string, name: string, { system }: KeyTable): Json {
  const json = besideOf(source.folder, name) ?? besideOf(dirname(source.files[0] as string), name);
  if (json) return json;
  throw new PickleError(
    from,
    `${name} beside the weights of ${system}`,
    "none",
    `put it there, or keep the file's own names: --table none`,
  );
}

/**
 * A language model's head that is its embedding, where config.json says so: transformers writes it once, and ties the two again when it reads. Any
 * other two names for one tensor are written twice: a reader that ties nothing would miss the second.
 */
function tiedAway(tensors: ReadonlyMap<string, PlannedTensor>, config: Json | undefined): string[] {
  const head = "lm_head.weight";
  const [one, other] = [tensors.get(head), TABLES.map((name) => tensors.get(name)).find(Boolean)];
  const same = one !== undefined && one.identity !== undefined && one.identity === other?.identity;
  return same && config?.tie_word_embeddings === true ? [head] : [];
}

const shapesOf = (tensors: ReadonlyMap<string, PlannedTensor>) =>
  new Map(Array.from(tensors, ([name, { shape }]) => [name, shape] as const));
const TORCH_NAMES: Readonly<Record<string, string>> = { F16: "float16", BF16: "bfloat16" };
/** Of most numbers, as torch calls it. */
function dtypeOf(tensors: ReadonlyMap<string, PlannedTensor>): string {
  const bytes = new Map<string, number>();
  for (const tensor of tensors.values()) bytes.set(tensor.dtype, (bytes.get(tensor.dtype) ?? 0) + writtenBytes(tensor));
  const [most = ["F32"]] = [...bytes].sort(([, a], [, b]) => b - a);
  return TORCH_NAMES[most[0] as string] ?? "float32";
}

async function write(
  folder: string,
  source: Source,
  tensors: ReadonlyMap<string, PlannedTensor>,
  madeFiles: Readonly<Record<string, Json>>,
  maxShardBytes: number,
  signal: AbortSignal | undefined,
  fileOf: KeyTable["fileOf"],
): Promise<Omit<Converted, "table" | "tied" | "left">> {
  const copied = filesBeside(source.folder);
  const made = Object.keys(madeFiles).filter((name) => !copied.includes(name));
  const all = Array.from(
    tensors,
    ([name, { dtype, shape, pieces }]): Group => [[name, { dtype, shape, pieces: () => until(pieces(), signal) }]],
  );
  const parts = fileOf && byFile(all.flat(), fileOf);
  const shards = parts ? [...parts.values()] : source.target === SINGLE ? shardsOf(all, maxShardBytes) : [all.flat()];
  const files = parts ? [...parts.keys()] : shards.length === 1 ? [source.target] : shardNames(shards.length);
  const temporary = temporaryName(folder);
  await onFile("to be written", folder, () => mkdir(dirname(folder), { recursive: true }));
  await clearRubbish(dirname(folder), (name) => name === basename(folder));
  try {
    await onFile("to be written", folder, () => mkdir(temporary));
    const within = new Set([...files, ...made, ...copied].map((name) => dirname(join(temporary, name))));
    for (const place of within) await onFile("to be written", folder, () => mkdir(place, { recursive: true }));
    for (const [i, shard] of shards.entries()) await saveSafetensors(join(temporary, files[i] as string), shard, { format: "pt" });
    if (shards.length > 1 && !parts)
      await writeNew(join(temporary, `${SINGLE}.index.json`), (file) => file.writeFile(indexOf(shards, files)));
    for (const name of copied)
      await onFile("to be read", join(source.folder as string, name), () =>
        copyFile(join(source.folder as string, name), join(temporary, name)),
      );
    for (const name of made) await writeNew(join(temporary, name), (file) => file.writeFile(`${formatJson(madeFiles[name])}\n`));
    for (const place of [...within, temporary]) await syncFolder(place);
    signal?.throwIfAborted();
    await onFile("to be written", folder, async () => {
      await rmdir(folder).catch(() => undefined); // an empty one, or none
      await rename(temporary, folder);
    });
    await syncFolder(dirname(folder));
  } finally {
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined);
  }
  const bytes = [...tensors.values()].reduce((sum, tensor) => sum + writtenBytes(tensor), 0);
  return { folder, files, tensors: tensors.size, bytes, copied, made };
}

function byFile(all: Group, fileOf: (name: string) => string): Map<string, Group> {
  const files = new Map<string, Group>();
  for (const one of all) files.set(fileOf(one[0]), [...(files.get(fileOf(one[0])) ?? []), one]);
  return files;
}

function* until(pieces: Iterable<Uint8Array>, signal: AbortSignal | undefined): Generator<Uint8Array> {
  for (const piece of pieces) {
    signal?.throwIfAborted();
    yield piece;
  }
}
