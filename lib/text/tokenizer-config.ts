// What stands beside a tokenizer: tokenizer_config.json, special_tokens_map.json and added_tokens.json, in the parts that are used.
import { isObject, shown } from "../core/checks.js";
import type { Fail } from "./tokenizer-error.js";
import { checkAddedToken, flag, id } from "./tokenizer-schema.js";

type Json = Record<string, unknown>;

const NAMED = ["bos_token", "eos_token", "unk_token", "pad_token"];
/** All tokens may be special ones. */
const MOST_SPECIAL = 1 << 18;

export function checkTokenizerConfig(json: unknown, fail: Fail): Json {
  if (!isObject(json)) throw fail("an object", shown(json));
  for (const key of NAMED) if (json[key] !== undefined && json[key] !== null) checkToken(key, json[key], fail);
  for (const key of ["add_bos_token", "add_eos_token"]) flag(key, json[key], fail);
  const { additional_special_tokens: more, added_tokens_decoder: decoder } = json;
  if (Array.isArray(more)) {
    if (more.length > MOST_SPECIAL) fail(`additional_special_tokens of at most ${MOST_SPECIAL}`, `${more.length}`);
    for (const [at, token] of more.entries()) checkToken(`additional_special_tokens[${at}]`, token, fail);
  } else if (more !== undefined && more !== null) fail("additional_special_tokens to be a list", shown(more));
  if (decoder !== undefined && decoder !== null) {
    if (!isObject(decoder)) throw fail("added_tokens_decoder to be an object", shown(decoder));
    for (const [key, token] of Object.entries(decoder)) {
      if (!isObject(token)) throw fail(`added_tokens_decoder["${shown(key, 20)}"] to be an object`, shown(token));
      checkAddedToken(`added_tokens_decoder[${shown(key, 20)}]`, token, fail);
      id(token.content as string, Number(key), fail);
    }
  }
  return json;
}

/** A token as plain text, or as {content, lstrip, …}. */
function checkToken(at: string, token: unknown, fail: Fail): void {
  checkAddedToken(at, typeof token === "string" ? { content: token } : isObject(token) ? token : { content: token }, fail);
}

/** {token: id, …}. */
export function checkAddedIds(json: unknown, fail: Fail): Json {
  if (!isObject(json)) throw fail("an object of ids", shown(json));
  for (const [word, value] of Object.entries(json)) {
    checkAddedToken("a token", { content: word }, fail);
    id(word, value, fail);
  }
  return json;
}

/** Tokens stand as plain text or as {content, lstrip, ...}. */
export function tokenText(token: unknown): string | undefined {
  if (typeof token === "string") return token;
  return (token as { content?: string } | null | undefined)?.content;
}
