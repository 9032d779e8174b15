// config.json of a Hugging Face folder, and the checked reading of its keys that every model shares.
import { join } from "node:path";
import { shown } from "../core/checks.js";
import { AnymalError } from "../core/errors.js";
import { FileError } from "../core/file-error.js";
import { parseJson } from "../core/json.js";
import { readPlainSync } from "../core/plain-file.js";
import type { ActivationKind } from "../ops/index.js";

export type Json = Record<string, unknown>;

/** E_CONFIG: a key of config.json that is missing, of another type, or of a model that is not here. `key` says which. */
export class ConfigError extends AnymalError {
  override readonly name = "ConfigError";
  constructor(
    readonly key: string,
    readonly expected: string,
    readonly got: unknown,
    next = "correct it, or fetch the file again",
  ) {
    super("E_CONFIG", `config.json: expected "${key}" to be ${expected}, got ${got === undefined ? "nothing" : shown(got)}; ${next}`);
  }
}

/** No description of a model is longer; what is longer is something else. */
const LONGEST = 16 * 2 ** 20;

const ACTIVATIONS: Readonly<Record<string, ActivationKind>> = {
  silu: "silu",
  swish: "silu",
  gelu: "gelu",
  gelu_pytorch_tanh: "gelu_tanh",
  gelu_new: "gelu_tanh",
  quick_gelu: "quick_gelu",
  relu: "relu",
};

export function readConfig(folder: string): Json {
  return readJson(join(folder, "config.json"));
}

/** A file that holds one JSON object. */
export function readJson(path: string): Json {
  let json: unknown;
  try {
    json = parseJson(readPlainSync(path, { most: LONGEST, linksInside: true }).toString("utf8"));
  } catch (error) {
    const { message } = error instanceof FileError ? (error.cause as Error) : (error as Error);
    throw new ConfigError(path, "a file of JSON", message, "check the path, or fetch the file again");
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw new ConfigError(path, "an object", json);
  return json as Json;
}

/** PyTorch's names of the types that weights are stored in. */
const STORED: Readonly<Record<string, "f32" | "bf16">> = {
  ...{ float64: "f32", double: "f32", float32: "f32", float: "f32" },
  ...{ bfloat16: "bf16", float16: "bf16", half: "bf16", float8_e4m3fn: "bf16", float8_e5m2: "bf16" },
};

/** The compute dtype that a checkpoint suggests. Half precision is widened to bf16's range: no device here computes in f16. */
export function storedDType(json: Json): "f32" | "bf16" {
  const [key, given] = json.dtype == null ? ["torch_dtype", json.torch_dtype ?? "float32"] : ["dtype", json.dtype];
  const name = typeof given === "string" ? given.replace(/^torch\./, "") : "";
  const dtype = Object.hasOwn(STORED, name) ? STORED[name] : undefined;
  if (!dtype) throw new ConfigError(key, `one of ${Object.keys(STORED).join(", ")}`, given);
  return dtype;
}

export function number(json: Json, key: string, fallback?: number): number {
  const value = json[key] ?? fallback;
  if (typeof value !== "number" || !Number.isFinite(value)) throw new ConfigError(key, "a number", json[key]);
  return value;
}
/** An integer >= 1, and at most what an index on a device counts. */
export function size(json: Json, key: string, fallback?: number, most = 2 ** 31 - 1): number {
  const value = number(json, key, fallback);
  if (!Number.isInteger(value) || value < 1) throw new ConfigError(key, "an integer >= 1", value);
  if (value > most) throw new ConfigError(key, `at most ${most}`, value);
  return value;
}
export function flag(json: Json, key: string, fallback: boolean): boolean {
  const value = json[key] ?? fallback;
  if (typeof value !== "boolean") throw new ConfigError(key, "true or false", value);
  return value;
}
export function id(value: unknown): number | undefined {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 ? value : undefined;
}
export function activationKind(json: Json, key: string, fallback: string): ActivationKind {
  const name = json[key] ?? fallback;
  const kind = typeof name === "string" && Object.hasOwn(ACTIVATIONS, name) ? ACTIVATIONS[name] : undefined;
  if (!kind) throw new ConfigError(key, `one of ${Object.keys(ACTIVATIONS).join(", ")}`, name);
  return kind;
}
/** As Hugging Face spells it. */
export function activationName(kind: ActivationKind): string {
  return kind === "gelu_tanh" ? "gelu_pytorch_tanh" : kind;
}
/** Attention heads, which share the width evenly. */
export function headsOf(json: Json, key: string, width: number, fallback?: number): number {
  const heads = size(json, key, fallback);
  if (width % heads) throw new ConfigError(key, `a divisor of the width ${width}`, heads);
  return heads;
}
/** A config inside of the config, such as the towers' of a CLIPModel. */
export function section(json: Json, key: string): Json {
  const value = json[key];
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new ConfigError(key, "an object", value);
  return value as Json;
}
