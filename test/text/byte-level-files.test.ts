// A tokenizer whose folder has vocab.json and merges.txt alone, against transformers' GPT2Tokenizer as OPT sets it up.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Tokenizer } from "../../lib/text/tokenizer.js";
import { Case, copyFolder } from "../case.js";

const c = new Case("byte-level-opt");

test("texts become the ids that transformers gives them, </s> in front, and texts again", async () => {
  const tokenizer = await Tokenizer.load(c.folder);
  assert.is(tokenizer.vocabSize, c.info.size);
  for (const { text, ids, plain, decoded, skipped } of c.info.cases) {
    assert.equal(tokenizer.encode(text), ids, text);
    assert.equal(tokenizer.encode(text, { addSpecialTokens: false }), plain, text);
    assert.is(tokenizer.decode(ids, { skipSpecialTokens: false }), decoded);
    assert.is(tokenizer.decode(ids, { skipSpecialTokens: true }), skipped);
  }
});

test("files of another class, or damaged ones, are refused by name", async () => {
  const folder = mkdtempSync(join(tmpdir(), "anymal-byte-level-"));
  const refused = async (file: string, content: string, message: RegExp) => {
    copyFolder(c.folder, folder);
    writeFileSync(join(folder, file), content);
    const error = await Tokenizer.load(folder).catch((e) => e);
    assert.is(error.code, "E_TOKENIZER");
    assert.match(error.message, message);
  };
  await refused("merges.txt", "#version: 0.2\na b\nab\n", /two tokens in line 3 of/);
  await refused("vocab.json", "[1]", /an object of ids/);
  await refused("tokenizer_config.json", JSON.stringify({ tokenizer_class: "Qwen2Tokenizer" }), /got none/);
  rmSync(folder, { recursive: true });
});

test.run();
