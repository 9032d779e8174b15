// Penn Treebank tokens against Stanford CoreNLP's. The reference was run over one document, a text per line, so ours is too.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { captionTokens, ptbTokens } from "../../lib/eval/ptb-tokenizer.js";
import { Case } from "../case.js";

interface Text {
  text: string;
  tokens: string[];
  filtered: string;
  filtered_at_end_of_document?: string;
}
const texts = new Case("metric_ptb_tokenizer").info.cases as Text[];
/** What the reference's document ended with: a text's last tokens depend on how the next line begins. */
const END = "the end";

test("tokens of a document", () => {
  const lines = [...texts.map(({ text }) => text.replaceAll("\n", " ")), END];
  for (const [i, { text, tokens }] of texts.entries()) {
    const both = ptbTokens(`${lines[i]}\n${lines[i + 1]}`);
    assert.equal(both.slice(0, tokens.length), tokens, text);
  }
  const whole = ptbTokens(lines.join("\n"));
  assert.equal(whole, [...texts.flatMap(({ tokens }) => tokens), "the", "end"]);
});

test("tokens of a caption, without punctuation", () => {
  for (const { text, filtered, filtered_at_end_of_document: other } of texts) {
    const got = captionTokens(text).join(" ");
    assert.ok(got === filtered || got === other, `${JSON.stringify(text)}: ${got}`);
  }
});

test("line ends are blanks, and what no rule takes is dropped", () => {
  assert.equal(captionTokens("A red  bus.\nIt isn't parked"), ["a", "red", "bus", "it", "is", "n't", "parked"]);
  assert.equal(captionTokens(""), []);
  assert.equal(captionTokens("🐶 dog\u200b"), ["dog"]);
});

// JFlex takes the longest match, whichever alternative it goes through; of the grammar's LIKELYURL (PTBLexer.flex, 3.4.1) by hand.
test("the longest match wins: an address goes on into its path", () => {
  assert.equal(ptbTokens("www.a.bc/d.ef?g\n"), ["www.a.bc/d.ef?g"]);
  assert.equal(ptbTokens("see www.a.bc/d.ef/g!h. It\n"), ["see", "www.a.bc/d.ef/g!h", ".", "it"]);
  assert.equal(ptbTokens("www.org/www.orgco x\n"), ["www.org/www.orgco", "x"]);
  assert.equal(ptbTokens("a.com/b.com?c=d, x\n"), ["a.com/b.com?c=d", ",", "x"]);
  assert.equal(ptbTokens("www.a.bc? Yes\n"), ["www.a.bc", "?", "yes"]);
});

test.run();
