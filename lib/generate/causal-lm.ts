// What generation asks of a language model. The models stand above this layer and have a `generate` of their own.
import type { Device } from "../core/device.js";
import type { Tensor } from "../core/tensor.js";
import type { CacheType } from "../nn/key-values.js";
import type { KVCache } from "../nn/kv-cache.js";
import type { Ids, MediaBeside } from "../nn/sequence.js";
import type { QuantizedOperand } from "../ops/linear-quantized.js";

/** What the model has before it writes: rows of equal length, padded where attentionMask is 0. */
export interface Prompt {
  inputIds?: Ids;
  /** (B,T,C) in place of ids: text and media rows spliced. */
  inputsEmbeds?: Tensor;
  attentionMask?: readonly ArrayLike<number>[];
  /** Of a prompt of one row that continues a conversation: what stands at each position, compared by identity. Default: the ids. */
  positions?: readonly unknown[];
  /** Media that do not stand between the tokens. */
  beside?: MediaBeside | undefined;
  /** Which rows have media: for what an adapter puts before them. */
  media?: readonly boolean[] | undefined;
}

export interface CausalLM {
  readonly device: Device;
  readonly config: {
    readonly maxPositions: number;
    readonly vocabSize: number;
    readonly eosTokenIds: readonly number[];
    readonly ropeScaling?: { readonly type: string };
  };
  /** What stands before every row, and takes of the context. */
  readonly lead?: { readonly length: number; readonly steers?: boolean | undefined } | undefined;
  /** The head in 8 bit, the caller's to dispose; undefined where its rows are not a frozen table. */
  headInEightBit?(): (QuantizedOperand & { dispose(): void }) | undefined;
  createCache(batch: number, length: number, type?: CacheType): KVCache;
  forward(prompt: Prompt, options: { cache: KVCache; logits: "all" | "last" }): { logits?: Tensor };
}
