// A tokenizer of LLaMA's kind from nothing: byte-pair merges (arXiv 1508.07909) within words, bytes for all that the texts never showed.
import { expected } from "../core/errors.js";
import { checkOptions, optionNames } from "../core/options.js";

export interface BpeOptions {
  /** Ids in all, at most; what the bytes and the alphabet leave goes to merges. */
  vocabSize: number;
  /** Characters that get an id of their own whether the texts have them or not. Default: printable ASCII. */
  alphabet?: string;
  /** Jinja source for tokenizer_config.json. */
  chatTemplate?: string;
  /** What counts as one word. Its blank in front belongs to it. */
  word?: RegExp;
}

const OPTIONS = optionNames<BpeOptions>({ vocabSize: true, alphabet: true, chatTemplate: true, word: true });

/** The files of a tokenizer folder. */
export interface TokenizerFiles {
  "tokenizer.json": Record<string, unknown>;
  "tokenizer_config.json": Record<string, unknown>;
  "special_tokens_map.json": Record<string, unknown>;
}

const SPECIAL = ["<unk>", "<s>", "</s>"];
const BLANK = "\u2581";
const ASCII = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).join("");
const WORD = / ?(?:\[\/?[A-Z]+\]|[\p{L}\p{N}]+|[^\s\p{L}\p{N}]|\s)/gu;

/** Merges the most frequent neighbours until the vocabulary is full or every word is one token. Ties go to the pair met first. Throws E_VALUE where vocabSize is too small for bytes and alphabet. */
export function trainBpe(texts: Iterable<string>, options: BpeOptions): TokenizerFiles {
  checkOptions("trainBpe", options, OPTIONS);
  const { vocabSize, alphabet = ASCII, chatTemplate, word = WORD } = options;
  const words = countWords(texts, word);
  const characters = new Set([BLANK, "\n", ...alphabet.replace(" ", ""), ...words.flatMap(({ parts }) => parts)]);
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
  const vocabulary = [...SPECIAL, ...bytes, ...[...characters].sort()];
  const known = new Set(vocabulary);
  if (!(Number.isInteger(vocabSize) && vocabSize >= vocabulary.length))
    throw expected(
      "E_VALUE",
      "trainBpe",
      `a vocabSize of at least ${vocabulary.length} (bytes and alphabet)`,
      vocabSize,
      "take a larger one",
    );
  const merges: [string, string][] = [];
  while (vocabulary.length < vocabSize) {
    const pair = mostFrequent(words);
    if (!pair) break;
    merges.push(pair);
    const merged = pair.join("");
    if (!known.has(merged)) vocabulary.push(merged);
    known.add(merged);
    for (const entry of words) entry.parts = mergedParts(entry.parts, pair);
  }
  return tokenizerFiles(vocabulary, merges, chatTemplate);
}

interface Word {
  parts: string[];
  count: number;
}

function countWords(texts: Iterable<string>, pattern: RegExp): Word[] {
  const counts = new Map<string, number>();
  for (const text of texts) for (const [match] of ` ${text}`.matchAll(pattern)) counts.set(match, (counts.get(match) ?? 0) + 1);
  return Array.from(counts, ([text, count]) => ({ parts: [...text.replaceAll(" ", BLANK)], count }));
}

function mostFrequent(words: readonly Word[]): [string, string] | undefined {
  const counts = new Map<string, { pair: [string, string]; count: number }>();
  for (const { parts, count } of words) {
    for (let i = 0; i + 1 < parts.length; ++i) {
      const pair: [string, string] = [parts[i] as string, parts[i + 1] as string];
      const key = pair.join(" ");
      const entry = counts.get(key);
      if (entry) entry.count += count;
      else counts.set(key, { pair, count });
    }
  }
  let best: { pair: [string, string]; count: number } | undefined;
  for (const entry of counts.values()) if (!best || entry.count > best.count) best = entry;
  return best?.pair;
}

function mergedParts(parts: readonly string[], [left, right]: readonly [string, string]): string[] {
  const merged: string[] = [];
  for (let i = 0; i < parts.length; ++i) {
    const joins = parts[i] === left && parts[i + 1] === right;
    merged.push(joins ? left + right : (parts[i] as string));
    if (joins) ++i;
  }
  return merged;
}

function tokenizerFiles(
  vocabulary: readonly string[],
  merges: readonly [string, string][],
  chatTemplate: string | undefined,
): TokenizerFiles {
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const bos = { SpecialToken: { id: "<s>", type_id: 0 } };
  const sequence = (id: string, type: number) => ({ Sequence: { id, type_id: type } });
  const special = { bos_token: "<s>", eos_token: "</s>", unk_token: "<unk>", pad_token: "<unk>" };
  return {
    "tokenizer.json": {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: SPECIAL.map((content, id) => ({ id, content, ...flags })),
      normalizer: {
        type: "Sequence",
        normalizers: [
          { type: "Prepend", prepend: BLANK },
          { type: "Replace", pattern: { String: " " }, content: BLANK },
        ],
      },
      pre_tokenizer: null,
      post_processor: {
        type: "TemplateProcessing",
        single: [bos, sequence("A", 0)],
        pair: [bos, sequence("A", 0), { SpecialToken: { id: "<s>", type_id: 1 } }, sequence("B", 1)],
        special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
      },
      decoder: {
        type: "Sequence",
        decoders: [
          { type: "Replace", pattern: { String: BLANK }, content: " " },
          { type: "ByteFallback" },
          { type: "Fuse" },
          { type: "Strip", content: " ", start: 1, stop: 0 },
        ],
      },
      model: {
        type: "BPE",
        dropout: null,
        unk_token: "<unk>",
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: true,
        byte_fallback: true,
        ignore_merges: false,
        vocab: Object.fromEntries(vocabulary.map((token, id) => [token, id])),
        merges,
      },
    },
    "tokenizer_config.json": {
      ...special,
      add_bos_token: true,
      add_eos_token: false,
      clean_up_tokenization_spaces: false,
      model_max_length: 512,
      tokenizer_class: "PreTrainedTokenizerFast",
      ...(chatTemplate !== undefined && { chat_template: chatTemplate }),
    },
    "special_tokens_map.json": special,
  };
}
