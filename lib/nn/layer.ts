// What stands at a path of a model, and what may be put around it: a wrap stands where its base stood. The base keeps its names, so that a checkpoint of
// the bare model is one of the wrapped model too; the wrap's own tensors are `<path>.<owner>.<name>`, and several wraps on one path stand around each other.
import { nearest } from "../core/checks.js";
import { type AnymalError, expected } from "../core/errors.js";
import type { Tensor } from "../core/tensor.js";
import { join, Module } from "./module.js";
import type { Sequence } from "./sequence.js";

/** A part of a stack: rows (B,T,C) → (B,T,C), and what every layer of this forward is told. */
export interface Layer extends Module {
  forward(x: Tensor, s: Sequence): Tensor;
}
/** A part that is told nothing but its rows. */
export interface Plain extends Module {
  forward(x: Tensor): Tensor;
}

/** Whose wraps are called when nobody gave a name. It stands in no tensor's name, as PEFT leaves it out of its files. */
export const DEFAULT_OWNER = "default";

/**
 * Stands where `base` stood and computes by way of it: `base` keeps its names, the wrap's own tensors are `<path>.<owner>.<name>`. wrap() puts one
 * in.
 */
export abstract class Wrap<B extends Module = Module> extends Module {
  /** What it stands around: the layer itself, or another's wrap. */
  base: B;
  #enabled = true;

  constructor(
    base: B,
    readonly owner: string,
  ) {
    super();
    this.base = base;
  }

  protected override stateName(field: string): string {
    return field === "base" ? "" : `${this.#prefix}${this.ownName(field)}`;
  }
  get #prefix(): string {
    return this.owner === DEFAULT_OWNER ? "" : `${this.owner}.`;
  }
  /** A field's name below `<path>.<owner>`. */
  protected ownName(field: string): string {
    return super.stateName(field);
  }

  /** Does it take part? What does not computes what its base does, bit for bit. */
  get enabled(): boolean {
    return this.#enabled;
  }
  set enabled(on: boolean) {
    if (on === this.#enabled) return;
    this.#enabled = on;
    touched(this);
  }
  /** The first below it that takes part. */
  get inner(): B {
    let below: Module = this.base;
    while (below instanceof Wrap && !below.enabled) below = below.base;
    return below as B;
  }

  /** Its own tensors, those of its own children too, by their names below `<path>.<owner>`. */
  *own(): Generator<[string, Tensor]> {
    const { length } = this.#prefix;
    for (const { name, value } of this.fields()) {
      if (value === this.base) continue;
      if (!(value instanceof Module)) yield [name.slice(length), value];
      else for (const [full, tensor] of value.namedParameters(name)) yield [full.slice(length), tensor];
    }
  }
  /** Its own children, and theirs. */
  ownModules(): Module[] {
    return this.fields().flatMap(({ value }) => (value instanceof Module && value !== this.base ? value.modules() : []));
  }
  /** Disposes what is its own, once it stands nowhere; what it stood around lives on. */
  release(): void {
    for (const [, tensor] of [...this.own()]) tensor.dispose();
  }
}

/** The layer itself, behind all that stands around it. */
export function innermost(module: Module): Module {
  let at = module;
  while (at instanceof Wrap) at = at.base;
  return at;
}
/** What stands around a layer, from the outside in. */
export function wrapsOn(module: Module): Wrap[] {
  const wraps: Wrap[] = [];
  for (let at = module; at instanceof Wrap; at = at.base) wraps.push(at);
  return wraps;
}

/** Every place of the bare model once, with what stands there from the outside; what is a wrap's own is no place. */
export function* places(model: Module): Generator<[string, Module]> {
  const passed = new Set<Module>();
  for (const [path, module] of model.namedModules()) {
    if (module instanceof Wrap) for (const other of [module.base, ...module.ownModules()]) passed.add(other);
    if (!passed.has(module)) yield [path, module];
  }
}

export type MakeWrap = (outermost: Module) => Wrap;

/** Puts a wrap around all that stands at `path`. Throws E_ADAPTER where nothing does, or the owner's name is taken there. */
export function wrap(model: Module, path: string, make: MakeWrap): Wrap {
  return wrapAll(model, [[path, make]]).get(path) as Wrap;
}

/** The same at many paths: all are made before the first one is put in, so that a model on which one does not fit stays as it was. */
export function wrapAll(model: Module, makes: Iterable<readonly [path: string, make: MakeWrap]>): Map<string, Wrap> {
  const made = new Map<string, Wrap>();
  const put: (() => void)[] = [];
  for (const [path, make] of makes) {
    const place = model.place(path);
    if (!place) throw nowhere(model, path);
    const outermost = place.value;
    if (made.has(path)) throw expected("E_ADAPTER", "wrap", `one wrap of an owner at "${path}"`, "two");
    const wrap = make(outermost);
    checkOwner(wrap.owner, path, outermost);
    made.set(path, wrap);
    put.push(() => place.set(wrap));
  }
  for (const one of put) one();
  for (const wrap of made.values()) touched(wrap);
  return made;
}

