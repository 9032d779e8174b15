// What is to be converted: one file of torch.save or the several of one model, and what lies beside them.
import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { FileError, onFileSync } from "../../core/file-error.js";
import { parseJson } from "../../core/json.js";
import { checkLinks, readPlainSync } from "../../core/plain-file.js";
import { INDEX, readIndex, SINGLE } from "../checkpoint.js";
import { CONFIG_FILES, PROCESSOR_FILES, QUESTION_FOLDER, TOKENIZER_FILES } from "../model-files.js";
import { PickleError, quoted } from "../torch/error.js";

export interface Source {
  /** In the order in which their parts belong together. */
  readonly files: readonly string[];
  /** Whose other files belong to the model; undefined for a file that stands by itself. */
  readonly folder: string | undefined;
  /** Of the safetensors file, without shards. */
  readonly target: string;
}

const PICKLES = /\.(bin|pt|pth|ckpt)$/;
const PARTS = /^consolidated\.(\d+)\.pth$/;
const TORCH_INDEX = "pytorch_model.bin.index.json";
/** Names that say to which folder's config.json they belong, and what they are called as safetensors. */
const TARGETS: Readonly<Record<string, string>> = {
  "pytorch_model.bin": SINGLE,
  "adapter_model.bin": "adapter_model.safetensors",
  "open_clip_pytorch_model.bin": "open_clip_model.safetensors",
};
/** Of LLaVA's LoRA runs: what trained beside the adapter. */
const BESIDE_LORA = "non_lora_trainables.bin";
const ADAPTER = "adapter_model.bin";
/** LAVIS' Q-Former. MiniGPT-4's layer, which reads its rows, is published in a file of its own. */
const QFORMER = /^blip2_pretrained\w*\.pth$/;
/** What trainers write beside the weights. */
const OTHERS = /^(training_args|optimizer|scheduler|rng_state(_\d+)?|scaler|random_states_\d+)\.(bin|pt|pth)$/;

export function sourceOf(path: string): Source {
  return onFileSync("to be read", path, () => (statSync(path).isDirectory() ? inFolder(path) : oneFile(path)));
}

function oneFile(path: string): Source {
  const name = basename(path);
  if (PARTS.test(name) || name === BESIDE_LORA) return inFolder(dirname(path)); // one part is half a model
  const beside = readdirSync(dirname(path)).filter((other) => isWeights(other));
  const belongs = Object.hasOwn(TARGETS, name) || beside.length === 1;
  return { files: [path], folder: belongs ? dirname(path) : undefined, target: TARGETS[name] ?? SINGLE };
}
const isWeights = (name: string): boolean => PICKLES.test(name) && !OTHERS.test(name);

function inFolder(folder: string): Source {
  const names = readdirSync(folder).sort();
  const of = (files: readonly string[], target = SINGLE): Source => {
    for (const file of files) if (existsSync(join(folder, file))) checkLinks(folder, join(folder, file));
    return { files: files.map((file) => join(folder, file)), folder, target };
  };
  if (names.includes(BESIDE_LORA)) return of([...(names.includes(ADAPTER) ? [ADAPTER] : []), BESIDE_LORA]);
  const known = Object.keys(TARGETS).find((name) => names.includes(name));
  if (known) return of([known], TARGETS[known]);
  if (names.includes(TORCH_INDEX)) return sharded(folder, of);
  const parts = names.filter((name) => PARTS.test(name));
  if (parts.length) return of(parts);
  const some = names.filter(isWeights);
  if (some.length === 1) return of(some);
  if (some.length === 2 && some.filter((name) => QFORMER.test(name)).length === 1) return of(some);
  const safe = [SINGLE, INDEX].find((name) => names.includes(name));
  const held = some.length ? some.slice(0, 6).map(quoted).join(", ") : safe ? `${safe}, which is read as it is` : "none";
  throw new PickleError(
    folder,
    "one file of torch.save, or the shards of one model",
    held,
    some.length ? "name one of them" : "check the path",
  );
}

function sharded(folder: string, of: (files: readonly string[]) => Source): Source {
  const shards = [...new Set(readIndex(join(folder, TORCH_INDEX)).values())];
  for (const shard of shards)
    if (!existsSync(join(folder, shard)))
      throw new PickleError(join(folder, shard), "the shard that the index lists", "no such file", "fetch the missing shard");
  return of(shards);
}

/** No file that describes a model is longer, save a tokenizer. */
const LONGEST = 2 ** 20;

/** A file of JSON beside the weights; undefined where there is none. */
export function besideOf(folder: string | undefined, name: string): Record<string, unknown> | undefined {
  const path = folder === undefined ? "" : join(folder, name);
  if (!path || !existsSync(path)) return undefined;
  let json: unknown;
  try {
    json = parseJson(readPlainSync(path, { most: LONGEST, linksInside: true }).toString("utf8"));
  } catch (error) {
    if (error instanceof FileError) throw error;
    throw new PickleError(path, "a file of JSON", quoted((error as Error).message), "correct it, or fetch the file again");
  }
  if (typeof json === "object" && json !== null && !Array.isArray(json)) return json as Record<string, unknown>;
  throw new PickleError(path, "an object in JSON", typeof json, "correct it, or fetch the file again");
}

/** Those of slow tokenizers, which transformers also writes beside tokenizer.json. */
const TOKENIZERS = [...TOKENIZER_FILES, "vocab.txt", "normalizer.json"];

/** What belongs to a model beside its weights. */
const BESIDE = [
  ...CONFIG_FILES,
  "adapter_config.json",
  "adapter_model.safetensors",
  "open_clip_config.json",
  ...PROCESSOR_FILES,
  ...TOKENIZERS,
  ...TOKENIZERS.map((name) => `${QUESTION_FOLDER}/${name}`),
];

/** Those of them that are regular files of the folder's own, or of the hub's cache. */
export function filesBeside(folder: string | undefined): string[] {
  if (folder === undefined) return [];
  return BESIDE.filter((name) => {
    const path = join(folder, name);
    if (!statSync(path, { throwIfNoEntry: false })?.isFile()) return false;
    checkLinks(folder, path);
    return true;
  });
}
