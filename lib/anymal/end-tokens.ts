// After which tokens an answer is over: those of config.json, of generation_config.json (chat models end a turn with another token than a text), the
// tokenizer's, and the one that the prompt's format ends an answer with. And which tokens no answer holds.
import type { TextOptions } from "../generate/text.js";
import { generationEnds } from "../models/llama-config.js";
import type { Tokenizer } from "../text/tokenizer.js";
import type { AnyMALParts } from "./parts.js";

export function endTokens(folder: string, own: readonly number[], tokenizer: Tokenizer, end?: string): number[] {
  const ended = end === undefined ? undefined : tokenizer.specialTokens.get(end);
  const ids = [...own, ...generationEnds(folder), tokenizer.eosTokenId, ended].filter((id): id is number => id !== undefined);
  return [...new Set(ids)];
}

/**
 * Rows of the head that no token has: published tables are padded to a round size, and what stands there was never trained. And tokens that stand for
 * media, for there would be none to see, or begin an answer.
 */
export function never(
  { prompt: { written = {} }, tokenizer, llm }: Pick<AnyMALParts, "prompt" | "tokenizer" | "llm">,
  { suppressTokens = [] }: TextOptions,
): TextOptions {
  const { token, id, edge, answer } = written;
  const [tokens, rows] = [tokenizer.vocabSize, llm.config.vocabSize];
  const padded = token === undefined ? 0 : Math.max(0, rows - tokens);
  const standing = [id, edge, answer].map((one) => (one === undefined ? undefined : tokenizer.specialTokens.get(one)));
  const none = [...standing.filter((one) => one !== undefined), ...Array.from({ length: padded }, (_, i) => tokens + i)];
  return none.length ? { suppressTokens: [...suppressTokens, ...none] } : {};
}
