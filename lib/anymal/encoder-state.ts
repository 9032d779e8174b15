// What an encoder is beside its folder: adapters that stand on it, weights that were trained or that a merge rewrote. Features that were kept of one
// state are no features of another.
import { createHash, type Hash } from "node:crypto";
import { type Adapter, adaptersOn } from "../adapters/adapter.js";
import type { Tensor } from "../core/tensor.js";
import type { Encoder } from "../models/encoder.js";
import { Wrap } from "../nn/layer.js";
import type { Module } from "../nn/module.js";

export class EncoderState {
  static readonly #all = new WeakMap<Encoder, EncoderState>();
  /** Tensors as they are in the folder, or as #changed says. */
  #known: WeakSet<Tensor>;
  /** The content of the bare weights, where it is no longer the folder's. */
  #changed = "";
  #dirty = false;

  /** Modalities may share an encoder: one state for both. */
  static of(encoder: Encoder): EncoderState {
    const state = EncoderState.#all.get(encoder) ?? new EncoderState(encoder);
    EncoderState.#all.set(encoder, state);
    return state;
  }

  private constructor(private readonly encoder: Encoder) {
    this.#known = new WeakSet(bare(encoder).map(([, tensor]) => tensor));
  }

  /** A step is made that changes what is open. */
  trained(): void {
    this.#dirty ||= bare(this.encoder).some(([, tensor]) => tensor.requiresGrad);
  }

  /** Empty for an encoder as its folder has it; else equal for equal weights and adapters, which are read each time: whoever trained them need not tell. */
  async fingerprint(): Promise<string> {
    const weights = bare(this.encoder);
    if (this.#dirty || weights.some(([, tensor]) => !this.#known.has(tensor))) {
      this.#changed = await hashOf((hash) => addTensors(hash, weights));
      this.#known = new WeakSet(weights.map(([, tensor]) => tensor));
      this.#dirty = false;
    }
    const adapters = [...adaptersOn(this.encoder).values()].filter(({ enabled }) => enabled);
    const others = wrapsOf(this.encoder).filter(([, wrap]) => wrap.enabled && !adaptersOn(this.encoder).has(wrap.owner));
    const around = adapters.length + others.length ? await hashOf((hash) => addAround(hash, adapters, others)) : "";
    return [this.#changed, around].filter(Boolean).join("+");
  }
}

const wrapsOf = (encoder: Encoder): [string, Wrap][] =>
  [...encoder.namedModules()].filter((one): one is [string, Wrap] => one[1] instanceof Wrap);

/** All that is no adapter's own. */
function bare(encoder: Encoder): [string, Tensor][] {
  const own = new Set(wrapsOf(encoder).flatMap(([, wrap]) => Array.from(wrap.own(), ([, tensor]) => tensor)));
  for (const { overlays } of adaptersOn(encoder).values()) for (const { tensor } of overlays) own.add(tensor);
  return [...encoder.namedParameters()].filter(([, tensor]) => !own.has(tensor));
}

async function addAround(hash: Hash, adapters: readonly Adapter[], others: readonly (readonly [string, Wrap])[]): Promise<void> {
  for (const { kind, config, overlays, ...adapter } of adapters.map(described)) {
    hash.update(`${kind.name}\0${JSON.stringify(kind.write(config))}\n`);
    await addTensors(hash, [...adapter.parameters, ...overlays.map(({ keys, tensor }) => [String(keys), tensor] as const)]);
  }
  for (const [path, wrap] of others) {
    // What it computes with beside tensors stands in public fields: scaling, a kind of activation.
    hash.update(`${path}\0${wrap.constructor.name}\0${[wrap, ...wrap.ownModules()].map(settings).join("\0")}\n`);
    await addTensors(hash, [...wrap.own()]);
  }
}
const described = (adapter: Adapter) => ({
  kind: adapter.kind,
  config: adapter.config,
  overlays: adapter.overlays,
  parameters: [...adapter.namedParameters()],
});

/** `owner` is a name, and what is dropped in training is there in inference. */
const NOTHING_OF_INFERENCE = new Set(["training", "owner", "dropout"]);

const settings = (module: Module): string =>
  JSON.stringify(Object.entries(module).filter(([key, value]) => !NOTHING_OF_INFERENCE.has(key) && typeof value !== "object"));

async function hashOf(add: (hash: Hash) => Promise<void>): Promise<string> {
  const hash = createHash("sha256");
  await add(hash);
  return hash.digest("hex").slice(0, 32);
}

async function addTensors(hash: Hash, tensors: Iterable<readonly [string, Tensor]>): Promise<void> {
  for (const [name, tensor] of tensors) {
    hash.update(`${name}\0${tensor.dtype}\0${tensor.shape}\n`);
    hash.update(new Uint8Array(await tensor.bytes()));
  }
}
