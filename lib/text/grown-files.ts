// The files of a tokenizer to which tokens were added, as transformers writes and reads them.
import { isObject } from "../core/checks.js";
import { parseShallow } from "../core/json.js";

type Json = Record<string, unknown>;

const FLAGS = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };

/** What of a tokenizer's folder says which tokens there are; other files stay as they are. */
export const GROWING_FILES = ["tokenizer.json", "tokenizer_config.json", "added_tokens.json"] as const;

/**
 * The texts of these files with the tokens in them. `texts`: of those of GROWING_FILES that the folder has. A folder with a tokenizer.model alone gets a
 * tokenizer_config.json.
 */
export function grownFiles(texts: ReadonlyMap<string, string>, tokens: ReadonlyMap<string, number>): Map<string, string> {
  const grown = new Map<string, string>();
  if (!tokens.size) return new Map(texts);
  const json = (name: string): Json => {
    const parsed = parseShallow(texts.get(name) ?? "{}");
    return isObject(parsed) ? parsed : {};
  };
  if (texts.has("tokenizer.json")) {
    const whole = json("tokenizer.json");
    const own = Array.isArray(whole.added_tokens) ? whole.added_tokens : [];
    const more = Array.from(tokens, ([content, id]) => ({ id, content, ...FLAGS }));
    grown.set("tokenizer.json", written({ ...whole, added_tokens: [...own, ...more] }));
  }
  const config = json("tokenizer_config.json");
  const decoder = { ...(isObject(config.added_tokens_decoder) ? config.added_tokens_decoder : {}) };
  for (const [content, id] of tokens) decoder[id] = { content, ...FLAGS };
  grown.set("tokenizer_config.json", written({ ...config, added_tokens_decoder: decoder }));
  if (texts.has("added_tokens.json"))
    grown.set("added_tokens.json", written({ ...json("added_tokens.json"), ...Object.fromEntries(tokens) }));
  return grown;
}

const written = (json: Json): string => `${JSON.stringify(json, null, 2)}\n`;
