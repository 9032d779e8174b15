// lib/text/tokenizer.ts: tokenizer.json and what stands beside it; texts are encoded and decoded.
import { Tokenizer } from "../../../lib/text/tokenizer.js";
import { packed, unpacked } from "../folder-file.js";
import { changedJson } from "../json-value.js";
import type { Random } from "../random.js";
import type { Seed, Target } from "../target.js";

const NAMES = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"];
const TEXTS = ["", "ab  ab\u00e9\ud83d\ude00 c", "<s>ab<|end|> \ud800", "ab ".repeat(300)];

const special = (id: number, content: string, flags: object = {}) => ({ id, content, special: true, ...flags });
const words = ["<unk>", "<s>", "</s>", "\u2581", "a", "b", "ab", "\u2581ab", "c", "\u0120", "##b"];
const vocab = Object.fromEntries(words.map((word, id) => [word, id]));
const merges = [["a", "b"], ["\u2581", "ab"]]; // biome-ignore format: short
const around = (token: string) => ({
  type: "TemplateProcessing",
  single: [{ SpecialToken: { id: token, type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
  pair: [],
  special_tokens: {},
});
const replace = (from: string, content: string) => ({ type: "Replace", pattern: { String: from }, content });

/** One of each kind of model, with steps of every kind. */
const TOKENIZERS = [
  {
    added_tokens: [special(0, "<unk>"), special(1, "<s>", { lstrip: true }), special(20, "<|end|>", { rstrip: true, normalized: true })],
    normalizer: { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "\u2581" }, replace(" ", "\u2581"), { type: "NFKC" }] },
    pre_tokenizer: null,
    post_processor: around("<s>"),
    decoder: {
      type: "Sequence",
      decoders: [replace("\u2581", " "), { type: "ByteFallback" }, { type: "Fuse" }, { type: "Strip", content: " ", start: 1, stop: 0 }],
    },
    model: { type: "BPE", unk_token: "<unk>", fuse_unk: true, byte_fallback: true, ignore_merges: false, vocab, merges },
  },
  {
    added_tokens: [special(1, "<s>"), { id: 21, content: "ab", special: false, single_word: true }],
    normalizer: { type: "BertNormalizer", lowercase: true, strip_accents: null, clean_text: true },
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: "\\s?\\p{L}+|\\S" }, behavior: "Isolated", invert: false },
        { type: "ByteLevel", add_prefix_space: true, use_regex: false },
        { type: "Digits", individual_digits: true },
      ],
    },
    post_processor: { type: "Sequence", processors: [{ type: "ByteLevel" }, around("<s>")] },
    decoder: { type: "ByteLevel" },
    model: { type: "BPE", unk_token: null, vocab, merges: ["a b"] },
  },
  {
    added_tokens: [special(1, "<s>"), special(2, "</s>")],
    normalizer: { type: "Strip", strip_left: true, strip_right: true },
    pre_tokenizer: { type: "BertPreTokenizer" },
    post_processor: { type: "BertProcessing", sep: ["</s>", 2], cls: ["<s>", 1] },
    decoder: { type: "WordPiece", prefix: "##", cleanup: true },
    model: { type: "WordPiece", unk_token: "<unk>", continuing_subword_prefix: "##", max_input_chars_per_word: 100, vocab },
  },
  {
    added_tokens: [special(1, "<s>")],
    normalizer: { type: "Precompiled", precompiled_charsmap: "" },
    pre_tokenizer: { type: "Metaspace", replacement: "\u2581", prepend_scheme: "first" },
    post_processor: null,
    decoder: { type: "Metaspace", replacement: "\u2581", prepend_scheme: "first" },
    model: { type: "Unigram", unk_id: 0, vocab: words.map((word, id) => [word, -id]) },
  },
];
const CONFIG = {
  bos_token: { content: "<s>", lstrip: false },
  eos_token: "</s>",
  additional_special_tokens: ["<|end|>"],
  added_tokens_decoder: { 1: { content: "<s>", special: true } },
  chat_template: [{ name: "default", template: "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}" }],
};
const MAP = { unk_token: "<unk>", pad_token: { content: "</s>" } };

const seed = (tokenizer: unknown): Seed => ({
  bytes: packed({ [NAMES[0]!]: JSON.stringify(tokenizer), [NAMES[1]!]: JSON.stringify(CONFIG), [NAMES[2]!]: JSON.stringify(MAP) }),
  fields: [],
});

function build(random: Random): Uint8Array {
  const own = random.pick(TOKENIZERS);
  const other = random.pick(TOKENIZERS);
  // a step of another tokenizer
  const mixed = random.chance(0.3) ? { ...own, [random.pick(["normalizer", "decoder", "pre_tokenizer", "post_processor"])]: null } : own;
  const json = random.chance(0.3) ? { ...mixed, decoder: other.decoder, normalizer: other.normalizer } : mixed;
  const beside = random.chance(0.25);
  return packed({
    [NAMES[0]!]: beside ? JSON.stringify(json) : changedJson(random, json),
    [NAMES[1]!]: beside ? changedJson(random, CONFIG) : JSON.stringify(CONFIG),
    [NAMES[2]!]: random.chance(0.1) ? changedJson(random, MAP) : JSON.stringify(MAP),
  });
}

export const tokenizer: Target = {
  name: "tokenizer",
  seeds: TOKENIZERS.map(seed),
  build,
  async run(bytes, path) {
    const made = await Tokenizer.load(unpacked(bytes, path, NAMES));
    for (const text of TEXTS) {
      const ids = made.encode(text);
      if (!ids.every((id) => Number.isInteger(id) && id >= 0)) throw new Error(`ids that are none: ${ids.slice(0, 20)}`);
      made.decode(ids);
      made.decode(ids, { skipSpecialTokens: true });
    }
    made.decode(Array.from({ length: Math.min(made.vocabSize, 3000) }, (_, id) => id));
    if (made.hasChatTemplate) made.applyChatTemplate([{ role: "user", content: "ab" }]);
  },
};
