// A part of a model: its parameters are the Tensors in its public fields, its children the Modules there; arrays and Maps of both count, by
// index and key. Their names in a checkpoint follow from the field names: `qProj` is `q_proj`. What lives in private (#) fields is no parameter.

import { noGrad } from "../core/autograd.js";
import { AnymalError } from "../core/errors.js";
import { checkOptions } from "../core/options.js";
import { built, keep } from "../core/scope.js";
import { computed, Tensor } from "../core/tensor.js";
import { cast } from "../ops/index.js";

interface Slot {
  name: string;
  value: Tensor | Module;
  set(value: Tensor | Module): void;
}

/**
 * What has parameters: fields that are tensors or modules are found by their names, as in torch, for training, files and dispose(). Extend it for
 * layers of one's own.
 */
export abstract class Module {
  training = false;
  readonly #beside = new Set<Tensor>();

  /** A field's name in checkpoints; an empty one makes the child's names part of this module. */
  protected stateName(field: string): string {
    const known = snake.get(field);
    if (known !== undefined) return known;
    const name = field.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);
    snake.set(field, name);
    return name;
  }

  /** The full name of what is called `name` in this module, which stands at `path`. */
  protected nameAt(path: string, name: string): string {
    return join(path, name);
  }

  /** Tensors that belong to the state but never train, such as running statistics; by state name. */
  protected isBuffer(_name: string): boolean {
    return false;
  }

  #slots(): Slot[] {
    const slots: Slot[] = [];
    const fields = this as unknown as Record<string, unknown>;
    const visit = (value: unknown, name: string, set: (value: Tensor | Module) => void) => {
      if (value instanceof Tensor || value instanceof Module) {
        slots.push({ name, value, set });
      } else if (Array.isArray(value)) {
        for (const i of value.keys()) visit(value[i], `${name}.${i}`, (v) => value.splice(i, 1, v));
      } else if (value instanceof Map) {
        for (const [key, entry] of value) visit(entry, `${name}.${key}`, (v) => value.set(key, v));
      }
    };
    for (const field of Object.keys(fields)) visit(fields[field], this.stateName(field), (v) => Object.assign(fields, { [field]: v }));
    return slots;
  }

  /** Tensors and modules of its fields by their state names, without what lies in those modules. */
  protected fields(): readonly Readonly<Pick<Slot, "name" | "value">>[] {
    return this.#slots();
  }

  /** Every parameter once, by its name in a checkpoint; a tied one under the name that comes first. */
  *namedParameters(prefix = ""): Generator<[string, Tensor]> {
    const seen = new Set<Tensor>();
    for (const [name, module] of this.namedModules(prefix)) {
      for (const slot of module.#slots()) {
        if (!(slot.value instanceof Tensor) || seen.has(slot.value)) continue;
        seen.add(slot.value);
        yield [module.nameAt(name, slot.name), slot.value];
      }
    }
  }

  /** This module and all below it. */
  *namedModules(prefix = ""): Generator<[string, Module]> {
    yield [prefix, this];
    for (const { name, value } of this.#slots()) if (value instanceof Module) yield* value.namedModules(this.nameAt(prefix, name));
  }

  /** What it holds beside its fields and never trains. */
  protected frozen(): readonly Tensor[] {
    return [];
  }
  /** Resolves when every weight is on the device; rejects with what kept one of them from getting there. Other work on the device does not count. */
  async arrived(): Promise<void> {
    await computed([...this.parameters(), ...this.modules().flatMap((module) => module.frozen())]);
  }

  /** Those of namedParameters(), in its order, at a fraction of its cost: whether an encoder trains is asked for each step. */
  parameters(): Tensor[] {
    const found = new Set<Tensor>();
    this.#collect(found);
    return [...found];
  }
  #collect(found: Set<Tensor>): void {
    const children: Module[] = [];
    const visit = (value: unknown) => {
      if (value instanceof Tensor) found.add(value);
      else if (value instanceof Module) children.push(value);
      else if (Array.isArray(value)) value.forEach(visit);
      else if (value instanceof Map) for (const entry of value.values()) visit(entry);
    };
    Object.values(this).forEach(visit);
    for (const child of children) child.#collect(found);
  }
  trainable(): Tensor[] {
    return this.parameters().filter((tensor) => tensor.requiresGrad);
  }
  modules(): Module[] {
    return Array.from(this.namedModules(), ([, module]) => module);
  }

  /** Dropout is on in training mode only. */
  train(mode = true): this {
    for (const module of this.modules()) module.training = mode;
    return this;
  }

  /**
   * Opens or freezes every parameter, or those of whose names `only` says so. One that opens becomes an f32 master, so an optimiser made before must be
   * made anew.
   */
  requiresGrad(on: boolean, only?: (name: string) => boolean): this {
    hold(this.#training(only), on, on ? "f32" : undefined);
    return this;
  }

  /** Freezes masters, and rounds them to bf16 again. */
  narrow(only?: (name: string) => boolean): this {
    hold(this.#training(only), false, "bf16");
    return this;
  }

  /** What may train, with all the places where it stands; a tied tensor has the name that comes first. */
  #training(only: (name: string) => boolean = () => true): Map<Tensor, Slot[]> {
    const names = new Map<Tensor, string>();
    const found = new Map<Tensor, Slot[]>();
    for (const [path, module] of this.namedModules()) {
      for (const slot of module.#slots()) {
        const { name, value } = slot;
        if (!(value instanceof Tensor) || !trains(value) || module.isBuffer(name)) continue;
        if (!names.has(value)) names.set(value, join(path, name));
        if (only(names.get(value) as string)) found.set(value, [...(found.get(value) ?? []), slot]);
      }
    }
    return found;
  }

  /** Puts `state`'s tensors in place of this module's, which are disposed. Shapes must agree; floats are cast to what is there. */
  loadState(state: ReadonlyMap<string, Tensor>, options: { strict?: boolean } = {}): void {
    checkOptions("loadState", options, ["strict"]);
    const { strict = true } = options;
    const own = new Map(this.namedParameters());
    const missing = [...own.keys()].filter((name) => !state.has(name));
    const left = [...state.keys()].filter((name) => !own.has(name));
    if (strict && (missing.length || left.length))
      throw new StateError(`the parameters of ${this.constructor.name}`, describe(missing, left));
    for (const [name, tensor] of state) {
      const old = own.get(name);
      if (old && String(old.shape) !== String(tensor.shape)) throw new StateError(`"${name}" of shape [${old.shape}]`, `[${tensor.shape}]`);
    }
    const fresh = new Map<Tensor, Tensor>();
    built(() => {
      for (const [name, tensor] of state) {
        const old = own.get(name);
        if (!old) continue;
        const value = keep(tensor.dtype === old.dtype ? tensor.detach() : noGrad(() => cast(tensor, old.dtype)));
        value.requiresGrad = old.requiresGrad;
        fresh.set(old, value);
      }
    });
    for (const module of this.modules()) {
      for (const slot of module.#slots()) {
        const value = fresh.get(slot.value as Tensor);
        if (value) slot.set(value);
      }
    }
    for (const old of fresh.keys()) old.dispose();
  }

  /** The child at `path` (its state name, such as "self_attn.q_proj"), a wrapped one with all that stands around it. */
  child(path: string): Module | undefined {
    return this.place(path)?.value as Module | undefined;
  }
  /** Where it stands, for who looks at it first and exchanges it then. */
  place(path: string): { readonly value: Module; set(value: Module): void } | undefined {
    return this.#find(path, "", true) as { value: Module; set(value: Module): void } | undefined;
  }

  /** Swaps the child or parameter at `path` (its state name, such as "self_attn.q_proj") and returns the old one, which is not disposed. */
  replace<T extends Module | Tensor>(path: string, replacement: T): T {
    const slot = this.#find(path, "", replacement instanceof Module);
    if (!slot) throw new StateError(`"${path}" in ${this.constructor.name}`, "nothing of that name");
    const old = slot.value as T;
    slot.set(replacement);
    return old;
  }

  /** Looks only where the path leads: a model has a thousand modules, and an adapter replaces hundreds of them. */
  #find(path: string, prefix: string, isModule: boolean): Slot | undefined {
    const slots = this.#slots().map((slot) => ({ slot, name: this.nameAt(prefix, slot.name) }));
    const here = slots.find(({ slot, name }) => name === path && slot.value instanceof Module === isModule);
    if (here) return here.slot;
    for (const { slot, name } of slots) {
      if (!(slot.value instanceof Module) || !leads(name, path)) continue;
      const found = slot.value.#find(path, name, isModule);
      if (found) return found;
    }
    return undefined;
  }

  /** Holds what an adapter has exchanged until it is put back: it goes when the module goes. */
  keepBeside(tensor: Tensor): void {
    this.#beside.add(tensor);
  }
  releaseBeside(tensor: Tensor): void {
    this.#beside.delete(tensor);
  }

  dispose(): void {
    for (const tensor of new Set([...this.#slots().map(({ value }) => value), ...this.#beside])) {
      if (tensor instanceof Module || !tensor.disposed) tensor.dispose();
    }
    this.#beside.clear();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Field names are few, and asked for at every walk over a model. */
const snake = new Map<string, string>();

/** May `path` lie in what is called `name`? Not in layers.1 when it begins with layers.10; in attn.in_proj when it is attn.in_proj_weight. */
const leads = (name: string, path: string): boolean => path.startsWith(name) && !/[a-z0-9]/i.test(name ? path.charAt(name.length) : "");

/** E_STATE: weights that are not the module's: one is missing, left over, or of another shape. */
export class StateError extends AnymalError {
  override readonly name = "StateError";
  constructor(
    readonly expected: string,
    readonly got: string,
  ) {
    super("E_STATE", `expected ${expected}, got ${got}; the weights are of another architecture or configuration`);
  }
}

export function join(prefix: string, name: string): string {
  return prefix && name ? `${prefix}.${name}` : prefix || name;
}

export function describe(missing: readonly string[], left: readonly string[]): string {
  const list = (names: readonly string[]) => names.slice(0, 5).join(", ") + (names.length > 5 ? `, … (${names.length})` : "");
  return [missing.length ? `without ${list(missing)}` : "", left.length ? `with ${list(left)} left over` : ""]
    .filter(Boolean)
    .join(" and ");
}

function hold(tensors: ReadonlyMap<Tensor, readonly Slot[]>, requiresGrad: boolean, dtype: "f32" | "bf16" | undefined): void {
  // All are made before the first one takes its place: when one cannot be made, the module stays as it was.
  const made = new Map<Tensor, Tensor>();
  built(() => {
    for (const tensor of tensors.keys()) if (dtype && tensor.dtype !== dtype) made.set(tensor, keep(noGrad(() => cast(tensor, dtype))));
  });
  for (const [tensor, slots] of tensors) {
    const other = made.get(tensor);
    for (const { set } of other ? slots : []) set(other as Tensor);
    (other ?? tensor).requiresGrad = requiresGrad;
  }
  for (const old of made.keys()) old.dispose();
}

const trains = (value: Slot["value"]): boolean => value instanceof Tensor && (value.dtype === "f32" || value.dtype === "bf16");

/** The parameter in the dtype of the activations it meets: f32 masters are cast where they are used, and only there. */
export function matching(parameter: Tensor, x: Tensor): Tensor {
  return parameter.dtype === x.dtype ? parameter : cast(parameter, x.dtype);
}
