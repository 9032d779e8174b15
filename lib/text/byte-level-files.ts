// A byte-level BPE as GPT-2's first folders have it, vocab.json and merges.txt, in the words of tokenizer.json: what transformers' GPT2Tokenizer makes of them.
// OPT's folders are of this kind, and put </s> in front.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { isObject, shown } from "../core/checks.js";
import { readPlain } from "../core/plain-file.js";
import { inTurns, type Pieces } from "../core/turns.js";
import { readJsonInTurns } from "../io/json-pieces.js";
import { tokenText } from "./tokenizer-config.js";
import { TokenizerError } from "./tokenizer-error.js";

type Json = Record<string, unknown>;

const VOCABULARY = "vocab.json";
const MERGES = "merges.txt";
const AT_ONCE = 1024;

export const hasByteLevelFiles = (folder: string): boolean => [VOCABULARY, MERGES].every((name) => existsSync(join(folder, name)));

/** `config`: of tokenizer_config.json. Rejects with E_TOKENIZER where a file is of another kind. */
export async function byteLevelFiles(
  folder: string,
  config: Json,
  reading: { signal?: AbortSignal | undefined; most: number },
): Promise<Json> {
  const file = join(folder, VOCABULARY);
  const vocab = await readJsonInTurns(file, reading);
  if (!isObject(vocab)) throw new TokenizerError(`expected ${file} to hold an object of ids, got ${shown(vocab)}; fetch it again`);
  const text = (await readPlain(join(folder, MERGES), { most: reading.most, linksInside: true })).toString("utf8");
  const merges = await inTurns(mergesOf(text, join(folder, MERGES)), { signal: reading.signal });
  const named = ["bos_token", "eos_token", "unk_token", "pad_token"].map((key) => config[key]);
  const special = new Set(
    [...named, ...(Array.isArray(config.additional_special_tokens) ? config.additional_special_tokens : [])].map(tokenText),
  );
  const added = [...special].flatMap((content) => {
    const id = content === undefined || !Object.hasOwn(vocab, content) ? undefined : vocab[content];
    return id === undefined ? [] : [{ id, content, special: true, single_word: false, lstrip: false, rstrip: false, normalized: false }];
  });
  const bytes = { type: "ByteLevel", add_prefix_space: config.add_prefix_space === true, trim_offsets: true, use_regex: true };
  const plain = { continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false, byte_fallback: false, ignore_merges: false };
  return {
    ...{ version: "1.0", truncation: null, padding: null, added_tokens: added, normalizer: null, pre_tokenizer: bytes },
    ...{ post_processor: around(vocab, config), decoder: { ...bytes, add_prefix_space: false } },
    model: { type: "BPE", dropout: null, unk_token: null, ...plain, vocab, merges },
  };
}

/** Lines of two tokens, under a line that says the version. */
function* mergesOf(text: string, file: string): Pieces<[string, string][]> {
  const merges: [string, string][] = [];
  for (const [at, line] of text.split("\n").entries()) {
    if (at % AT_ONCE === 0) yield;
    const pair = line.replace(/\r$/, "");
    if (!pair || (at === 0 && pair.startsWith("#version"))) continue;
    const space = pair.indexOf(" ", 1);
    if (space < 0)
      throw new TokenizerError(
        `expected two tokens in line ${at + 1} of ${file}, got ${JSON.stringify(pair.slice(0, 40))}; fetch it again`,
      );
    merges.push([pair.slice(0, space), pair.slice(space + 1)]);
  }
  return merges;
}

/** What stands around a text: GPT-2 has nothing there unless the configuration says so. */
function around(vocab: Json, { add_bos_token, add_eos_token, bos_token, eos_token }: Json): Json | null {
  const wanted = [add_bos_token === true ? tokenText(bos_token) : undefined, add_eos_token === true ? tokenText(eos_token) : undefined];
  const [bos, eos] = wanted.map((token) => (token !== undefined && Object.hasOwn(vocab, token) ? token : undefined));
  if (bos === undefined && eos === undefined) return null;
  const token = (id: string | undefined, type_id: number) => (id === undefined ? [] : [{ SpecialToken: { id, type_id } }]);
  const part = (id: "A" | "B", type_id: number) => [...token(bos, type_id), { Sequence: { id, type_id } }, ...token(eos, type_id)];
  const named = [...new Set([bos, eos])].filter((id) => id !== undefined);
  return {
    type: "TemplateProcessing",
    single: part("A", 0),
    pair: [...part("A", 0), ...part("B", 1)],
    special_tokens: Object.fromEntries(named.map((id) => [id, { id, ids: [vocab[id]], tokens: [id] }])),
  };
}
