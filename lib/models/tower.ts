// A tower inside of a checkpoint that holds more: where its names begin, which part of config.json is its own, and what it leaves over.
import { built } from "../core/scope.js";
import { Checkpoint, type WeightSource } from "../io/checkpoint.js";
import { describe, type Module, StateError } from "../nn/module.js";
import { QuantizedLinear } from "../nn/quantized-linear.js";
import { Weights } from "../nn/weights.js";
import { ConfigError, type Json, readConfig, storedDType } from "./config.js";
import { checkLoading, type EncoderLoading } from "./encoder.js";
import type { Place } from "./piece.js";
import { isUnwritten, unwritten } from "./unwritten.js";

export interface TowerKind {
  /** model_type of the tower by itself, such as clip_vision_model. */
  alone: readonly string[];
  /** … of the model that pairs it with a text tower, such as clip. */
  whole?: string;
  /** Where that one, and larger models such as LLaVA, keep the tower's configuration. */
  section: "vision_config" | "audio_config";
}

/** The tower's own configuration: json itself, or the section of a larger model's. */
export function towerConfig(json: Json, { alone, whole, section }: TowerKind): { own: Json; larger: boolean } {
  const type = json.model_type;
  if (alone.includes(type as string)) return { own: json, larger: false };
  const inside = json[section];
  const object = typeof inside === "object" && inside !== null && !Array.isArray(inside);
  if (type === whole && whole !== undefined) {
    if (!object) throw new ConfigError(section, "an object", inside);
    return { own: inside as Json, larger: false };
  }
  if (object && alone.includes((inside as Json).model_type as string)) return { own: inside as Json, larger: true };
  throw new ConfigError("model_type", [whole, ...alone].filter(Boolean).join(" or "), type);
}

/**
 * Where a tower's names begin: what comes before `anchor` in the one name of the checkpoint that ends so, which may be nothing (""). Undefined
 * without such a name. Two of them are two towers, and which is meant nobody can tell.
 */
export function prefixOf(checkpoint: WeightSource, anchor: string): string | undefined {
  const found = [...checkpoint.names()].filter((name) => name === anchor || name.endsWith(`.${anchor}`));
  if (found.length > 1) throw new StateError(`one tower with "${anchor}" in ${checkpoint.path}`, describe([], found));
  return found[0]?.slice(0, -anchor.length - 1);
}

/**
 * The names of a checkpoint that no `part` (a module, and where its names begin) has taken. Buffers that follow from the configuration, such as
 * position ids, are nobody's loss. Throws where one is left among `blocks`.
 */
export function leftover(
  checkpoint: WeightSource | undefined,
  parts: readonly (readonly [Module, string])[],
  blocks: string,
  buffers = /(^|\.)position_ids$/,
): string[] {
  if (!checkpoint) return [];
  const taken = new Set<string>();
  const packed: string[] = []; // a quantised layer has names of its own below its place
  for (const [module, prefix] of parts) {
    for (const [name] of module.namedParameters(prefix)) taken.add(name);
    for (const [name, part] of module.namedModules(prefix)) if (part instanceof QuantizedLinear) packed.push(`${name}.`);
  }
  const left = [...checkpoint.names()].filter(
    (name) => !taken.has(name) && !buffers.test(name) && !packed.some((place) => name.startsWith(place)),
  );
  // Beside the blocks a stranger is another part of the model. Among them it would have made other numbers.
  const strangers = left.filter((name) => name.startsWith(`${blocks}.`));
  if (strangers.length) throw new StateError(`a place for every weight below "${blocks}" of ${checkpoint.path}`, describe([], strangers));
  return left;
}

/** Opens a folder for as long as `build` runs; a piece is its owner's to close. What was read before it failed is disposed. */
export function fromFolder<T>(
  place: Place,
  loading: EncoderLoading,
  build: (weights: Weights, json: Json, checkpoint: WeightSource) => T,
): T {
  checkLoading(loading);
  if (typeof place !== "string") {
    const { source, config } = place;
    return fromCheckpoint(source, loading, config, (weights) => build(weights, config, source));
  }
  const json = readConfig(place);
  if (isUnwritten(place, loading.device)) {
    const { device, dtype = storedDType(json), trainable = false, quantization } = loading;
    return built(() => build(Weights.fresh({ device, dtype, trainable, quantization }), json, unwritten(place)));
  }
  using checkpoint = Checkpoint.open(place);
  return fromCheckpoint(checkpoint, loading, json, (weights) => build(weights, json, checkpoint));
}

export function fromCheckpoint<T>(checkpoint: WeightSource, loading: EncoderLoading, json: Json, build: (weights: Weights) => T): T {
  checkLoading(loading);
  const { device, dtype, trainable = false, quantization } = loading;
  return built(() => build(Weights.from(checkpoint, { device, dtype: dtype ?? storedDType(json), trainable, quantization })));
}

/** "a.b" of "a.b.vision_model" with `last` "vision_model"; undefined where the prefix does not end so. */
export function outside(prefix: string, last: string): string | undefined {
  if (prefix === last) return "";
  return prefix.endsWith(`.${last}`) ? prefix.slice(0, -last.length - 1) : undefined;
}
