// After which tokens an answer is over: those of config.json, of generation_config.json (chat models end a turn with another token than a text), and
// the tokenizer's.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expected } from "../core/errors.js";
import { onFileSync } from "../core/file-error.js";
import type { Tokenizer } from "../text/tokenizer.js";

export function endTokens(folder: string, own: readonly number[], tokenizer: Tokenizer): number[] {
  const file = join(folder, "generation_config.json");
  const more = existsSync(file) ? eosOf(file) : undefined;
  const ids = [...own, ...[more].flat(), tokenizer.eosTokenId].filter((id): id is number => typeof id === "number");
  return [...new Set(ids)];
}

function eosOf(file: string): unknown {
  const text = onFileSync("to be read", file, () => readFileSync(file, "utf8"));
  try {
    return JSON.parse(text)?.eos_token_id;
  } catch (cause) {
    throw expected("E_CONFIG", file, "JSON", (cause as Error).message.slice(0, 80), "fetch the file again");
  }
}
