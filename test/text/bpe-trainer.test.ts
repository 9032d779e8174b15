// A trained tokenizer: the merges of the definition, every word of the texts one token, every other text still encodable.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type TokenizerFiles, trainBpe } from "../../lib/text/bpe-trainer.js";
import { Tokenizer } from "../../lib/text/tokenizer.js";

function load(files: TokenizerFiles): Tokenizer {
  const folder = mkdtempSync(join(tmpdir(), "anymal-bpe-"));
  try {
    for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), JSON.stringify(content));
    return Tokenizer.fromPretrained(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
const merges = (files: TokenizerFiles) => (files["tokenizer.json"].model as { merges: string[][] }).merges.map((pair) => pair.join("+"));

test("merges are the most frequent pairs, one after the other", () => {
  // Sennrich et al., section 3.2, without the end-of-word sign: low ×5, lower ×2, newest ×6, widest ×3.
  const texts = [..."lllll"].map(() => "low").concat(["lower", "lower"], new Array(6).fill("newest"), new Array(3).fill("widest"));
  const files = trainBpe(texts, { vocabSize: 259 + 97 + 3, word: /\S+/g, alphabet: " !" });
  assert.equal(merges(files).slice(0, 3), ["e+s", "es+t", "l+o"]);
});

test("every word of the texts becomes one token; what was never seen falls back to characters and bytes", () => {
  const texts = ["a red star at the top left.", "what color is the star?", "[INST] a red ring: blue [/INST]"];
  const tokenizer = load(trainBpe(texts, { vocabSize: 1000 }));
  for (const text of texts) {
    const ids = tokenizer.encode(text, { addSpecialTokens: false });
    assert.is(ids.length, text.match(/\[\/?INST\]|[a-z]+|[^\sa-z]/g)!.length, text);
    assert.is(tokenizer.decode(ids), text);
  }
  for (const text of ["Żółw №7 🐢\n", "restarted", "", " two  blanks "]) {
    const ids = tokenizer.encode(text, { addSpecialTokens: false });
    assert.is(tokenizer.decode(ids), text);
    assert.not.ok(ids.includes(0), "no <unk>");
  }
});

test("the same texts give the same files", () => {
  const texts = ["one two three", "three two two"];
  assert.equal(trainBpe(texts, { vocabSize: 400 }), trainBpe(texts, { vocabSize: 400 }));
});

test("a vocabulary too small for bytes and alphabet is refused", () => {
  assert.throws(() => trainBpe(["text"], { vocabSize: 300 }), /vocabSize of at least 35\d/);
});

test.run();
