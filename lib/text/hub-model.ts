// @huggingface/tokenizers made in pieces: its constructor fills the tables of a byte-pair model, 128 000 words and as many merges, in one go of half
// a second. Here it makes one with empty tables, which are then filled as it would have filled them.
import { Tokenizer as HubTokenizer } from "@huggingface/tokenizers";
import type { Pieces } from "../core/turns.js";
import { keysOf } from "../io/json-pieces.js";

type Json = Record<string, unknown>;
type Pair = readonly [string, string];

const PIECE = 1024;

/** The fields of the package's byte-pair model that depend on words and merges. */
interface Tables {
  tokens_to_ids: Map<string, number>;
  vocab: string[];
  unk_token: string | undefined;
  unk_token_id: number | undefined;
  merges: readonly Pair[];
  bpe_ranks: Map<string, number>;
}

/** As `new HubTokenizer(json, config)`, but that it finds no added tokens. */
export function* hubTokenizer(json: Json, config: Json): Pieces<HubTokenizer> {
  const model = json.model as Json | undefined;
  const isBpe = model?.type === "BPE" && isObject(model.vocab) && Array.isArray(model.merges);
  const hub = made({ ...json, ...(isBpe && { model: { ...model, vocab: {}, merges: [] } }) }, config);
  yield;
  const tables = hub.model as unknown as Tables;
  if (isBpe) {
    const { vocab, merges } = model;
    // Of a package that keeps its tables elsewhere: it makes them itself.
    if (!(tables?.tokens_to_ids instanceof Map && tables.bpe_ranks instanceof Map && Array.isArray(tables.vocab)))
      return new HubTokenizer(json, config);
    yield* fill(tables, vocab as Record<string, number>, merges as (Pair | string)[]);
  }
  for (const { id, content } of json.added_tokens as { id: number; content: string }[]) {
    tables.tokens_to_ids.set(content, id);
    tables.vocab[id] = content;
  }
  return hub;
}

/** Without the added tokens, which are found elsewhere (added-tokens.ts): of many of them, or long ones, the package makes trees of gigabytes. */
const made = (json: Json, config: Json): HubTokenizer =>
  new HubTokenizer({ ...json, added_tokens: [] }, { ...config, additional_special_tokens: [] });

function* fill(tables: Tables, vocab: Readonly<Record<string, number>>, merges: readonly (Pair | string)[]): Pieces<void> {
  const ids = new Map<string, number>();
  const all = keysOf(vocab);
  const words = new Array<string>(all.length);
  for (const word of all) {
    const id = vocab[word] as number;
    ids.set(word, id);
    words[id] = word;
    if (ids.size % PIECE === 0) yield;
  }
  const apart = !Array.isArray(merges[0]);
  const pairs: Pair[] = [];
  const ranks = new Map<string, number>();
  for (const merge of merges) {
    const pair = apart ? ((merge as string).split(" ", 2) as unknown as Pair) : (merge as Pair);
    ranks.set(JSON.stringify(pair), pairs.push(pair) - 1);
    if (pairs.length % PIECE === 0) yield;
  }
  const filled = { tokens_to_ids: ids, vocab: words, unk_token_id: ids.get(tables.unk_token as string), merges: pairs, bpe_ranks: ranks };
  Object.assign(tables, filled satisfies Partial<Tables>);
}

/** Different tokens, as the package's vocabulary counts them: an id that no token has is one of them. */
export function* sizeOf(hub: HubTokenizer): Pieces<number> {
  const words = new Set<string>();
  const { vocab } = hub.model as unknown as Tables;
  for (let id = 0; id < vocab.length; ++id) {
    words.add(vocab[id] as string);
    if (id % PIECE === 0) yield;
  }
  return words.size;
}

const isObject = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value);
