// PEFT's rules for which modules a configuration means.
import type { Fail } from "./kind.js";
import { Expressions } from "./lora-expressions.js";

export interface Targets {
  /** Names (a module matches by its last parts), one regular expression over the whole path, or "all-linear". */
  targetModules: readonly string[] | string;
  excludeModules: readonly string[] | string;
  /** Modules trained whole and stored beside the adapter. */
  modulesToSave: readonly string[];
  layersToTransform?: readonly number[] | undefined;
  layersPattern?: readonly string[];
}

/** Of a configuration: what its expressions took is counted together. */
const expressionsOf = new WeakMap<object, Expressions>();
export function expressions(config: object, fail: Fail): Expressions {
  const made = expressionsOf.get(config) ?? new Expressions(fail);
  expressionsOf.set(config, made);
  return made;
}
export const endsWith = (path: string, names: readonly string[]): boolean =>
  names.some((name) => path === name || path.endsWith(`.${name}`));

/** Does the adapter sit on the module at `path`? `linear` says whether it is a linear layer below the head. */
export function isTargetOf(config: Targets, path: string, linear: boolean, fail: Fail): boolean {
  const { targetModules: targets, excludeModules: excluded, modulesToSave } = config;
  const all = expressions(config, fail);
  if (typeof excluded === "string" ? all.fitsWhole(excluded, path) : endsWith(path, excluded)) return false;
  if (modulesToSave.some((name) => all.fitsWithin(name, path))) return false;
  if (targets === "all-linear") return linear;
  if (typeof targets === "string") return all.fitsWhole(targets, path);
  return endsWith(path, targets) && isChosenLayer(config, path, all);
}

function isChosenLayer({ layersToTransform, layersPattern }: Targets, path: string, all: Expressions): boolean {
  if (!layersToTransform?.length) return true;
  for (const pattern of layersPattern?.length ? layersPattern : ["[^.]*"]) {
    const layer = all.layerOf(pattern, path);
    if (layer !== undefined) return layersToTransform.includes(layer);
  }
  return false;
}

/**
 * Is the module at `path` trained whole, or one that it lies in? PEFT goes by how the path ends, in the middle of a name too ("norm" means
 * input_layernorm as well), where it keeps adapters off by whole names.
 */
export function isTrainedWhole({ modulesToSave }: Pick<Targets, "modulesToSave">, path: string): boolean {
  const parts = path.split(".");
  return parts.some((_, i) =>
    modulesToSave.some((name) =>
      parts
        .slice(0, i + 1)
        .join(".")
        .endsWith(name),
    ),
  );
}
