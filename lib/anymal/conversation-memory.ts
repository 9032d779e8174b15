// What a conversation need not do again on every turn.
import { PrefixCache } from "../generate/prefix-cache.js";
import type { MediaPart } from "../media/part.js";
import type { Features } from "./media-encoder.js";

/** With the key of the encoder that made them: what was put on it or trained since makes others. */
export type KeptFeatures = WeakMap<MediaPart, { key: string; features: Features }>;

/**
 * Passed as `memory` from turn to turn, it keeps what the encoders made of the media so far, and what the language model read of the conversation:
 * a turn then costs what is new in it. Media are known by their objects: pass the same turns again, with new ones behind them. A file that changes
 * meanwhile is not read anew. Adapters that are put on an encoder, switched or trained in between are noticed; training of the language model is not. Holds memory on the device until it is disposed.
 *
 * ```ts
 * using memory = new ConversationMemory();
 * for await (const piece of model.generate(turns, { memory })) process.stdout.write(piece);
 * ```
 */
export class ConversationMemory {
  #owner: object | undefined;
  #features: KeptFeatures = new WeakMap();
  /** @internal */
  readonly prefix = new PrefixCache();

  /** @internal What `owner`'s encoders made of media. Another model begins anew. */
  featuresOf(owner: object): KeptFeatures {
    if (this.#owner !== owner) {
      this.#owner = owner;
      this.#features = new WeakMap();
      this.prefix.dispose();
    }
    return this.#features;
  }

  /** Forgets everything and gives its memory back. It may be used again. */
  dispose(): void {
    this.#owner = undefined;
    this.#features = new WeakMap();
    this.prefix.dispose();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}