/** Takes the owner's wrap off `path`, wherever in the chain it stands, and returns it; what it owns is the caller's to release. */
export function unwrap(model: Module, path: string, owner: string): Wrap {
  const outermost = model.child(path);
  if (!outermost) throw nowhere(model, path);
  const wraps = wrapsOn(outermost);
  const at = wraps.findIndex((wrap) => wrap.owner === owner);
  const found = wraps[at];
  if (!found) throw expected("E_ADAPTER", "unwrap", `a wrap of "${owner}" at "${path}"`, named(wraps));
  const around = wraps[at - 1];
  if (around) around.base = found.base;
  else model.replace(path, found.base);
  touched(found);
  return found;
}

/** Exchanges the layer itself at `path`, below all that stands around it. */
export function rebase(model: Module, path: string, layer: Module): void {
  const lowest = wrapsOn(model.child(path) as Module).at(-1);
  if (lowest) lowest.base = layer;
  else model.replace<Module>(path, layer);
  touched(layer);
}

const NAME = /^[A-Za-z0-9_-]+$/;

/** Throws E_ADAPTER on a name that could not be part of a parameter's. */
export function checkOwnerName(owner: string): void {
  if (NAME.test(owner)) return;
  throw expected(
    "E_ADAPTER",
    "an adapter's name",
    "letters, digits, _ and -",
    JSON.stringify(owner),
    "it becomes part of the names of tensors",
  );
}

function checkOwner(owner: string, path: string, outermost: Module): void {
  checkOwnerName(owner);
  const wraps = wrapsOn(outermost);
  if (wraps.some((wrap) => wrap.owner === owner))
    throw expected(
      "E_ADAPTER",
      "wrap",
      `an owner that has no wrap at "${path}" yet`,
      `"${owner}"`,
      "take another name, or take the one off first",
    );
  if (owner === DEFAULT_OWNER) return; // it stands in no name
  const taken = new Set([...outermost.namedParameters(), ...outermost.namedModules()].map(([name]) => name.split(".", 1)[0]));
  if (taken.has(owner))
    throw expected("E_ADAPTER", "wrap", `an owner whose name is none of a part of "${path}"`, `"${owner}"`, "take another name");
}

/** Says which path was probably meant: one that ends so, or the nearest name where the path leaves the model. */
function nowhere(model: Module, path: string): AnymalError {
  const paths = Array.from(places(model), ([at]) => at).filter(Boolean);
  const leadsOn = (at: string) => paths.some((one) => one === at || one.startsWith(`${at}.`)); // a list of layers is no module
  const parts = path.split(".");
  let depth = 0;
  while (depth < parts.length - 1 && leadsOn(parts.slice(0, depth + 1).join("."))) ++depth;
  const parent = parts.slice(0, depth).join(".");
  const below = paths.filter((at) => !parent || at.startsWith(`${parent}.`)).map((at) => at.split(".")[depth] as string);
  const names = [...new Set(below)];
  const name = nearest(parts[depth] as string, names);
  const near = paths.find((at) => at.endsWith(`.${path}`)) ?? (name && join(parent, name));
  const next = near ? `did you mean "${near}"?` : `${parent ? `"${parent}"` : "the model"} has ${names.slice(0, 8).join(", ")}`;
  return expected("E_ADAPTER", "wrap", `a path of ${model.constructor.name}`, `"${path}", where nothing stands`, next);
}
const named = (wraps: readonly Wrap[]) => (wraps.length ? `those of ${wraps.map(({ owner }) => `"${owner}"`).join(", ")}` : "none at all");

// What stands where may change between a forward and its backward, which under recomputation would run another function than the one that the loss is of.
let changes = 0;
const changedAt = new WeakMap<Module, number>();

/** Another thing is computed at this place from now on. */
export function touched(module: Module): void {
  changedAt.set(innermost(module), ++changes);
}

/** How often anything was put around a layer, taken off or switched, on any model: keys and values that were computed before another count are doubtful. */
export const wrapChanges = (): number => changes;

/** To be called when `layer` is run again: throws E_ADAPTER where one of its parts was wrapped, unwrapped or switched since. */
export function unchanged(layer: Module): () => void {
  const then = changes;
  return () => {
    if (changes === then) return; // of any model: nearly always so
    for (const [path, module] of layer.namedModules())
      if ((changedAt.get(module) ?? 0) > then)
        throw expected(
          "E_ADAPTER",
          "backward",
          "the adapters that the forward ran with, since layers are recomputed",
          `others at "${path}"`,
          "switch, attach and detach adapters before the forward or after the backward",
        );
  };
}
