// Tokenizers made to do harm: a coded error when they are read or used, in bounded time and memory.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AnymalError } from "../../lib/core/errors.js";
import { Tokenizer } from "../../lib/text/tokenizer.js";
import { Case, copyFolder } from "../case.js";

const test = suite("hostile tokenizers");
let folder = "";
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), "anymal-tokenizer-hostile-"));
});
test.after.each(() => rmSync(folder, { recursive: true, force: true }));

// biome-ignore lint/suspicious/noExplicitAny: files are changed in any way
type Json = any;
const of = (name: string): Json => JSON.parse(readFileSync(join(new Case(name).folder, "tokenizer.json"), "utf8"));
const base = { "tokenizer-llama3": of("tokenizer-llama3"), "tokenizer-spm": of("tokenizer-spm") };
const TEXT = "aaaa b  c <s> h\u00e9llo ".repeat(20);

const write = (name: string, value: unknown) =>
  writeFileSync(join(folder, name), typeof value === "string" ? value : JSON.stringify(value));

/** Reads the folder and uses what is there: the error, and processor time and memory that it took. */
async function use(text = TEXT): Promise<AnymalError | undefined> {
  const [cpu, rss] = [process.cpuUsage(), process.memoryUsage.rss()];
  let error: AnymalError | undefined;
  try {
    const tokenizer = await Tokenizer.load(folder);
    const ids = tokenizer.encode(text);
    assert.ok(ids.every(Number.isInteger), "ids that are none");
    tokenizer.decode(ids);
  } catch (thrown) {
    error = thrown as AnymalError;
  }
  const { user, system } = process.cpuUsage(cpu);
  assert.ok(user + system < 4e6, `took ${(user + system) / 1e6} s`);
  assert.ok(process.memoryUsage.rss() - rss < 400 * 2 ** 20, `took ${(process.memoryUsage.rss() - rss) / 2 ** 20} MiB`);
  return error;
}

async function refused(what: string, says: RegExp, text?: string): Promise<void> {
  const error = await use(text);
  assert.ok(error, `${what}: taken`);
  assert.is(error.code, "E_TOKENIZER", `${what}: ${error.stack}`);
  assert.match(error.message, says, what);
  assert.ok(error.message.length < 4000, what);
}

const deep = (n: number): Json => JSON.parse(`${"[".repeat(n)}${"]".repeat(n)}`);
const many = (n: number, make: (i: number) => unknown): unknown[] => Array.from({ length: n }, (_, i) => make(i));
const single = (...items: unknown[]) => ({ type: "TemplateProcessing", single: items });
const [A, BOS] = [{ Sequence: { id: "A", type_id: 0 } }, { SpecialToken: { id: "<|begin_of_text|>", type_id: 0 } }];

