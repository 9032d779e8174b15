// What stands between the ids and the head of a language model: the table of embeddings, the layers, and what comes before and behind them.
import type { Device } from "../core/device.js";
import type { Tensor } from "../core/tensor.js";
import type { Embedding } from "../nn/embedding.js";
import type { KVCache } from "../nn/kv-cache.js";
import type { Layer, Plain } from "../nn/layer.js";
import { Module } from "../nn/module.js";
import { Rope, type RopeAngles } from "../nn/rope.js";
import type { Sequence } from "../nn/sequence.js";
import { tableOf } from "../nn/token-rows.js";

/** Of a family without rotary positions: places are counted alike, and nobody reads the table. */
const UNTURNED: RopeAngles = { headDim: 2, theta: 10000, scaling: { type: "default" } };

/** What the layers are given, and what each of them is told. */
export interface Begun {
  x: Tensor;
  sequence: Sequence;
}

/** A family's own. The names of its fields are those of the checkpoint. */
export abstract class DecoderBody extends Module {
  /** An Embedding, and what stands around it. */
  abstract embedTokens: Plain;
  abstract layers: Layer[];
  readonly #rope: Rope;

  constructor(device: Device, rope: RopeAngles = UNTURNED) {
    super();
    this.#rope = new Rope(device, rope);
  }

  /** Embeddings (B,T,e) → what the first layer reads, (B,T,C). A step of decoding may be recorded: nothing comes from the host in one. */
  begun(x: Tensor, sequence: Sequence, _cache: KVCache | undefined): Begun {
    return { x, sequence };
  }
  /** The last layer's (B,T,C) → what the head reads, (B,T,e). */
  abstract ended(h: Tensor): Tensor;

  /** Positions that there are learned rows for; undefined where they follow from a rule. */
  get learnedPositions(): number | undefined {
    return undefined;
  }
  /** Does the caller choose where tokens stand? */
  get takesPositions(): boolean {
    return true;
  }

  /** The table itself, behind what stands around it. */
  get embedding(): Embedding {
    return tableOf(this.embedTokens) as Embedding;
  }
  get rope(): Rope {
    return this.#rope;
  }
  /** What a field is called in the checkpoint. */
  nameOf(field: "embedTokens" | "layers"): string {
    return this.stateName(field);
  }
  override dispose(): void {
    super.dispose();
    this.#rope.dispose();
  }
}
