// What an adapter exchanges whole: biases, modules of modules_to_save, and tables that its file holds beside them. PEFT gives each module a copy of its
// own, of the base model's and of no other adapter's, so a head that is tied to the embedding is tied no longer once one of the two is trained, unless
// ensure_weight_tying asks for it.
import { noGrad } from "../core/autograd.js";
import { scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { atOnce, inTurns } from "../core/turns.js";
import { sameTensor } from "../io/checkpoint.js";
import { places } from "../nn/layer.js";
import type { Module } from "../nn/module.js";
import type { Weights } from "../nn/weights.js";
import { cast, copy, gradNorm, scaleAdd } from "../ops/index.js";
import { isTied, type Overlay, parametersOf, tablePaths } from "./exchange.js";
import type { Fail } from "./kind.js";
import { isTrainedWhole } from "./targets.js";

export const ROOT = "base_model.model";

/** What a configuration says of modules that are trained whole. */
export interface Whole {
  modulesToSave: readonly string[];
  bias: "none" | "all" | "lora_only";
  ensureWeightTying: boolean;
  fail: Fail;
}

const keyOf = (path: string): string => `${ROOT}.${path}`;

/** The embedding and the head, those of them that the configuration trains whole. */
function tablesOf(model: Module, config: Whole): Set<string> {
  const both = tablePaths(model);
  const own = both.filter((path) => isTrainedWhole(config, path.slice(0, -".weight".length)));
  return new Set(own.length && config.ensureWeightTying && isTied(model) ? both : own);
}

/** Those that the configuration asks for; what `at` has no file for is copied from the model. */
export function* overlaysOf(model: Module, config: Whole, layers: ReadonlyMap<string, unknown>, at: Weights): Generator<Overlay> {
  const tables = tablesOf(model, config);
  const pair = tablePaths(model);
  checkWhole(model, config);
  if (config.bias === "none" && !config.modulesToSave.length && !tables.size) return;
  for (const [path, original] of parametersOf(model)) {
    const module = path.slice(0, Math.max(0, path.lastIndexOf(".")));
    const name = path.slice(module.length + 1);
    const isBias = name === "bias" && (config.bias === "all" || (config.bias === "lora_only" && layers.has(module)));
    const shared = config.ensureWeightTying && isTied(model) && pair.some((table) => path === table);
    const whole = tables.has(path) || isTrainedWhole(config, module);
    if (!isBias && !whole) continue;
    if (shared) {
      if (path === pair[0]) yield tied(pair, original, at, config);
      continue;
    }
    const key = isBias && layers.has(module) ? `${module}.base_layer.bias` : path;
    const tensor = at.checkpoint ? at.parameter(key, original.shape, { fill: 0 }) : master(original);
    yield { paths: [path], keys: [keyOf(key)], tensor, trains: true };
  }
}

/** PEFT fails on a name of modules_to_save that means nothing, too. */
function checkWhole(model: Module, config: Whole): void {
  if (!config.modulesToSave.length) return;
  const paths = [...Array.from(places(model), ([path]) => path), ...(isTied(model) ? ["lm_head"] : [])];
  for (const name of config.modulesToSave)
    if (!paths.some((path) => isTrainedWhole({ ...config, modulesToSave: [name] }, path)))
      throw config.fail("modulesToSave to name modules of the model", `"${name}", which names none`);
}

/** One table for both places, which PEFT writes under both names. */
function tied(paths: readonly string[], original: Tensor, at: Weights, config: Whole): Overlay {
  const keys = paths.map(keyOf) as [string, string];
  if (!at.checkpoint) return { paths, keys, tensor: master(original), trains: true };
  const there = paths.filter((key) => at.has(key));
  if (there.length === 2 && !atOnce(sameTensor(at.checkpoint, ...keys)))
    throw config.fail("one table under ensure_weight_tying", `an embedding and a head that differ in ${at.checkpoint.path}`);
  for (const key of there) at.take(key);
  const tensor = at.parameter(there[0] ?? (paths[0] as string), original.shape, { fill: 0 });
  return { paths, keys, tensor, trains: true };
}

/**
 * Tables that the file holds although nobody trains them: PEFT's save_embedding_layers writes the embedding and the head where the vocabulary grew, or
 * was thought to. Equal to the base's they are passed over; others take their place, as PEFT loads them.
 */
export async function* heldBeside(model: Module, config: Whole, at: Weights): AsyncGenerator<Overlay> {
  const { checkpoint } = at;
  if (!checkpoint) return;
  const taken = tablesOf(model, config);
  const parameters = new Map(parametersOf(model));
  const pair = tablePaths(model);
  // Where a table has branches PEFT writes it below them.
  const named = (path: string) => [path, path.replace(/weight$/, "base_layer.weight")].find((name) => at.has(name));
  const held = pair.filter((path) => parameters.has(path) && named(path) && !taken.has(path));
  const keys = held.map((path) => at.take(named(path) as string));
  // PEFT loads into the one table of a tied pair, whichever of its names the file has.
  const one = isTied(model) && !pair.some((path) => taken.has(path));
  if (one && held.length === 2 && !(await inTurns(sameTensor(checkpoint, ...(keys as [string, string])))))
    throw config.fail("one table for a head that is tied to the embedding", `two that differ in ${checkpoint.path}`);
  for (const [i, path] of (one ? held.slice(0, 1) : held).entries()) {
    const key = keys[i] as string;
    const original = parameters.get(path) as Tensor;
    const { shape } = checkpoint.entry(key);
    if (String(shape) !== String(original.shape))
      throw config.fail(
        `"${path}" of ${original.shape[0]} rows, as in the base model`,
        `[${shape}] in ${checkpoint.path}; the vocabulary was resized in training: take a base model that was resized to ${shape[0]} rows too`,
      );
    const tensor = checkpoint.load(key, original.device, { dtype: original.dtype });
    const same = await equal(tensor, original).catch((error) => {
      tensor.dispose();
      throw error;
    });
    if (same) tensor.dispose();
    else if (one) yield { paths: pair, keys: key === keyOf(path) ? pair.map(keyOf) : keys, tensor, trains: false };
    else yield { paths: [path], keys: [key], tensor, trains: false };
  }
}

/** Rows compared at a time: differences in f32 of a whole table might not fit. */
const ROWS = 8192;

async function equal(a: Tensor, b: Tensor): Promise<boolean> {
  const rows = a.shape[0] as number;
  for (let from = 0; from < rows; from += ROWS) {
    const count = Math.min(ROWS, rows - from);
    const norm = noGrad(() =>
      scope(() => {
        const [x, y] = [a, b].map((table) => f32(table.slice(from, count))) as [Tensor, Tensor];
        return gradNorm([scaleAdd(x, y, 1, -1)]);
      }),
    );
    const differs = await norm.item().finally(() => norm.dispose());
    if (differs !== 0) return false;
  }
  return true;
}
const f32 = (x: Tensor): Tensor => (x.dtype === "f32" ? x : cast(x, "f32"));

/** A trainable f32 copy. */
export function master(original: Tensor): Tensor {
  const tensor = original.dtype === "f32" ? copy(original) : cast(original, "f32");
  tensor.requiresGrad = true;
  return tensor;
}
