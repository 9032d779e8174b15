// After which tokens an answer is over: those of config.json, of generation_config.json (chat models end a turn with another token than a text), and
// the tokenizer's.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { readJson } from "../models/config.js";
import type { Tokenizer } from "../text/tokenizer.js";

export function endTokens(folder: string, own: readonly number[], tokenizer: Tokenizer): number[] {
  const file = join(folder, "generation_config.json");
  const more = existsSync(file) ? readJson(file).eos_token_id : undefined;
  const ids = [...own, ...[more].flat(), tokenizer.eosTokenId].filter((id): id is number => typeof id === "number");
  return [...new Set(ids)];
}
