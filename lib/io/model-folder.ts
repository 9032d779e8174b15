// A model as a folder in Hugging Face layout: config.json and model.safetensors, or shards of it with their index.
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { noGrad } from "../core/autograd.js";
import { expected } from "../core/errors.js";
import { onFile } from "../core/file-error.js";
import { formatJson } from "../core/json.js";
import { checkOptions, optionNames } from "../core/options.js";
import { Tensor } from "../core/tensor.js";
import { cast } from "../ops/index.js";
import { type LateTensor, saveSafetensors, type Writable, writtenDType } from "./safetensors.js";
import { type Group, indexOf, SHARD_BYTES, shardNames, shardsOf } from "./shards.js";
import { clearRubbish, syncFolder, temporaryName, writeNew } from "./whole-file.js";

/** What saveModel needs of a Module. */
export interface Saveable {
  namedParameters(): Iterable<[string, Tensor]>;
  namedModules(): Iterable<[string, object]>;
  /** What the folder holds beside the parameters: buffers that other libraries look for. */
  hostState?(): Iterable<[string, Writable]>;
}

/** A layer's weight that is no tensor but several, such as codes and their scales. */
export interface PackedWeight {
  /** By name below the layer. */
  stored(): Promise<[string, Writable][]>;
  /** quantization_config of config.json; `dtype` is torch's name of the dense weights' dtype. */
  quantizationConfig(dtype: string): Record<string, unknown>;
}

export interface SaveOptions {
  /** Of the dense floats; without it they stay as they are. */
  dtype?: "f32" | "bf16";
  /** Bytes of one file at most, save where a single weight is larger. Default 5 GB, as Hugging Face has it. */
  maxShardBytes?: number;
}

export const SAVE_OPTIONS = optionNames<SaveOptions>({ dtype: true, maxShardBytes: true });

const INDEX = "model.safetensors.index.json";
const CONFIG = "config.json";
const ANY_WEIGHTS = /^model(-\d{5}-of-\d{5})?\.safetensors$/;
/** Under a temporary name of its own while its shard is written. */
const WRITTEN = /^\.?(model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?|config\.json)(\.\d+\b.*\.tmp)?$/;

/**
 * Writes the module's weights and its config.json. Quantised weights are stored in the layout of bitsandbytes, which transformers loads. All files are
 * whole on disk under temporary names before the first takes its place. Rejects with E_STATE where the module holds a weight that no file has a form
 * for, E_VALUE on a shard size below 1, E_FILE where the system refuses.
 */
export async function saveModel(
  folder: string,
  module: Saveable,
  configJson: Readonly<Record<string, unknown>>,
  options: SaveOptions = {},
): Promise<void> {
  checkOptions("saveModel", options, SAVE_OPTIONS);
  const { dtype, maxShardBytes = SHARD_BYTES } = options;
  if (!(maxShardBytes >= 1)) throw expected("E_VALUE", "saveModel", "maxShardBytes of at least 1", maxShardBytes);
  const packed = [...packedWeights(module)];
  const dense = Array.from(module.namedParameters(), ([name, tensor]): Group => [[name, dtype ? inDType(tensor, dtype) : tensor]]);
  const groups = [...dense, ...(await packedGroups(packed)), ...Array.from(module.hostState?.() ?? [], (one): Group => [one])];
  const config = configOf(configJson, groups, packed[0]?.[1]);

  await onFile("to be written", folder, () => mkdir(folder, { recursive: true }));
  await clearRubbish(folder, (name) => WRITTEN.test(name));
  const under = new Map<string, string>();
  const temporary = (name: string) => {
    const path = under.get(name) ?? temporaryName(join(folder, name));
    under.set(name, path);
    return path;
  };
  const shards = shardsOf(groups, maxShardBytes);
  const single = shards.length === 1;
  const files = shardNames(shards.length);
  const written = [...files, ...(single ? [] : [INDEX]), CONFIG];
  try {
    for (const [i, shard] of shards.entries()) await saveSafetensors(temporary(files[i] as string), shard, { format: "pt" });
    if (!single) await writeNew(temporary(INDEX), (file) => file.writeFile(indexOf(shards, files)));
    await writeNew(temporary(CONFIG), (file) => file.writeFile(`${formatJson(config, isFloat)}\n`));
    await onFile("to be written", folder, async () => {
      for (const name of written) await rename(temporary(name), join(folder, name));
      // Of an older model in the same folder: readers would prefer its index, or find weights twice.
      if (single) await rm(join(folder, INDEX), { force: true });
      for (const name of await readdir(folder)) if (ANY_WEIGHTS.test(name) && !files.includes(name)) await rm(join(folder, name));
    });
    await syncFolder(folder);
  } finally {
    for (const name of written) await rm(temporary(name), { force: true }).catch(() => undefined);
  }
}

