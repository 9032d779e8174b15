// Parameters that adapters have their own of: which tensor stands in the model when several adapters have one for the same place, each switched on or
// off or taken away in any order. The last that is on counts; the base model's own is never lost.

import { expected } from "../core/errors.js";
import type { Tensor } from "../core/tensor.js";
import { CausalDecoder } from "../models/causal-decoder.js";
import { touched, Wrap } from "../nn/layer.js";
import type { Module } from "../nn/module.js";

export interface Overlay {
  /** Where it stands. A table of a tied pair stands in both places. */
  paths: readonly string[];
  /** In the file. A table of a tied pair has both names. */
  keys: readonly string[];
  tensor: Tensor;
  /** Does the adapter train it, or did its file hold it only? */
  trains: boolean;
}

interface Place {
  original: Tensor;
  over: Overlay[];
}

class Exchange {
  readonly #places = new Map<string, Place>();
  readonly #off = new Set<Overlay>();
  /** The embedding and the head, of a language model. */
  readonly #pair: readonly string[];
  constructor(private readonly model: Module) {
    this.#pair = tablePaths(model);
  }

  original(path: string): Tensor | undefined {
    return this.#places.get(path)?.original;
  }

  lay(overlays: readonly Overlay[]): void {
    const originals = new Map(parametersOf(this.model));
    const tables = overlays.some(({ paths }) => paths.some((path) => this.#pair.includes(path))) && isTied(this.model) ? this.#pair : [];
    for (const path of [...tables, ...overlays.flatMap(({ paths }) => paths)])
      if (!this.#places.has(path)) this.#places.set(path, { original: originals.get(path) as Tensor, over: [] });
    for (const overlay of overlays) for (const place of this.#of(overlay)) place.over.push(overlay);
    this.#refresh();
  }

  switch(overlays: readonly Overlay[], on: boolean): void {
    for (const overlay of overlays) {
      if (on) this.#off.delete(overlay);
      else this.#off.add(overlay);
    }
    this.#refresh();
  }

  /** Takes them away, and disposes them. */
  lift(overlays: readonly Overlay[]): void {
    for (const overlay of overlays) for (const place of this.#of(overlay)) place.over.splice(place.over.indexOf(overlay), 1);
    this.#refresh();
    for (const overlay of overlays) {
      this.#off.delete(overlay);
      this.model.releaseBeside(overlay.tensor);
      overlay.tensor.dispose();
    }
    this.#forget();
  }

  /** Throws E_ADAPTER where another adapter's stands below one of them: what is made the model's own would come under it. */
  checkLowest(overlays: readonly Overlay[]): void {
    for (const overlay of overlays)
      for (const path of overlay.paths)
        if (this.#places.get(path)?.over[0] !== overlay)
          throw expected("E_ADAPTER", "merge", `no other adapter's "${path}" below its own`, "one", "merge or take off the other first");
  }

  /** Makes them the model's own, in place of what it had. */
  settle(overlays: readonly Overlay[]): void {
    const old = new Set<Tensor>();
    for (const overlay of overlays)
      for (const place of this.#of(overlay)) {
        old.add(place.original);
        place.original = overlay.tensor;
        place.over.splice(place.over.indexOf(overlay), 1);
      }
    this.#refresh();
    const held = new Set([...this.model.parameters(), ...this.#tensors()]); // a table of a tied pair is still the other's
    for (const original of old) {
      this.model.releaseBeside(original);
      if (!held.has(original)) original.dispose();
    }
    this.#forget();
  }

  #of(overlay: Overlay): Place[] {
    return overlay.paths.map((path) => this.#places.get(path) as Place);
  }
  #tensors(): Tensor[] {
    return [...this.#places.values()].flatMap(({ original, over }) => [original, ...over.map(({ tensor }) => tensor)]);
  }

  #refresh(): void {
    const { model } = this;
    const counts = ({ original, over }: Place) => over.findLast((overlay) => !this.#off.has(overlay))?.tensor ?? original;
    const standing = new Map(Array.from(this.#places, ([path, place]) => [path, counts(place)]));
    if (model instanceof CausalDecoder) model.tablesExchanged = this.#pair.some((path) => this.#places.get(path)?.over.length);
    const [table, head] = this.#pair.map((path) => standing.get(path));
    if (table && head && model instanceof CausalDecoder) {
      if (table === head) {
        model.tie();
        standing.delete(model.paths.head);
      } else model.untie();
    }
    for (const [path, tensor] of standing) {
      const parent = path.slice(0, Math.max(0, path.lastIndexOf(".")));
      if (model.replace(path, tensor) !== tensor) touched((parent && model.child(parent)) || model);
    }
    const inside = new Set(standing.values());
    for (const tensor of this.#tensors()) {
      if (inside.has(tensor)) model.releaseBeside(tensor);
      else model.keepBeside(tensor);
    }
  }

  /** Places that nobody has an own of are the model's business again; those of a tied pair only together. */
  #forget(): void {
    const empty = (path: string) => !this.#places.get(path)?.over.length;
    for (const path of [...this.#places.keys()])
      if (empty(path) && (!this.#pair.includes(path) || this.#pair.every(empty))) this.#places.delete(path);
  }
}

/** Of a language model, its table of embeddings and its head, which may be one. */
export function tablePaths(model: Module): readonly [embedding: string, head: string] | [] {
  return model instanceof CausalDecoder ? [model.paths.embedding, model.paths.head] : [];
}

const exchanges = new WeakMap<Module, Exchange>();
export function exchangeOf(model: Module): Exchange {
  const known = exchanges.get(model) ?? new Exchange(model);
  exchanges.set(model, known);
  return known;
}

/** Is the model's head its embedding, but for what adapters have exchanged? */
export function isTied(model: Module): model is CausalDecoder {
  if (!(model instanceof CausalDecoder)) return false;
  const exchange = exchangeOf(model);
  const table = exchange.original(model.paths.embedding);
  return model.lmHead === undefined || (table !== undefined && table === exchange.original(model.paths.head));
}

/** Every parameter of the bare model by its path, a tied head under its own: what adapters added is left out, and what they exchanged is as it was. */
export function* parametersOf(model: Module): Generator<[string, Tensor]> {
  const added = new Set<Tensor>();
  for (const module of model.modules()) if (module instanceof Wrap) for (const [, tensor] of module.own()) added.add(tensor);
  const exchange = exchangeOf(model);
  const standing = new Map(model.namedParameters());
  if (isTied(model) && !standing.has(model.paths.head)) standing.set(model.paths.head, model.headWeight);
  for (const [path, tensor] of standing) if (!added.has(tensor)) yield [path, exchange.original(path) ?? tensor];
}
