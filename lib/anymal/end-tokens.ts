// After which tokens an answer is over: those of config.json, of generation_config.json (chat models end a turn with another token than a text), and
// the tokenizer's.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Tokenizer } from "../text/tokenizer.js";

export function endTokens(folder: string, own: readonly number[], tokenizer: Tokenizer): number[] {
  const file = join(folder, "generation_config.json");
  const more = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")).eos_token_id : undefined;
  const ids = [...own, ...[more].flat(), tokenizer.eosTokenId].filter((id): id is number => typeof id === "number");
  return [...new Set(ids)];
}
