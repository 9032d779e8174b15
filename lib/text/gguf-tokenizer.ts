// The tokenizer inside of a GGUF file: its keys turned into what the two engines read, sentencepiece's pieces ("llama") or a byte-level BPE in
// the words of tokenizer.json ("gpt2").
import { shown } from "../core/checks.js";
import type { Pieces } from "../core/turns.js";
import { GgufError, GgufFile, type GgufValue } from "../io/gguf.js";
import { noteKeys, setKey } from "../io/json-pieces.js";
import { GPT2, LLAMA3, QWEN2 } from "./published-splits.js";
import { type Piece, PieceType, SentencePiece } from "./sentencepiece.js";

type Json = Record<string, unknown>;

export interface GgufTokenizer {
  /** One of the two. */
  pieces: SentencePiece | undefined;
  tokenizerJson: Json | undefined;
  /** In the words of tokenizer_config.json. */
  config: Json;
  chatTemplate: string | undefined;
}

/** How a text is split before pairs are merged: `tokenizer.ggml.pre`, as llama.cpp's src/llama-vocab.cpp and the models' own tokenizer.json have it. */
interface Pre {
  splits: readonly string[];
  /** A word that is a token is that token. */
  ignoreMerges?: boolean;
  nfc?: boolean;
  addBos?: boolean;
}
const llama3: Pre = { splits: [LLAMA3], ignoreMerges: true, addBos: true };
const qwen2: Pre = { splits: [QWEN2], nfc: true };
const PRE: Readonly<Record<string, Pre>> = {
  "llama-bpe": llama3,
  llama3,
  "llama-v3": llama3,
  qwen2,
  "deepseek-r1-qwen": qwen2,
  smollm: { splits: [String.raw`\p{N}`, GPT2] },
  "gpt-2": { splits: [GPT2] },
  default: { splits: [String.raw`[\p{P}\$\+<=>\^~\|]+`, GPT2, String.raw`\p{N}+`, "[0-9][0-9][0-9]"] },
};

/** Throws E_FILE, E_GGUF, or E_TOKENIZER for pieces that make no tokenizer. */
export function* ggufTokenizer(path: string): Pieces<GgufTokenizer> {
  using file = yield* GgufFile.inPieces(path);
  const keys = new Keys(file);
  const kind = keys.text("model");
  if (kind !== "llama" && kind !== "gpt2")
    throw new GgufError(path, 'tokenizer.ggml.model "llama" or "gpt2"', kind === undefined ? "none" : shown(kind), ELSEWHERE);
  const tokens = keys.words("tokens");
  const types = keys.numbers("token_type", tokens.length) ?? new Array<number>(tokens.length).fill(PieceType.Normal);
  const spm = kind === "llama";
  const pre = spm ? undefined : preOf(file, keys);
  const id = (name: string, fallback?: number) => keys.id(name, tokens.length, spm ? fallback : undefined);
  const [bos, eos, unk, pad] = [id("bos", 1), id("eos", 2), id("unknown", 0), id("padding")];
  const text = (at: number | undefined) => (at === undefined ? undefined : tokens[at]);
  const config: Json = {
    bos_token: text(bos),
    eos_token: text(eos),
    pad_token: text(pad),
    ...(spm && { unk_token: text(unk) }),
    add_bos_token: keys.flag("add_bos_token", spm || (pre?.addBos ?? false)),
    add_eos_token: keys.flag("add_eos_token", false),
  };
  const chatTemplate = file.values.get("tokenizer.chat_template");
  return {
    pieces: spm ? pieces(keys, tokens, types, { bos, eos, unk }) : undefined,
    tokenizerJson: pre && (yield* byteLevel(file, keys, tokens, types, pre, config)),
    config,
    chatTemplate: typeof chatTemplate === "string" ? chatTemplate : undefined,
  };
}

const ELSEWHERE = "take the tokenizer from the model's Hugging Face folder instead";

const AT_ONCE = 1024;

function preOf(file: GgufFile, keys: Keys): Pre {
  const name = keys.text("pre") ?? "default";
  const pre = Object.hasOwn(PRE, name) ? PRE[name] : undefined;
  if (!pre) throw new GgufError(file.path, `tokenizer.ggml.pre to be one of ${Object.keys(PRE).join(", ")}`, shown(name), ELSEWHERE);
  return pre;
}

function pieces(
  keys: Keys,
  tokens: readonly string[],
  types: ArrayLike<number>,
  { bos, eos, unk }: Record<"bos" | "eos" | "unk", number | undefined>,
): SentencePiece {
  const scores = keys.numbers("scores", tokens.length) ?? new Array<number>(tokens.length).fill(0);
  const all = tokens.map((text, at): Piece => {
    const plain = types[at] === PieceType.Normal;
    const type =
      plain && at === unk ? PieceType.Unknown : plain && (at === bos || at === eos) ? PieceType.Control : (types[at] as PieceType);
    return { text, score: scores[at] as number, type: isByte(text) || type !== PieceType.Byte ? type : PieceType.Unused };
  });
  return new SentencePiece({
    pieces: all,
    byteFallback: all.some(({ type }) => type === PieceType.Byte),
    dummyPrefix: keys.flag("add_space_prefix", true),
    collapseSpaces: keys.flag("remove_extra_whitespaces", false),
  });
}
const isByte = (text: string): boolean => /^<0x[0-9A-Fa-f]{2}>$/.test(text);

