// Adapters from folders: adapter_config.json and the weights beside it.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseJson } from "../core/json.js";
import { checkOptions } from "../core/options.js";
import { readPlain } from "../core/plain-file.js";
import { kindOfValue } from "../core/realm.js";
import { Checkpoint } from "../io/checkpoint.js";
import { NO_PICKLES } from "../io/safetensors-header.js";
import type { Module } from "../nn/module.js";
import { Weights } from "../nn/weights.js";
import { type Adapter, attach } from "./adapter.js";
import type { Overlay } from "./exchange.js";
import { type AdapterKind, adapterFault, type Json } from "./kind.js";

export const CONFIG = "adapter_config.json";
/** Bytes of it. Patterns may name each layer of a model. */
const LARGEST = 16 * 2 ** 20;

export interface AdapterLoading {
  /** Its parameters take gradients. Default false. */
  trainable?: boolean;
  /** Under which it stands on the model. Default: the first that is free, "default" to begin with. */
  name?: string;
}
export interface AdapterDrawing {
  /** Of the random numbers that it begins with. Default 0. */
  seed?: number;
  name?: string;
}

/** A fresh one that changes nothing yet. What it does not train should be frozen by the caller. */
export function fresh<C extends object>(
  kind: AdapterKind<C>,
  where: string,
  model: Module,
  options: Partial<C>,
  drawing: AdapterDrawing = {},
): Adapter<C> {
  checkOptions(where, drawing, ["seed", "name"]);
  const { seed = 0, name } = drawing;
  const dtype = model.parameters().some((p) => p.dtype === "bf16") ? "bf16" : "f32";
  const at = Weights.fresh({ device: deviceOf(kind, model), dtype, trainable: true, seed });
  return attach(kind, model, kind.complete(options, model), at, { name });
}

/** From a folder that PEFT or save() wrote. */
export async function loaded<C extends object>(
  kind: AdapterKind<C>,
  where: string,
  model: Module,
  folder: string,
  loading: AdapterLoading = {},
): Promise<Adapter<C>> {
  checkOptions(where, loading, ["trainable", "name"], {
    others: { isTrainable: 'did you mean "trainable"?', adapterName: 'did you mean "name"?' },
  });
  const { trainable = false, name } = loading;
  const config = kind.read(await configIn(kind, folder));
  using checkpoint = Checkpoint.openIn(folder, kind.files.weights);
  kind.checkNames?.(checkpoint);
  const at = Weights.from(checkpoint, { device: deviceOf(kind, model), dtype: "f32", trainable });
  const beside: Overlay[] = [];
  try {
    for await (const overlay of kind.beside?.(model, config, at) ?? []) beside.push(overlay);
    return attach(kind, model, config, at, { name, beside });
  } catch (error) {
    for (const { tensor } of beside) tensor.dispose();
    throw error;
  }
}

/** adapter_config.json of a folder that has the weights too. */
export async function configIn({ files, fail }: Pick<AdapterKind, "files" | "fail">, folder: string): Promise<Json> {
  const missing = [files.config, files.weights].find((name) => !existsSync(join(folder, name)));
  if (missing) {
    const pickle = `${files.weights.replace(/\.safetensors$/, "")}.bin`;
    const isPickle = existsSync(join(folder, pickle));
    throw fail(`${missing} in ${folder}`, isPickle ? `${pickle}, a pickle; ${NO_PICKLES}` : "no such file");
  }
  return configOf(folder, files.config, fail);
}

/** The file alone. */
export async function configOf(folder: string, name: string, fail = adapterFault("an adapter")): Promise<Json> {
  const path = join(folder, name);
  if (!existsSync(path)) throw fail(`${name} in ${folder}`, "no such file");
  const text = (await readPlain(path, { most: LARGEST, linksInside: true })).toString();
  let json: unknown;
  try {
    json = parseJson(text);
  } catch (error) {
    throw fail(`${path} in JSON`, (error as Error).message.slice(0, 80));
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw fail(`an object in ${path}`, kindOfValue(json));
  return json as Json;
}

export function deviceOf({ fail }: Pick<AdapterKind, "fail">, model: Module) {
  for (const [, tensor] of model.namedParameters()) return tensor.device;
  throw fail("a model with parameters", "none");
}
