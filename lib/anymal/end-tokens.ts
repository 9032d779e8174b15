// After which tokens an answer is over: those of config.json, of generation_config.json (chat models end a turn with another token than a text), the
// tokenizer's, and the one that the prompt's format ends an answer with.
import { generationEnds } from "../models/llama-config.js";
import type { Tokenizer } from "../text/tokenizer.js";

export function endTokens(folder: string, own: readonly number[], tokenizer: Tokenizer, end?: string): number[] {
  const ended = end === undefined ? undefined : tokenizer.specialTokens.get(end);
  const ids = [...own, ...generationEnds(folder), tokenizer.eosTokenId, ended].filter((id): id is number => id !== undefined);
  return [...new Set(ids)];
}
