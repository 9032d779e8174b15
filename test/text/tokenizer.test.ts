// Tokenizers and chat templates against transformers and sentencepiece: token for token, character for character.
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { SentencePiece } from "../../lib/text/sentencepiece.js";
import { Tokenizer } from "../../lib/text/tokenizer.js";
import { Case, caseNames } from "../case.js";

interface TextRow {
  text: string;
  ids: number[];
  ids_no_special: number[];
  decoded: string;
  decoded_skip_special: string;
  sp_ids?: number[];
  sp_decoded?: string;
}

for (const name of caseNames(/^tokenizer-/)) {
  const c = new Case(name);
  const tokenizer = Tokenizer.fromPretrained(c.folder);

  test(`${name}: every text, encoded and decoded`, () => {
    for (const row of c.info.strings as TextRow[]) {
      const what = JSON.stringify(row.text);
      assert.equal(tokenizer.encode(row.text), row.ids, what);
      assert.equal(tokenizer.encode(row.text, { addSpecialTokens: false }), row.ids_no_special, what);
      assert.is(tokenizer.decode(row.ids), row.decoded, what);
      assert.is(tokenizer.decode(row.ids, { skipSpecialTokens: true }), row.decoded_skip_special, what);
    }
    for (const { ids, decoded, decoded_skip_special } of c.info.random_decodes) {
      assert.is(tokenizer.decode(ids), decoded, String(ids));
      assert.is(tokenizer.decode(ids, { skipSpecialTokens: true }), decoded_skip_special, String(ids));
    }
  });

  test(`${name}: special tokens and batches padded on either side`, () => {
    const { info } = c;
    assert.is(tokenizer.vocabSize, info.vocab_size);
    assert.is(tokenizer.bosTokenId ?? null, info.bos_token_id);
    assert.is(tokenizer.eosTokenId ?? null, info.eos_token_id);
    // Where the files name none, the reference and the batches pad with the end of a text.
    const named = c.json("tokenizer_config.json").pad_token != null;
    assert.is(tokenizer.padTokenId ?? null, named ? info.pad_token_id : null);
    if (!named) assert.is(info.pad_token_id, info.eos_token_id);
    assert.is(tokenizer.unkTokenId ?? null, info.unk_token_id);
    for (const side of ["left", "right"] as const) {
      const { inputIds, attentionMask } = tokenizer.encodeBatch(info.batch.texts, { side });
      assert.equal({ input_ids: inputIds, attention_mask: attentionMask }, info.batch[side], side);
    }
  });

  test(`${name}: conversations, and those that the template refuses`, () => {
    if (!c.info.chat) return assert.throws(() => tokenizer.applyChatTemplate([{ role: "user", content: "hi" }]), /got neither/);
    for (const { messages, add_generation_prompt, text, ids, error, ...variables } of c.info.chat) {
      const render = () => tokenizer.applyChatTemplate(messages, { ...variables.kwargs, addGenerationPrompt: add_generation_prompt });
      if (error) {
        assert.throws(
          render,
          (e: Error & { code: string }) => e.code === "E_CHAT_TEMPLATE" && e.message.includes(error.slice(0, 20)),
          error,
        );
        continue;
      }
      assert.is(render(), text);
      assert.equal(tokenizer.encode(text, { addSpecialTokens: false }), ids);
    }
  });

  const model = join(c.folder, "tokenizer.model");
  if (!existsSync(model)) continue;
  test(`${name}: tokenizer.model alone gives sentencepiece's own ids`, () => {
    const pieces = new SentencePiece(readFileSync(model));
    for (const { text, sp_ids, sp_decoded } of c.info.strings as TextRow[]) {
      assert.equal(pieces.encode(text), sp_ids, JSON.stringify(text));
      assert.is(pieces.decode(sp_ids as number[]), sp_decoded, JSON.stringify(text));
    }
  });

  test(`${name}: a folder with tokenizer.model alone gives the ids of tokenizer.json`, () => {
    const folder = mkdtempSync(join(tmpdir(), "anymal-tokenizer-"));
    for (const file of ["tokenizer.model", "tokenizer_config.json"]) copyFileSync(join(c.folder, file), join(folder, file));
    const own = Tokenizer.fromPretrained(folder);
    for (const { text, ids, sp_ids, ids_no_special } of c.info.strings as TextRow[]) {
      if (String(sp_ids) === String(ids_no_special)) assert.equal(own.encode(text), ids, JSON.stringify(text));
    }
    assert.equal(
      own.encode("<s>hi</s>", { addSpecialTokens: false }).filter((id) => id < 3),
      [1, 2],
    );
    rmSync(folder, { recursive: true });
  });
}

test("files that are not there, cut off, or of another kind", () => {
  const folder = mkdtempSync(join(tmpdir(), "anymal-tokenizer-"));
  const code = (e: Error & { code?: string }) => e.code === "E_TOKENIZER";
  assert.throws(() => Tokenizer.fromPretrained(folder), code);
  writeFileSync(join(folder, "tokenizer.json"), "{");
  assert.throws(() => Tokenizer.fromPretrained(folder), code);
  rmSync(folder, { recursive: true });
  const spm = caseNames(/^tokenizer-/)
    .map((name) => join(new Case(name).folder, "tokenizer.model"))
    .find((file) => existsSync(file));
  if (spm) {
    const whole = readFileSync(spm);
    for (const length of [0, 1, 7, 100, whole.length - 1])
      assert.throws(() => new SentencePiece(whole.subarray(0, length)), code, String(length));
  }
  assert.throws(() => new SentencePiece(Uint8Array.from({ length: 64 }, () => 255)), code);
});

test.run();
