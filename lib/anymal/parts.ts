// What a model consists of, whichever way it came about: assembled, trained or published. A checkpoint is written of the same.
import { type Adapter, adaptersOn } from "../adapters/adapter.js";
import { exchangeOf } from "../adapters/exchange.js";
import type { Tensor } from "../core/tensor.js";
import type { OwnKinds } from "../media/kinds/index.js";
import type { Modality } from "../media/part.js";
import type { Bridge } from "../models/bridges/kind.js";
import type { CausalDecoder } from "../models/causal-decoder.js";
import type { Quantization } from "../nn/weights.js";
import type { Tokenizer } from "../text/tokenizer.js";
import type { MediaEncoder } from "./media-encoder.js";
import type { PromptFormat } from "./options.js";
import type { QuestionReader } from "./question.js";
import type { Source } from "./source.js";

/** What an adapter stands on: the language model, or the encoder of a modality. */
export type AdapterPlace = "llm" | Modality;

export interface Attached {
  /** Its own among the model's adapters, and its folder's. */
  readonly name: string;
  /** "lora", … */
  readonly kind: string;
  readonly on: AdapterPlace;
  readonly adapter: Adapter;
}

/** PEFT's name for one that was given none; its files lie in the model's own folder. */
export const DEFAULT_ADAPTER = "default";

/** Can a folder be called so, on any file system? */
export const isAdapterName = (name: string): boolean => /^[A-Za-z0-9_][\w-]{0,63}$/.test(name);

/** In a checkpoint. The default one lies in the checkpoint's own folder, where PEFT looks for it, as PEFT itself saves several. */
export const adapterFolder = (name: string): string => (name === DEFAULT_ADAPTER ? "." : `adapters/${name}`);

/** The language model's own weights, by names that last; what adapters brought is theirs. */
export function* weightsOf(llm: CausalDecoder): Generator<[string, Tensor]> {
  const others = new Set<Tensor>();
  for (const adapter of adaptersOn(llm).values()) {
    for (const [, tensor] of adapter.namedParameters()) others.add(tensor);
    for (const { tensor } of adapter.overlays) others.add(tensor);
  }
  for (const [name, tensor] of llm.namedParameters("llm")) if (!others.has(tensor)) yield [name, tensor];
}

/** Those of these names; where an adapter has put its own in the place of one, the language model's below it. */
export function namedWeightsOf(llm: CausalDecoder, names: ReadonlySet<string>): [string, Tensor][] {
  const own = [...weightsOf(llm)].filter(([name]) => names.has(name));
  const there = new Set(own.map(([name]) => name));
  const below = exchangeOf(llm);
  for (const name of names) {
    const tensor = there.has(name) ? undefined : below.original(name.replace(/^llm\./, ""));
    if (tensor) own.push([name, tensor]);
  }
  return own;
}

export interface AnyMALParts {
  /** What it was put together as; its numbers are those of training, unless told otherwise. */
  system: string;
  llm: CausalDecoder;
  tokenizer: Tokenizer;
  /** Control tokens beside those of the language model's folder, the tokenizer's among them. */
  addedTokens: readonly string[];
  encoders: ReadonlyMap<Modality, MediaEncoder>;
  projectors: ReadonlyMap<Modality, Bridge>;
  /** Of bridges that read the question: their tokenizers. */
  questions: ReadonlyMap<Modality, QuestionReader>;
  /** Of media, the user's own beside those that are here. */
  kinds: OwnKinds;
  /** Of a published folder: under which of the known sets of names its tensors are stored. */
  layout?: string | undefined;
  /** In the order in which they were put on. */
  adapters: readonly Attached[];
  llmSource: Source;
  quantization: Quantization | undefined;
  prompt: PromptFormat;
  /** Projections whose feature statistics and output scale were measured on data. */
  calibrated: Iterable<Modality>;
  /** Weights of the language model that are no longer those of its folder, by their names in weightsOf(). */
  trained: Iterable<string>;
}