/** What is changed of a tokenizer, and what the error says. */
const WRONG: [string, RegExp, (json: Json) => void][] = [
  ["an id of 4 billion", /the id of "x" to be an integer from 0/, (j) => { j.model.vocab.x = 4294967294; }],
  ["an id that is text", /the id of "x"/, (j) => { j.model.vocab.x = "1"; }],
  ["a negative id", /the id of "x"/, (j) => { j.model.vocab.x = -1; }],
  ["a token of 2000 characters", /at most 1024 characters/, (j) => { j.model.vocab["x".repeat(2000)] = 1; }],
  ["no id of an added token", /the id of "<x>"/, (j) => { j.added_tokens.push({ content: "<x>" }); }],
  ["an added token's id of 4 billion", /the id of "<x>"/, (j) => { j.added_tokens.push({ id: 4294967294, content: "<x>" }); }],
  ["an added token that is null", /added_tokens to be objects, got null|added_tokens to be objects in/, (j) => { j.added_tokens.push(null); }],
  ["no content", /content to be a text/, (j) => { j.added_tokens.push({ id: 1 }); }],
  ["a flag that is text", /lstrip to be true or false/, (j) => { j.added_tokens.push({ id: 1, content: "x", lstrip: "yes" }); }],
  ["a long added token", /at most 1024 characters/, (j) => { j.added_tokens.push({ id: 1, content: "x".repeat(1e6) }); }],
  ["added tokens of a million characters", /1048576 characters in all/, (j) => {
    j.added_tokens.push(...many(5000, (id) => ({ id, content: `${id}${"x".repeat(1000)}` })));
  }],
  ["added_tokens missing", /added_tokens to be a list/, (j) => { delete j.added_tokens; }],
  ["a model of another kind", /model.type to be one of/, (j) => { j.model.type = "Evil"; }],
  ["no model", /model to be an object/, (j) => { delete j.model; }],
  ["a deep model", /model to be an object|deeper/, (j) => { j.model = deep(150); }],
  ["merges of one token", /merges of two tokens/, (j) => { j.model.merges.push(["a"]); }],
  ["merges of both forms", /merges of two tokens/, (j) => { j.model.merges.push(typeof j.model.merges[0] === "string" ? ["a", "b"] : "a b"); }],
  ["merges missing", /merges to be a list/, (j) => { delete j.model.merges; }],
  ["unk_token a number", /unk_token to be a text/, (j) => { j.model.unk_token = 5; }],
  ["fuse_unk a text", /fuse_unk to be true or false/, (j) => { j.model.fuse_unk = "yes"; }],
  ["words of any length", /max_input_chars_per_word/, (j) => {
    j.model = { type: "WordPiece", vocab: { a: 0 }, unk_token: "a", continuing_subword_prefix: "##", max_input_chars_per_word: 1e9 };
  }],
  ["unigram pieces that are none", /pieces \[text, number\]/, (j) => { j.model = { type: "Unigram", unk_id: 0, vocab: [["a", 0], null] }; }],
  ["long unigram pieces", /at most 128 characters/, (j) => { j.model = { type: "Unigram", unk_id: 0, vocab: many(1000, (i) => ["a".repeat(i + 1), 0]) }; }],
  ["unk_id beyond the pieces", /unk_id/, (j) => { j.model = { type: "Unigram", unk_id: 7, vocab: [["a", 0]] }; }],
  ["pieces of no length", /length to be an integer from 1/, (j) => { j.pre_tokenizer = { type: "FixedLength", length: 0 }; }],
  ["pieces of a billionth", /length to be an integer from 1/, (j) => { j.pre_tokenizer = { type: "FixedLength", length: 1e-9 }; }],
  ["a text in place of each space", /str_rep to be one character/, (j) => { j.pre_tokenizer = { type: "Metaspace", replacement: "_", str_rep: "x".repeat(1e6) }; }],
  ["a replacement of many", /replacement to be one character/, (j) => { j.pre_tokenizer = { type: "Metaspace", replacement: "__" }; }],
  ["a scheme that nobody knows", /prepend_scheme to be one of/, (j) => { j.pre_tokenizer = { type: "Metaspace", prepend_scheme: "evil" }; }],
  ["a behaviour that nobody knows", /behavior to be one of/, (j) => { j.pre_tokenizer = { type: "Split", pattern: { String: " " }, behavior: "Evil" }; }],
  ["a split without a pattern", /pattern to be/, (j) => { j.pre_tokenizer = { type: "Split", behavior: "Isolated" }; }],
  ["a long expression", /pattern to be/, (j) => { j.pre_tokenizer = { type: "Split", pattern: { Regex: "[a]".repeat(1e5) }, behavior: "Isolated" }; }],
  ["a step of no kind", /pre_tokenizer.type to be one of/, (j) => { j.pre_tokenizer = { type: "Evil" }; }],
  ["a step named as a method of objects", /decoder.type to be one of/, (j) => { j.decoder = { type: "constructor" }; }],
  ["a decoder's step that is null", /decoders\[0\] to be an object/, (j) => { j.decoder = { type: "Sequence", decoders: [null] }; }],
  ["a normalizer that is a list", /normalizer to be an object/, (j) => { j.normalizer = []; }],
  ["a decoder that counts to a billion", /start to be an integer/, (j) => { j.decoder = { type: "Strip", content: " ", start: 1e9, stop: 0 }; }],
  ["a thousand steps", /at most 100 steps/, (j) => { j.normalizer = { type: "Sequence", normalizers: many(1000, () => ({ type: "NFC" })) }; }],
  ["a text before each text", /prepend to be a text of at most/, (j) => { j.normalizer = { type: "Prepend", prepend: "x".repeat(1e7) }; }],
  ["steps that double", /make no more than 256 characters of one/, (j) => {
    j.normalizer = { type: "Sequence", normalizers: many(60, () => ({ type: "Replace", pattern: { String: "a" }, content: "aa" })) };
  }],
  ["decoders that double", /make no more than 256 characters of one/, (j) => {
    j.decoder = { type: "Sequence", decoders: many(60, () => ({ type: "BPEDecoder", suffix: "" })) };
  }],
  ["post_processor.single a number", /single to be a list/, (j) => { j.post_processor = { type: "TemplateProcessing", single: 5 }; }],
  ["post_processor.single of nulls", /single of/, (j) => { j.post_processor = single(A, null); }],
  ["a post-processor without the text", /hold the text once/, (j) => { j.post_processor = single(BOS); }],
  ["a post-processor with the text twice", /hold the text once/, (j) => { j.post_processor = single(A, A); }],
  ["a post-processor of a million tokens", /list of at most 64/, (j) => { j.post_processor = single(A, ...many(1e5, () => BOS)); }],
  ["a post-processor of no known token", /names tokens of the vocabulary/, (j) => { j.post_processor = single({ SpecialToken: { id: "<nowhere>" } }, A); }],
  ["a post-processor of BERT without its tokens", /sep and post_processor.cls/, (j) => { j.post_processor = { type: "BertProcessing", sep: ["a", 0] }; }],
  ["post-processors in number", /at most 100 steps/, (j) => { j.post_processor = { type: "Sequence", processors: many(1000, () => single(A)) }; }],
]; // biome-ignore format: a table

