// Added tokens with every flag, blanks of all kinds, control tokens as letters: ids and texts of tokenizers (Rust) 0.23.2.
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { DecodeStream } from "../../lib/text/decode-stream.js";
import { Tokenizer } from "../../lib/text/tokenizer.js";

const FIXTURES = new URL("../fixtures", import.meta.url).pathname;

/** A tokenizer of files that are written for it. */
function made(files: Readonly<Record<string, unknown>>, model?: string): Tokenizer {
  const folder = mkdtempSync(join(tmpdir(), "anymal-added-"));
  try {
    for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), JSON.stringify(content));
    if (model) cpSync(model, join(folder, "tokenizer.model"));
    return Tokenizer.fromPretrained(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
const json = (file: string) => JSON.parse(readFileSync(join(FIXTURES, file), "utf8"));

interface Group {
  file: string;
  added: unknown[];
  cases: { text: string; add: boolean; split: boolean; ids: number[]; row?: number[]; decoded: string; skipped: string }[];
}

test("ids and texts, whatever the flags", () => {
  for (const { file, added, cases } of json("added-tokens/cases.json") as Group[]) {
    const tokenizer = made({ "tokenizer.json": { ...json(file), added_tokens: added } });
    for (const { text, add, split, ids, row = ids, decoded, skipped } of cases) {
      const what = `${file} ${JSON.stringify(text)} ${JSON.stringify(added)}`;
      assert.equal(tokenizer.encode(text, { addSpecialTokens: add, splitSpecialTokens: split }), ids, what);
      assert.is(tokenizer.decode(row), decoded, what);
      assert.is(tokenizer.decode(row, { skipSpecialTokens: true }), skipped, what);
    }
  }
});

test("flags count where there is only tokenizer.model", () => {
  const config = json("tokenizer-spm/tokenizer_config.json");
  const model = join(FIXTURES, "tokenizer-spm/tokenizer.model");
  assert.ok(existsSync(model));
  const plain = made({ "tokenizer_config.json": config }, model);
  const id = plain.vocabSize;
  const withToken = (content: string, flags: object) => {
    const decoder = { ...config.added_tokens_decoder, [id]: { content, special: false, normalized: false, ...flags } };
    const tokenizer = made({ "tokenizer_config.json": { ...config, added_tokens_decoder: decoder } }, model);
    return (text: string) => tokenizer.encode(text, { addSpecialTokens: false });
  };
  const between = (text: string) => plain.encode(text, { addSpecialTokens: false });
  const word = withToken("wOrd", { single_word: true });
  assert.equal(word("a wOrd b"), [...between("a "), id, ...between(" b")]);
  for (const inside of ["awOrd", "wOrdb", "wOrd_", "éwOrd", "1wOrd"]) assert.equal(word(inside), between(inside), inside);
  const left = withToken("<l>", { lstrip: true });
  assert.equal(left("a \u0085\u00a0<l> b"), [...between("a"), id, ...between(" b")]);
  assert.equal(left("a\ufeff<l>"), [...between("a\ufeff"), id]);
  assert.equal(withToken("<r>", { rstrip: true })("a <r> \n\u3000b"), [...between("a "), id, ...between("b")]);
});

for (const name of ["tokenizer-llama2", "tokenizer-llama3", "tokenizer-spm"]) {
  const tokenizer = Tokenizer.fromPretrained(join(FIXTURES, name));

  test(`${name}: control tokens are letters where one says so`, () => {
    for (const [content, id] of tokenizer.specialTokens) {
      const ids = tokenizer.encode(`a ${content} b`, { addSpecialTokens: false, splitSpecialTokens: true });
      assert.not.ok(ids.includes(id), content);
      if (id !== tokenizer.unkTokenId && !ids.includes(tokenizer.unkTokenId as number)) assert.match(tokenizer.decode(ids), content);
      assert.ok(tokenizer.encode(`a ${content} b`).includes(id));
    }
  });

  test(`${name}: a stream decodes each token a bounded number of times, and to the same text`, () => {
    const text = "Un café, 日本語 🙂🙂 and\n\n  some  more \u0301 words; ".repeat(60);
    const ids = tokenizer.encode(text);
    let decoded = 0;
    const counting = {
      specialTokens: tokenizer.specialTokens,
      decode: (row: readonly number[], options?: object) => {
        decoded += row.length;
        return tokenizer.decode(row, options);
      },
    };
    const stream = new DecodeStream(counting, { skipSpecialTokens: true });
    const pieces = ids.map((id) => stream.push(id));
    assert.is(pieces.join("") + stream.end(), tokenizer.decode(ids, { skipSpecialTokens: true }));
    assert.ok(ids.length > 1000 && decoded < 24 * ids.length, `${decoded} decoded of ${ids.length}`);
    // Control tokens in a row, and bytes that never become a character, are no exception.
    decoded = 0;
    const bytes = tokenizer.encode("🙂", { addSpecialTokens: false }).slice(-1)[0] as number;
    const odd = [...new Array(800).fill(tokenizer.bosTokenId), ...new Array(800).fill(bytes)] as number[];
    const other = new DecodeStream(counting, { skipSpecialTokens: true });
    for (const id of odd) other.push(id);
    assert.ok(decoded < 40 * odd.length, `${decoded} decoded of ${odd.length}`);
  });
}

test("a file whose steps fail later is the tokenizer's fault, not a crash", () => {
  const whole = json("tokenizer-llama2/tokenizer.json");
  for (const change of [
    { post_processor: { type: "TemplateProcessing", single: 1, pair: [], special_tokens: {} } },
    { added_tokens: [null] },
    { added_tokens: {} },
  ])
    assert.throws(
      () => made({ "tokenizer.json": { ...whole, ...change } }).encode("a"),
      (error: Error & { code?: string }) => error.code === "E_TOKENIZER",
      JSON.stringify(change),
    );
});

test.run();
