// What can be asked of generation, and what other libraries call it.
import { checkOptions } from "../core/options.js";
import { GenerationError } from "./logits.js";
import type { PrefixCache } from "./prefix-cache.js";
import { SAMPLER_KEYS, type SamplerOptions } from "./sampler.js";

export interface GenerationOptions extends SamplerOptions {
  /** Default 256. */
  maxNewTokens?: number | undefined;
  /** A row ends after one of these. Default: the model's own. */
  eosTokenId?: number | readonly number[] | undefined;
  /** Told of every step's tokens as generateTokens yields them, the ending ones too. */
  onTokens?: ((tokens: readonly (number | undefined)[]) => void) | undefined;
  signal?: AbortSignal | undefined;
  /** Of a conversation, one row: what of the prompt was read before with the same cache is not read again. */
  past?: PrefixCache | undefined;
  /**
   * What keys and values are kept as. Default: the model's dtype. "int8": codes with one scale for each position and head, half of bf16's memory and
   * traffic, for logits that drift by a hundredth of what they vary by (llama.cpp's --cache-type-k q8_0).
   */
  kvCache?: "bf16" | "int8" | undefined;
  /**
   * "int8": layers with quantised weights round what they read to 8 bit, 64 numbers to one scale, and multiply integers, as llama.cpp does, for every
   * token that is written; the head is read in 8 bit then, from a copy that lasts as long as the answer takes (a byte for each of its weights). The prompt is
   * read exactly. Faster for a few rows, for logits that drift by some hundredths of what they vary by. The CPU's alone. Default: exact.
   */
  activations?: "int8" | undefined;
  /**
   * Beam search instead of one token after the other: so many beginnings are followed, and the most probable whole answers win, as transformers defines it.
   * Not with anything that draws. Default 1: none.
   */
  numBeams?: number | undefined;
  /** Of beams: an answer's score is its log-probability divided by its length to this power. Above 0 longer ones gain. Default 1. */
  lengthPenalty?: number | undefined;
  /**
   * Of beams, when a search ends. true: as soon as there are numBeams whole answers. false: when by its present length no beam is better than the worst
   * of those. "never": when none can become better, however long. Default false.
   */
  earlyStopping?: boolean | "never" | undefined;
  /** Answers to each row of the prompt: the best ones of its beams, or so many draws. They stand one behind the other. Default 1. */
  numReturnSequences?: number | undefined;
}

/** Every key of GenerationOptions. */
export const GENERATION_KEYS: readonly string[] = [
  ...SAMPLER_KEYS,
  "maxNewTokens",
  "eosTokenId",
  "onTokens",
  "signal",
  "past",
  "kvCache",
  "activations",
  "numBeams",
  "lengthPenalty",
  "earlyStopping",
  "numReturnSequences",
];

/** What other libraries call an option, or have and this one does not. */
const OTHERS: Readonly<Record<string, string>> = {
  maxLength: "maxNewTokens counts what is written, without the prompt",
  maxTokens: 'did you mean "maxNewTokens"?',
  minLength: "minNewTokens counts what is written, without the prompt",
  doSample: "an answer is drawn where temperature, topK, topP or minP is given, and greedy otherwise",
  numBeamGroups: "groups of beams are not supported: take numBeams",
  diversityPenalty: "groups of beams are not supported: take numBeams",
  beamSize: 'did you mean "numBeams"?',
  bestOf: 'did you mean "numReturnSequences"?',
  typicalP: "take topP or minP",
  badWordsIds: "suppressTokens takes single tokens",
  frequencyPenalty: "take repetitionPenalty",
  presencePenalty: "take repetitionPenalty",
  stop: "here are ids and no text: eosTokenId ends a row",
  stopStrings: 'did you mean "stop"?',
  padTokenId: "rows are padded by attentionMask",
  abortSignal: 'did you mean "signal"?',
  cacheImplementation: 'did you mean kvCache: "int8"?',
  cacheTypeK: 'did you mean kvCache: "int8"?',
  activationType: 'did you mean activations: "int8"?',
};

/** Throws E_GENERATION on an option that is not known, with the one that was probably meant. */
export function checkGeneration(options: object | undefined, known: readonly string[] = GENERATION_KEYS): void {
  const fail = (key: string, next: string) => new GenerationError("options", "known ones", `"${key}"`, next);
  checkOptions("generate", options, known, { others: OTHERS, fail });
}