function* packedWeights(module: Saveable): Generator<[string, PackedWeight]> {
  for (const [path, part] of module.namedModules()) {
    if (!("weight" in part) || part.weight === undefined || part.weight instanceof Tensor) continue;
    const weight = part.weight as Partial<PackedWeight>;
    if (!weight.stored || !weight.quantizationConfig)
      throw expected("E_STATE", "saveModel", `a weight of "${path}" that a file has a form for`, "one of another kind");
    yield [path, weight as PackedWeight];
  }
}

async function packedGroups(packed: readonly [string, PackedWeight][]): Promise<Group[]> {
  const groups: Group[] = [];
  for (const [path, weight] of packed) {
    const parts = await weight.stored();
    groups.push(parts.map(([name, value]) => [path ? `${path}.${name}` : name, value]));
  }
  return groups;
}

/** Cast when its turn comes: a second copy of the whole model might not fit. */
function inDType(tensor: Tensor, dtype: "f32" | "bf16"): Writable {
  if (tensor.dtype === dtype || !["f32", "bf16"].includes(tensor.dtype)) return tensor;
  return late(dtype, tensor.shape, () => noGrad(() => cast(tensor, dtype)));
}

/** A tensor that is made for being written, and gone then. */
export function late(dtype: "f32" | "bf16", shape: readonly number[], make: () => Tensor): LateTensor {
  const read = async () => {
    const tensor = make();
    return new Uint8Array(await tensor.bytes().finally(() => tensor.dispose()));
  };
  return { dtype: dtype === "f32" ? "F32" : "BF16", shape, read };
}

function configOf(json: Readonly<Record<string, unknown>>, groups: readonly Group[], packed: PackedWeight | undefined) {
  const dense = new Set(groups.filter((group) => group.length === 1).flatMap((group) => group.map(([, value]) => writtenDType(value))));
  const dtype = dense.has("BF16") && !dense.has("F32") ? "bfloat16" : "float32";
  const { quantization_config: before, ...rest } = json;
  const config: Record<string, unknown> = { ...rest, ...tiesOf(groups) };
  if (packed) {
    const own = packed.quantizationConfig(dtype);
    const kept = isObject(before) && before.quant_method === own.quant_method && before.load_in_4bit === own.load_in_4bit ? before : {};
    config.quantization_config = { ...own, ...kept, ...essential(own) };
  }
  // The hub's older spelling stays what it is: its readers know no other.
  return { ...config, [config.torch_dtype !== undefined && config.dtype === undefined ? "torch_dtype" : "dtype"]: dtype };
}

/** A language model's head is tied exactly where the file holds its embedding and no head: whatever an older config says, readers go by this key. */
function tiesOf(groups: readonly Group[]): Record<string, boolean> {
  const has = (wanted: string) => groups.some((group) => group.some(([name]) => name === wanted));
  return TABLES.some(has) ? { tie_word_embeddings: !has("lm_head.weight") } : {};
}

/** Of embeddings, in the families of language models. */
export const TABLES: readonly string[] = ["model.embed_tokens.weight", "model.decoder.embed_tokens.weight", "transformer.wte.weight"];

/** What must fit the weights, whatever an older config says. */
const essential = ({ bnb_4bit_quant_type, bnb_4bit_use_double_quant }: Record<string, unknown>) => ({
  bnb_4bit_quant_type,
  bnb_4bit_use_double_quant,
});
/** What transformers 5 reads as a float alone. DINOv2's mlp_ratio is an integer, CLAP's, which has stages, is none. */
const FLOATS = new Set([
  "layer_norm_eps",
  "rms_norm_eps",
  "initializer_range",
  "initializer_factor",
  "layerscale_value",
  "logit_scale_init_value",
]);
const isFloat = (key: string, config: object): boolean => FLOATS.has(key) || (key === "mlp_ratio" && "depths" in config);

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;
