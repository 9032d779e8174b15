// An adapter on a model, whatever its kind: several by name, each switched, trained, merged, taken off and saved without regard to the others.
import { createHash } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { expected } from "../core/errors.js";
import { onFile } from "../core/file-error.js";
import { built } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import type { WeightSource } from "../io/checkpoint.js";
import { saveSafetensors } from "../io/safetensors.js";
import { writeWhole } from "../io/whole-file.js";
import { CausalDecoder } from "../models/causal-decoder.js";
import { type Absorbed, checkFolds, type Foldable, foldIn } from "../nn/fold.js";
import { checkOwnerName, DEFAULT_OWNER, unwrap, type Wrap, wrapAll, wrapsOn } from "../nn/layer.js";
import type { Module } from "../nn/module.js";
import { overwriting, type Stored } from "../nn/overwriting.js";
import type { LeadSource } from "../nn/sequence.js";
import type { Weights } from "../nn/weights.js";
import { exchangeOf, type Overlay } from "./exchange.js";
import type { AdapterKind, Attached } from "./kind.js";
import { writables } from "./stored.js";

const attachedTo = new WeakMap<Module, Map<string, Adapter>>();
/** The adapters on a model, by name, in the order in which they came. */
export const adaptersOn = (model: Module): ReadonlyMap<string, Adapter> => attachedTo.get(model) ?? new Map();

/**
 * What createAdapter(), loadAdapter() and AnyMAL.addAdapter() put on a model: it is switched, trained, merged, saved and taken off by itself,
 * whatever else stands there.
 */
export class Adapter<C extends object = object> implements Attached<C> {
  readonly name: string;
  readonly kind: AdapterKind<C>;
  readonly model: Module;
  readonly config: C;
  /** By path; none once the adapter is merged or taken off. */
  readonly wraps: ReadonlyMap<string, Wrap>;
  /** What is no layer's own; undefined where there is nothing of the kind. */
  readonly shared: Module | undefined;
  readonly lead: LeadSource | undefined;
  readonly #wraps: Map<string, Wrap>;
  #overlays: readonly Overlay[];
  #state: "on" | "merged" | "off" = "on";
  #enabled = true;
  #trains = false;
  #version = 0;
  #fingerprint: { version: number; text: string } | undefined;

  constructor({ name, kind, model, config, wraps, overlays, shared, lead }: Attached<C>) {
    this.name = name;
    this.kind = kind;
    this.model = model;
    this.config = config;
    this.#wraps = new Map(wraps);
    this.wraps = this.#wraps;
    this.#overlays = overlays;
    this.shared = shared;
    this.lead = lead;
  }

  /** What it exchanged in the model. */
  get overlays(): readonly Overlay[] {
    return this.#overlays;
  }

  /** Is it on the model, added into its weights, or taken off again? */
  get state(): "on" | "merged" | "off" {
    return this.#state;
  }

