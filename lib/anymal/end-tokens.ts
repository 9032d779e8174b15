// After which tokens an answer is over: those of config.json, of generation_config.json (chat models end a turn with another token than a text), and
// the tokenizer's.
import { generationEnds } from "../models/llama-config.js";
import type { Tokenizer } from "../text/tokenizer.js";

export function endTokens(folder: string, own: readonly number[], tokenizer: Tokenizer): number[] {
  const ids = [...own, ...generationEnds(folder), tokenizer.eosTokenId].filter((id): id is number => id !== undefined);
  return [...new Set(ids)];
}
