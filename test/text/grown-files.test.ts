// Tokens added to a tokenizer: as a tokenizer whose files have them, and as tokenizers (Rust) numbers them.
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GROWING_FILES, grownFiles } from "../../lib/text/grown-files.js";
import { Tokenizer } from "../../lib/text/tokenizer.js";
import { Case, caseNames } from "../case.js";

const test = suite("grown tokenizers");
const WORDS = ["<picture>", "<|endofchunk|>", "<answer>"];
const TEXTS = [
  "<picture>User: what is it? GPT:<answer> a cat<|endofchunk|>",
  " <picture> <picture>",
  "no tokens",
  "<picture",
  "a<answer>b",
  "<pic<picture>ture>",
];

for (const name of caseNames(/^tokenizer-/)) {
  for (const form of ["as it is", "tokenizer.model alone"]) {
    const folder = new Case(name).folder;
    if (form !== "as it is" && !existsSync(join(folder, "tokenizer.model"))) continue;
    test(`${name}, ${form}: with tokens, saved and loaded again`, async () => {
      const place = mkdtempSync(join(tmpdir(), "anymal-grown-"));
      try {
        cpSync(folder, place, { recursive: true, dereference: true });
        if (form !== "as it is") rmSync(join(place, "tokenizer.json"), { force: true });
        const plain = Tokenizer.fromPretrained(place);
        const grown = Tokenizer.fromPretrained(place, { addedTokens: WORDS });
        const first = plain.vocabSize;
        assert.equal(
          [...grown.addedTokens],
          WORDS.map((word, i) => [word, first + i]),
        );
        assert.is(grown.vocabSize, first + WORDS.length);
        for (const [i, word] of WORDS.entries()) {
          assert.is(grown.tokenToId(word), first + i);
          assert.is(grown.specialTokens.get(word), first + i);
        }
        assert.equal(grown.encode("no tokens"), plain.encode("no tokens"));
        assert.ok(grown.encode(TEXTS[0]!).includes(first));
        assert.is(
          grown.decode(grown.encode("a<answer>b", { addSpecialTokens: false }), { skipSpecialTokens: true }).includes("answer"),
          false,
        );
        assert.equal((await Tokenizer.load(place, { addedTokens: WORDS })).encode(TEXTS[0]!), grown.encode(TEXTS[0]!));

        const texts = new Map(
          GROWING_FILES.filter((file) => existsSync(join(place, file))).map((file) => [
            file as string,
            readFileSync(join(place, file), "utf8"),
          ]),
        );
        for (const [file, text] of grownFiles(texts, grown.addedTokens)) writeFileSync(join(place, file), text);
        const saved = Tokenizer.fromPretrained(place);
        for (const text of TEXTS) {
          assert.equal(saved.encode(text), grown.encode(text), text);
          assert.is(saved.decode(saved.encode(text)), grown.decode(grown.encode(text)));
        }
        assert.is(saved.vocabSize, grown.vocabSize);
        const again = Tokenizer.fromPretrained(place, { addedTokens: [...WORDS, "<more>"] });
        assert.equal([...again.addedTokens], [["<more>", first + 3]], "what is there keeps its id");
      } finally {
        rmSync(place, { recursive: true });
      }
    });
  }
}

test("a word of the vocabulary keeps its id, and is a token of its own from then on", () => {
  const folder = new Case("tokenizer-llama3").folder;
  const plain = Tokenizer.fromPretrained(folder);
  const id = plain.tokenToId("th") ?? plain.tokenToId("in");
  assert.ok(id !== undefined);
  const word = plain.tokenToId("th") === undefined ? "in" : "th";
  const grown = Tokenizer.fromPretrained(folder, { addedTokens: [word] });
  assert.is(grown.tokenToId(word), id);
  assert.is(grown.vocabSize, plain.vocabSize);
  assert.ok(grown.encode(`x${word}x`).includes(id));
  for (const unfit of ["", "  "])
    assert.throws(
      () => Tokenizer.fromPretrained(folder, { addedTokens: [unfit] }),
      (e: Error & { code: string }) => e.code === "E_TOKENIZER",
    );
});

test.run();