test("tokenizer.json, one thing of it wrong", async () => {
  for (const [what, says, change] of WRONG) {
    for (const json of Object.values(base)) {
      const changed = structuredClone(json);
      change(changed);
      write("tokenizer.json", changed);
      await refused(what, says);
    }
  }
});

test("nesting without end, and a file without end", async () => {
  write("tokenizer.json", `${"[".repeat(1e6)}${"]".repeat(1e6)}`);
  await refused("a million brackets", /deeper than 200 levels/);
  write("tokenizer.json", `{"model": ${"[".repeat(1e6)}${"]".repeat(1e6)}, "added_tokens": []}`);
  await refused("a million brackets inside", /deeper than 200 levels/);
});

test("words that overlap at each place of a text take time by its length", async () => {
  const json = structuredClone(base["tokenizer-llama3"]);
  json.added_tokens.push(...many(1000, (i) => ({ id: 1000 + i, content: `${"a".repeat(i + 1)}!` })));
  write("tokenizer.json", json);
  await refused("added tokens that begin alike", /overlap too often/, "a".repeat(30_000));
  json.added_tokens = [{ id: 1000, content: " ", lstrip: true, rstrip: true, normalized: false }];
  write("tokenizer.json", json);
  await use(" ".repeat(30_000));
  json.added_tokens = [];
  json.model = { type: "Unigram", unk_id: 0, vocab: many(128, (i) => ["a".repeat(i + 1), -1]) };
  json.pre_tokenizer = null;
  json.post_processor = null;
  write("tokenizer.json", json);
  assert.is(await use("a".repeat(2000)), undefined);
});

const CONFIGS: [string, string, unknown, RegExp, string?][] = [
  ["no object", "tokenizer_config.json", [1], /an object in/],
  ["a number as bos", "tokenizer_config.json", { bos_token: 5 }, /bos_token.content to be a text/],
  ["a content that is an object", "special_tokens_map.json", { eos_token: { content: {} } }, /eos_token.content to be a text/],
  ["add_bos_token", "tokenizer_config.json", { add_bos_token: "yes" }, /add_bos_token to be true or false/],
  ["special tokens that are none", "special_tokens_map.json", { additional_special_tokens: [null] }, /additional_special_tokens\[0\]/],
  ["special tokens", "special_tokens_map.json", { additional_special_tokens: "x" }, /additional_special_tokens to be a list/],
  ["an added token of null", "tokenizer_config.json", { added_tokens_decoder: { 5: null } }, /added_tokens_decoder/],
  ["an added token of a far id", "tokenizer_config.json", { added_tokens_decoder: { 99999999999: { content: "x" } } }, /the id of "x"/],
  ["an added token of no id", "tokenizer_config.json", { added_tokens_decoder: { x: { content: "x" } } }, /the id of "x"/],
  [
    "a list of templates that are none",
    "tokenizer_config.json",
    { chat_template: [null] },
    /list of \{name, template\}/,
    "E_CHAT_TEMPLATE",
  ],
  ["a template that is a number", "tokenizer_config.json", { chat_template: 5 }, /a text or a list/, "E_CHAT_TEMPLATE"],
];

test("what stands beside it, one thing of it wrong", async () => {
  for (const [what, name, value, says, code = "E_TOKENIZER"] of CONFIGS) {
    copyFolder(new Case("tokenizer-llama3").folder, folder);
    for (const other of ["tokenizer_config.json", "special_tokens_map.json"]) write(other, "{}");
    rmSync(join(folder, "chat_template.jinja"), { force: true });
    write(name, value);
    const error = await use();
    assert.is(error?.code, code, `${what}: ${error?.stack}`);
    assert.match(error?.message ?? "", says, what);
  }
});

test("pipes in place of its files are not waited for", async () => {
  if (process.platform === "win32") return;
  for (const name of ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]) {
    copyFolder(new Case("tokenizer-llama3").folder, folder);
    rmSync(join(folder, name), { force: true });
    execFileSync("mkfifo", [join(folder, name)]);
    assert.is((await use())?.code, "E_FILE", name);
    rmSync(join(folder, name));
  }
});

test.run();
