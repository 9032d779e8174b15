// What a conversation has been read of: the next turn begins with it, and only what is new goes through the model.
import type { CacheType } from "../nn/key-values.js";
import type { KVCache } from "../nn/kv-cache.js";
import { wrapChanges } from "../nn/layer.js";
import type { CausalLM } from "./causal-lm.js";
import { GenerationError } from "./logits.js";

/** A position that sees media beside: what stands there, and what it sees. With other media it has other keys, from the first layer that looks on. */
export class Seeing {
  constructor(
    readonly what: unknown,
    readonly media: readonly unknown[],
  ) {}
}

function same(a: unknown, b: unknown): boolean {
  if (!(a instanceof Seeing && b instanceof Seeing)) return a === b;
  return a.what === b.what && a.media.length === b.media.length && a.media.every((one, i) => one === b.media[i]);
}

/**
 * The keys and values of one row, and what stands at each of its positions. Positions are compared by identity: a token's id, or for a row of media
 * the features that it is of. Where an adapter was put on, taken off or switched meanwhile, all is read again; weights that are trained meanwhile are not
 * noticed. Holds memory on the model's device until it is disposed.
 */
export class PrefixCache {
  #llm: CausalLM | undefined;
  #cache: KVCache | undefined;
  #lead: CausalLM["lead"];
  #changes = 0;
  #type: CacheType | undefined;
  #activations: string | undefined;
  #positions: readonly unknown[] = [];
  #taken = false;

  /** Positions that need not be read again. */
  get length(): number {
    return this.#positions.length;
  }

  /**
   * A cache with room for `room` positions, filled with as much of the beginning of `positions` as was read before. At least the last position is
   * left to read: its output is what comes next. `beside`: do media stand beside what is to be read? `type`: what keys and values are kept as; `activations`: how they
   * are computed. Throws E_GENERATION until keep() has said what became of it.
   */
  take(
    llm: CausalLM,
    positions: readonly unknown[],
    room: number,
    { beside = false, type, activations }: { beside?: boolean; type?: CacheType | undefined; activations?: string | undefined } = {},
  ): KVCache {
    if (this.#taken) throw new GenerationError("past", "one answer at a time", "one that is still being written");
    // RoPE that follows the length turns keys otherwise than a shorter sequence did: nothing of them can stay.
    const changes = wrapChanges();
    const computed = type !== this.#type || activations !== this.#activations;
    const other = llm !== this.#llm || llm.lead !== this.#lead || changes !== this.#changes || computed;
    if (other || llm.lead?.steers || llm.config.ropeScaling?.type === "dynamic") this.dispose();
    [this.#llm, this.#lead, this.#changes] = [llm, llm.lead, changes];
    [this.#type, this.#activations] = [type, activations];
    const held = this.#positions;
    let count = 0;
    while (count < held.length && count < positions.length - 1 && same(held[count], positions[count])) ++count;
    this.#positions = positions.slice(0, count);
    this.#cache ??= llm.createCache(1, room, type);
    this.#cache.truncate(count);
    if (!beside) this.#cache.forget();
    if (this.#cache.length < room) {
      const old = this.#cache;
      this.#cache = old.grown(Math.min(llm.config.maxPositions, Math.max(room, 2 * old.length)));
      old.dispose();
    }
    this.#taken = true;
    return this.#cache;
  }

  /** `positions` is what `taken` was filled with, and what it held before; undefined: nobody knows. */
  keep(taken: KVCache, positions: readonly unknown[] | undefined): void {
    if (taken !== this.#cache) return; // disposed meanwhile
    this.#taken = false;
    if (positions) this.#positions = positions.slice(0, taken.held);
    else this.dispose();
  }

  /** Forgets everything and gives the memory back. It may be used again; of an answer that is still being written it keeps nothing. */
  dispose(): void {
    this.#cache?.dispose();
    this.#cache = undefined;
    this.#positions = [];
    this.#taken = false;
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}