  /** Does it take part? While it does not, the model computes what it does without it, bit for bit. Setting it throws E_ADAPTER while it trains. */
  get enabled(): boolean {
    return this.#enabled;
  }
  set enabled(on: boolean) {
    if (on === this.#enabled) return;
    this.checkAttached();
    this.#checkClosed("switched on or off");
    this.#enabled = on;
    for (const wrap of this.#wraps.values()) wrap.enabled = on;
    exchangeOf(this.model).switch(this.#overlays, on);
    this.#put(on);
    ++this.#version;
  }

  /** Goes up when what it computes may have changed: it was switched, trained, or read anew. */
  get version(): number {
    return this.#version;
  }

  /** Opens what it trains, with dropout on, or freezes it. Meanwhile it can be neither switched nor merged nor taken off: a backward may be under way. */
  train(on = true): this {
    this.checkAttached();
    this.#trains = on;
    ++this.#version;
    for (const [, tensor] of this.namedParameters()) tensor.requiresGrad = on;
    const own = [...this.#wraps.values()].flatMap((wrap) => [wrap as Module, ...wrap.ownModules()]);
    for (const module of [...own, ...(this.shared?.modules() ?? [])]) module.training = on;
    if (!on) this.kind.moved?.(this);
    return this;
  }
  /** Between train(true) and train(false). */
  get trains(): boolean {
    return this.#trains;
  }

  /** What it trains, by its key in the file; a table that is tied has the first of its two. */
  *namedParameters(): Generator<[string, Tensor]> {
    for (const [path, wrap] of this.#wraps) for (const [name, tensor] of wrap.own()) yield [this.kind.key(path, name), tensor];
    for (const [name, tensor] of this.shared?.namedParameters() ?? []) yield [this.kind.key("", name), tensor];
    for (const { keys, tensor, trains } of this.#overlays) if (trains) yield [keys[0] as string, tensor];
  }

  /** All that its file holds, each tensor once. */
  *stored(): Generator<Stored> {
    if (this.kind.stored) return yield* this.kind.stored(this);
    const held = new Map(this.#overlays.map(({ tensor, keys }) => [tensor, keys]));
    for (const [key, tensor] of this.namedParameters()) if (!held.has(tensor)) yield { keys: [key], tensor };
    for (const [tensor, keys] of held) yield { keys, tensor };
  }

  /** Throws when the adapter was merged or taken off: there is nothing of it to train, to merge or to save. */
  checkAttached(): void {
    if (this.#state === "on") return;
    throw this.kind.fail(
      "an adapter on its model",
      `one that was ${this.#state === "merged" ? "merged" : "taken off"}; save it before, or load it onto the model anew`,
    );
  }
  #checkClosed(what: string): void {
    if (this.#trains)
      throw expected("E_ADAPTER", this.name, `an adapter at rest to be ${what}`, "one that is being trained", "call train(false) first");
  }

  /** A digest of all its numbers, for what is kept between runs: other weights, or other places, have another. */
  async fingerprint(): Promise<string> {
    this.checkAttached();
    if (this.#fingerprint?.version === this.#version && !this.#trains) return this.#fingerprint.text;
    const version = this.#version;
    const hash = createHash("sha256").update(JSON.stringify([this.kind.name, this.#enabled, this.kind.write(this.config)]));
    for (const { keys, tensor } of [...this.stored()]) hash.update(keys.join()).update(new Uint8Array(await tensor.bytes()));
    const text = hash.digest("hex");
    this.#fingerprint = { version, text };
    return text;
  }

  /** Its files, as PEFT reads them where PEFT has the kind. Rejects after merge() or detach(). */
  async save(folder: string): Promise<void> {
    this.checkAttached();
    const { files } = this.kind;
    await onFile("to be written", folder, () => mkdir(folder, { recursive: true }));
    await saveSafetensors(join(folder, files.weights), writables(this.stored()), { format: "pt" });
    await writeWhole(join(folder, files.config), `${JSON.stringify(this.kind.write(this.config), null, 2)}\n`);
  }

  /**
   * Puts the numbers of a file that save() wrote into it, to the bit, whether it trains or not. Throws E_STATE where a weight is missing, left over, or of
   * another shape or dtype; nothing has changed then.
   */
  restore(checkpoint: WeightSource): void {
    this.restoring(checkpoint)();
  }
  /** The same, looked at now and written by the call that it returns: who restores several things looks at all of them first. */
  restoring(checkpoint: WeightSource): () => void {
    this.checkAttached();
    const writes = overwriting(checkpoint, [...this.stored()]);
    return () => {
      for (const write of writes) write();
      this.kind.moved?.(this);
      ++this.#version;
    };
  }

  /**
   * Adds it into the weights and takes it off. A quantised weight is quantised anew, which moves it a little. Layer by layer, so that one of them at a time
   * is held in full precision; when one cannot be made, the model computes what it did, and merge() goes on from there. Throws E_ADAPTER where it adds up to
   * no weight, or would change what another adapter below it does.
   */
  merge(): void {
    this.checkAttached();
    this.#checkClosed("merged");
    if (!this.#enabled)
      throw expected(
        "E_ADAPTER",
        this.name,
        "an adapter that takes part to be merged",
        "one that is switched off",
        "set enabled = true first",
      );
    if (this.lead || this.shared)
      throw expected(
        "E_ADAPTER",
        this.name,
        "an adapter that adds up to weights to be merged",
        `one of ${this.kind.name}`,
        "keep it: save() writes it",
      );
    for (const [path, wrap] of this.#wraps) {
      checkFolds(wrap, path);
      this.#checkAbove(path, wrap);
    }
    const exchange = exchangeOf(this.model);
    exchange.checkLowest(this.#overlays);
    for (const [path, wrap] of this.#wraps) {
      foldIn(this.model, path, wrap as Foldable | Absorbed);
      this.#unwrap(path);
    }
    exchange.settle(this.#overlays);
    this.#end("merged");
  }

  /** What stands around it may go by the weight as it is. */
  #checkAbove(path: string, wrap: Wrap): void {
    const around = wrapsOn(this.model.child(path) as Module);
    const other = around.slice(0, around.indexOf(wrap)).find((one) => "measuresBase" in one);
    if (!other) return;
    throw expected(
      "E_ADAPTER",
      `merge at "${path}"`,
      "nothing around it that goes by the lengths of the weight's rows",
      `"${other.owner}", a ${other.constructor.name}`,
      `take off one of the two, or write both into a folder of their own with exportMerged()`,
    );
  }

  /** Takes it off; the model, and what else is on it, computes what it does without it, bit for bit. */
  detach(): void {
    this.checkAttached();
    this.#checkClosed("taken off");
    for (const path of [...this.#wraps.keys()]) this.#unwrap(path);
    exchangeOf(this.model).lift(this.#overlays);
    this.#end("off");
  }
  /** PEFT's word for it. */
  unload(): void {
    this.detach();
  }

  /** Puts its lead before the model's rows, or takes it away. */
  #put(on: boolean): void {
    if (this.lead && this.model instanceof CausalDecoder) this.model.lead = on ? this.lead : undefined;
  }
  #unwrap(path: string): void {
    unwrap(this.model, path, this.name).release();
    this.#wraps.delete(path);
  }
  #end(state: "merged" | "off"): void {
    this.#put(false);
    for (const tensor of this.shared?.parameters() ?? []) this.model.releaseBeside(tensor);
    this.shared?.dispose();
    this.#overlays = [];
    this.#state = state;
    ++this.#version;
    attachedTo.get(this.model)?.delete(this.name);
  }
}

/**
 * Puts an adapter on a model: all of it is made first, then put in, so that a model that it does not fit stays as it was. Without a name it has the first
 * that is free. `beside`: overlays that were read before; when it throws they are the caller's.
 */
export function attach<C extends object>(
  kind: AdapterKind<C>,
  model: Module,
  config: C,
  at: Weights,
  { name = freeName(model), beside = [] }: { name?: string | undefined; beside?: readonly Overlay[] } = {},
): Adapter<C> {
  checkOwnerName(name);
  const known = attachedTo.get(model) ?? new Map<string, Adapter>();
  if (known.has(name))
    throw expected(
      "E_ADAPTER",
      kind.name,
      "a name that no adapter of the model has",
      `"${name}"`,
      "take another, or take that one off first",
    );
  const { wraps, overlays, shared, lead } = built(() => {
    const plan = kind.plan(model, config, at, name);
    at.finish();
    if (plan.lead) checkLead(kind, model);
    return { ...plan, wraps: wrapAll(model, plan.wraps) };
  });
  // Nothing can fail any more.
  const all = [...beside, ...(overlays ?? [])];
  if (all.length) exchangeOf(model).lay(all);
  for (const tensor of shared?.parameters() ?? []) model.keepBeside(tensor);
  if (lead) (model as CausalDecoder).lead = lead;
  const on = { name, kind, model, config, wraps, overlays: all, shared, lead };
  const adapter = (kind.make?.(on) ?? new Adapter(on)) as Adapter<C>;
  attachedTo.set(model, known.set(name, adapter as unknown as Adapter));
  kind.attached?.(model, config, [...wraps.keys()]);
  return adapter;
}

/** Before rows stands one thing at a time. */
function checkLead({ name }: Pick<AdapterKind, "name">, model: Module): void {
  if (!(model instanceof CausalDecoder)) throw expected("E_ADAPTER", name, "a language model", `a ${model.constructor.name}`);
  const other = [...adaptersOn(model).values()].find(({ lead }) => lead);
  if (other || model.lead)
    throw expected(
      "E_ADAPTER",
      name,
      "a model with nothing before its rows",
      other ? `one with "${other.name}"` : "one with a lead",
      "take that off first",
    );
}

function freeName(model: Module): string {
  const taken = new Set(adaptersOn(model).keys());
  for (const module of model.modules()) for (const { owner } of wrapsOn(module)) taken.add(owner);
  let name = DEFAULT_OWNER;
  for (let n = 1; taken.has(name); ++n) name = `${DEFAULT_OWNER}_${n}`;
  return name;
}
