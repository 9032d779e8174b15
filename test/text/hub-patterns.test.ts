// Split and Replace of tokenizer.json: what tokenizers makes of the matches, and expressions that JavaScript's own engine never ends with.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tokenizer as HubTokenizer } from "@huggingface/tokenizers";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { boundStep, type PatternStep } from "../../lib/text/hub-patterns.js";
import { PUBLISHED } from "../../lib/text/published-splits.js";
import { Tokenizer } from "../../lib/text/tokenizer.js";
import { caseFolder } from "../case.js";

type Step = ((text: string) => string | string[]) & PatternStep;

/** The steps as the package makes them, then as they are used here. */
function steps(pattern: object, { behavior = "Isolated", invert = false, content = "" } = {}): [split: Step, replace: Step] {
  const { normalizer, pre_tokenizer } = new HubTokenizer(
    {
      model: { type: "BPE", vocab: {}, merges: [] },
      added_tokens: [],
      normalizer: { type: "Replace", pattern, content },
      pre_tokenizer: { type: "Split", pattern, behavior, invert },
      post_processor: null,
      decoder: null,
    },
    {},
  );
  const both = [pre_tokenizer, normalizer] as unknown as [Step, Step];
  for (const step of both) boundStep(step);
  return both;
}

const TEXT = "a1b22 c,-3";
/** By tokenizers 0.23.2: pre_tokenizers.Split(Regex(r"(\d)+"), behavior, invert).pre_tokenize_str(TEXT). */
const WORDS: readonly (readonly [behavior: string, invert: boolean, words: readonly string[]])[] = [
  ["Isolated", false, ["a", "1", "b", "22", " c,-", "3"]],
  ["Removed", false, ["a", "b", " c,-"]],
  ["MergedWithPrevious", false, ["a1", "b22", " c,-3"]],
  ["MergedWithNext", false, ["a", "1b", "22 c,-", "3"]],
  ["Contiguous", false, ["a", "1", "b", "22", " c,-", "3"]],
  ["Removed", true, ["1", "22", "3"]],
  ["MergedWithPrevious", true, ["a", "1b", "22 c,-", "3"]],
  ["MergedWithNext", true, ["a1", "b22", " c,-3"]],
];

test("words of each behaviour, groups in the expression or not", () => {
  for (const [behavior, invert, words] of WORDS)
    for (const Regex of ["(\\d)+", "\\d+"])
      assert.equal(steps({ Regex }, { behavior, invert })[0](TEXT), words, `${behavior}, invert ${invert}`);
  assert.equal(steps({ String: "b" }, { behavior: "Removed" })[0](TEXT), ["a1", "22 c,-3"]);
});

// Replace(Regex("^"), "_") of tokenizers 0.23.2, whose Oniguruma begins no line behind a last line feed.
test("a line begins behind a line feed, but not behind the last one", () => {
  const [, mark] = steps({ Regex: "^" }, { content: "_" });
  assert.equal(["a\n", "a\nb", "\n\n", "a"].map(mark), ["_a\n", "_a\n_b", "_\n_\n", "_a"]);
});

test("what replaces a match is taken by its letters", () => {
  assert.is(steps({ Regex: "\\d" }, { content: "$&$1" })[1](TEXT), "a$&$1b$&$1$&$1 c,-$&$1");
});

test("a text that replacing makes too long is refused before it is made", () => {
  const [, replace] = steps({ String: "a" }, { content: "b".repeat(1 << 20) });
  assert.throws(() => replace("a".repeat(100)), /more than \d+ characters of one of 100/);
});

test("published splits have the words of the same expression run in counted steps", () => {
  const text = `It's 2024, WE'LL see:  日本 ｱ\n\n  naïve\r\n x=1;\t🙂🙂 <a>{b}${" ".repeat(40)}end ${"'".repeat(30)}`;
  for (const Regex of PUBLISHED) {
    const [fast] = steps({ Regex });
    const [counted] = steps({ Regex: `(?:${Regex})` });
    assert.equal(fast(text), counted(text), Regex);
  }
});

test("an expression of a stranger's tokenizer.json cannot hold up encode()", () => {
  const folder = mkdtempSync(join(tmpdir(), "anymal-patterns-"));
  try {
    cpSync(caseFolder("tokenizer-llama3"), folder, { recursive: true });
    const json = JSON.parse(readFileSync(join(folder, "tokenizer.json"), "utf8"));
    const text = `${"a".repeat(43)}b`;
    for (const Regex of ["(a+)+$", "(a|aa)+$", "(?=(a+)+c)b", "([a-z]+)*[!?]"]) {
      const split = { type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false };
      const pre = { type: "Sequence", pretokenizers: [split, { type: "ByteLevel", add_prefix_space: false, use_regex: false }] };
      writeFileSync(join(folder, "tokenizer.json"), JSON.stringify({ ...json, pre_tokenizer: pre }));
      const tokenizer = Tokenizer.fromPretrained(folder);
      assert.is(tokenizer.decode(tokenizer.encode(text, { addSpecialTokens: false })), text);
    }
    for (const Regex of ["(a)\\1", "(?:a{200}){200}"]) {
      writeFileSync(
        join(folder, "tokenizer.json"),
        JSON.stringify({ ...json, pre_tokenizer: { type: "Split", pattern: { Regex }, behavior: "Isolated" } }),
      );
      assert.throws(() => Tokenizer.fromPretrained(folder), (error: { code?: string }) => error.code === "E_TOKENIZER"); // biome-ignore format: one line
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