function* byteLevel(file: GgufFile, keys: Keys, tokens: readonly string[], types: ArrayLike<number>, pre: Pre, config: Json): Pieces<Json> {
  const merges: [string, string][] = [];
  for (const merge of keys.words("merges")) {
    const space = merge.indexOf(" ", 1);
    if (space < 0) throw new GgufError(file.path, "merges of two tokens with a space between", JSON.stringify(merge.slice(0, 40)));
    if (merges.push([merge.slice(0, space), merge.slice(space + 1)]) % AT_ONCE === 0) yield;
  }
  const vocab: Record<string, number> = {};
  const words: string[] = [];
  const added: Json[] = [];
  for (const [id, content] of tokens.entries()) {
    if (id % AT_ONCE === 0) yield;
    const special = types[id] === PieceType.Control || types[id] === PieceType.Unknown;
    if (!special && types[id] !== PieceType.UserDefined) {
      setKey(vocab, content, id);
      words.push(content);
    } else if (content) added.push({ id, content, special, single_word: false, lstrip: false, rstrip: false, normalized: false });
  }
  noteKeys(vocab, words);
  const split = (regex: string) => ({ type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: false });
  const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: added,
    normalizer: pre.nfc ? { type: "NFC" } : null,
    pre_tokenizer: { type: "Sequence", pretokenizers: [...pre.splits.map(split), bytes] },
    post_processor: around(tokens, config),
    decoder: bytes,
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: pre.ignoreMerges ?? false,
      vocab,
      merges,
    },
  };
}

/** What stands around a text. */
function around(tokens: readonly string[], { add_bos_token, add_eos_token, bos_token, eos_token }: Json): Json {
  const [bos, eos] = [add_bos_token ? bos_token : undefined, add_eos_token ? eos_token : undefined] as [string?, string?];
  const token = (id: string | undefined, type_id: number) => (id === undefined ? [] : [{ SpecialToken: { id, type_id } }]);
  const part = (id: "A" | "B", type_id: number) => [...token(bos, type_id), { Sequence: { id, type_id } }, ...token(eos, type_id)];
  const named = [bos, eos].filter((id) => id !== undefined);
  return {
    type: "TemplateProcessing",
    single: part("A", 0),
    pair: [...part("A", 0), ...part("B", 1)],
    special_tokens: Object.fromEntries(named.map((id) => [id, { id, ids: [tokens.indexOf(id)], tokens: [id] }])),
  };
}

/** tokenizer.ggml.*, of the kinds that they ought to be. */
class Keys {
  constructor(private readonly file: GgufFile) {}

  #wrong(name: string, expected: string, got: GgufValue | undefined): GgufError {
    const kind = got === undefined ? "none" : typeof got === "object" ? `an array of ${got.length}` : String(got).slice(0, 40);
    return new GgufError(this.file.path, `tokenizer.ggml.${name} to be ${expected}`, kind, ELSEWHERE);
  }
  #value(name: string): GgufValue | undefined {
    return this.file.values.get(`tokenizer.ggml.${name}`);
  }
  text(name: string): string | undefined {
    const value = this.#value(name);
    if (value === undefined || typeof value === "string") return value;
    throw this.#wrong(name, "a name", value);
  }
  flag(name: string, fallback: boolean): boolean {
    const value = this.#value(name) ?? fallback;
    if (typeof value === "boolean") return value;
    throw this.#wrong(name, "true or false", value);
  }
  /** A token's number. */
  id(name: string, size: number, fallback: number | undefined): number | undefined {
    const value = this.#value(`${name}_token_id`) ?? (fallback !== undefined && fallback < size ? fallback : undefined);
    if (value === undefined || value === 2 ** 32 - 1) return undefined; // all ones: llama.cpp's "none"
    if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value < size) return value;
    throw this.#wrong(`${name}_token_id`, `below the number of tokens, ${size}`, value);
  }
  words(name: string): readonly string[] {
    const value = this.#value(name);
    if (Array.isArray(value)) return value as readonly string[];
    throw this.#wrong(name, "an array of strings", value);
  }
  numbers(name: string, size: number): ArrayLike<number> | undefined {
    const value = this.#value(name);
    if (value === undefined) return undefined;
    const numeric = value instanceof Float32Array || value instanceof Int32Array || value instanceof Uint32Array;
    if (numeric && value.length === size) return value;
    throw this.#wrong(name, `an array of ${size} numbers`, value);
  }
}
