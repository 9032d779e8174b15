// Tokenizers inside of GGUF files, against `tokenizers` and sentencepiece: token for token, character for character.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Tokenizer } from "../../lib/text/tokenizer.js";
import { type GgufField, ggufFile, list, text, u32 } from "../../tools/fuzz/gguf-file.js";
import { Case, caseNames } from "../case.js";

interface TextRow {
  text: string;
  ids: number[];
  ids_no_special: number[];
  decoded: string;
  decoded_skip_special: string;
}

for (const name of caseNames(/^gguf-tokenizer-/)) {
  const { folder, info } = new Case(name);
  const tokenizer = Tokenizer.fromPretrained(join(folder, "vocab.gguf"));

  test(`${name}: every text, encoded and decoded`, () => {
    for (const row of info.strings as TextRow[]) {
      const what = JSON.stringify(row.text);
      assert.equal(tokenizer.encode(row.text, { addSpecialTokens: false }), row.ids_no_special, what);
      assert.equal(tokenizer.encode(row.text), row.ids, what);
      assert.is(tokenizer.decode(row.ids), row.decoded, what);
      assert.is(tokenizer.decode(row.ids, { skipSpecialTokens: true }), row.decoded_skip_special, what);
    }
  });

  test(`${name}: special tokens`, () => {
    assert.is(tokenizer.vocabSize, info.vocab_size);
    assert.is(tokenizer.bosTokenId ?? null, info.bos_token_id);
    assert.is(tokenizer.eosTokenId ?? null, info.eos_token_id);
    assert.is(tokenizer.padTokenId ?? null, info.pad_token_id);
    assert.is(tokenizer.hasChatTemplate, false);
  });
}

test("the tokenizer and the chat template inside of a model are those of the folder that it was made from", () => {
  const c = new Case("gguf-llama");
  const own = Tokenizer.fromPretrained(join(c.folder, "model.gguf"));
  const folder = Tokenizer.fromPretrained(c.beside("tokenizer-llama3"));
  const messages = [
    { role: "system", content: "Be brief." },
    { role: "user", content: "What is in the picture?" },
  ];
  const prompt = (t: Tokenizer) =>
    t.hasChatTemplate ? t.applyChatTemplate(messages, { addGenerationPrompt: true }) : JSON.stringify(messages);
  assert.is(own.hasChatTemplate, folder.hasChatTemplate);
  assert.is(prompt(own), prompt(folder));
  assert.equal(own.encode(prompt(own), { addSpecialTokens: false }), folder.encode(prompt(own), { addSpecialTokens: false }));
  assert.equal([...own.specialTokens].sort(), [...folder.specialTokens].sort());
});

test("keys that make no tokenizer", () => {
  const folder = mkdtempSync(join(tmpdir(), "anymal-gguf-"));
  const path = join(folder, "vocab.gguf");
  const open = (keys: Record<string, GgufField>) => {
    const values = Object.entries(keys).map(([key, field]): [string, GgufField] => [`tokenizer.ggml.${key}`, field]);
    writeFileSync(path, ggufFile({ values, tensors: [] }).bytes);
    return Tokenizer.fromPretrained(path);
  };
  const bpe = { model: text("gpt2"), tokens: list(8, ["a", "b", "ab"]), merges: list(8, ["a b"]) };
  const spm = {
    model: text("llama"),
    tokens: list(8, ["<unk>", "<s>", "</s>", "\u2581a", "a", "\u2581"]),
    scores: list(6, [0, 0, 0, -1, -2, -3]),
    token_type: list(5, [2, 3, 3, 1, 1, 1]),
  };
  assert.equal(open(bpe).encode("abba"), [2, 1, 0]);
  assert.equal(open(spm).encode("a a"), [1, 3, 3]);
  const wrong: [Record<string, GgufField>, RegExp][] = [
    [{}, /tokenizer\.ggml\.model/],
    [{ ...bpe, model: text("t5") }, /"t5"/],
    [{ ...bpe, model: u32(1) }, /model/],
    [{ ...bpe, pre: text("tekken") }, /pre.*"tekken"/],
    [{ ...bpe, pre: text("constructor") }, /pre/],
    [{ ...bpe, tokens: list(5, [1]) }, /tokens/],
    [{ ...bpe, merges: list(8, ["ab"]) }, /merges/],
    [{ ...bpe, merges: u32(0) }, /merges/],
    [{ ...bpe, token_type: list(5, [1]) }, /token_type/],
    [{ ...bpe, bos_token_id: u32(3) }, /bos_token_id/],
    [{ ...spm, scores: list(6, [0]) }, /scores/],
    [{ ...spm, scores: list(8, ["a"]) }, /scores/],
    [{ ...spm, add_bos_token: u32(1) }, /add_bos_token/],
  ];
  try {
    for (const [keys, words] of wrong)
      assert.throws(
        () => open(keys),
        (e: Error & { code?: string }) => e.code === "E_GGUF" && words.test(e.message),
        String(words),
      );
    // A byte fallback that lacks bytes.
    const bytes = { ...spm, token_type: list(5, [2, 3, 3, 1, 1, 6]), tokens: list(8, ["<unk>", "<s>", "</s>", "\u2581a", "a", "<0x00>"]) };
    assert.throws(
      () => open(bytes),
      (e: Error & { code?: string }) => e.code === "E_TOKENIZER",
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
