// User-defined pieces, which stay whole: the longest that begins at a place (google/sentencepiece, src/normalizer.cc, PrefixMatcher), however many there are.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Piece, PieceType, SentencePiece } from "../../lib/text/sentencepiece.js";
import { Trie } from "../../lib/text/trie.js";

const [NORMAL, USER] = [PieceType.Normal, PieceType.UserDefined];
const unknown: Piece = { text: "<unk>", score: 0, type: PieceType.Unknown };
function model(...pieces: [string, PieceType][]): SentencePiece {
  const known = pieces.map(([text, type], i): Piece => ({ text, score: -i, type }));
  return new SentencePiece({ pieces: [unknown, ...known], byteFallback: false, dummyPrefix: false, collapseSpaces: false });
}
const textsOf = (tokens: SentencePiece, text: string) => tokens.encode(text).map((id) => tokens.pieceOf(id));

test("the longest counts, wherever it stands in the file, and does not merge", () => {
  const tokens = model(
    ["ab", USER],
    ["abcd", USER],
    ["abc", USER],
    ["a", NORMAL],
    ["b", NORMAL],
    ["c", NORMAL],
    ["ca", NORMAL],
    ["d", NORMAL],
  );
  assert.equal(textsOf(tokens, "abcdabcabab"), ["abcd", "abc", "ab", "ab"]);
  assert.equal(textsOf(tokens, "caabd"), ["ca", "ab", "d"]);
  assert.equal(textsOf(tokens, "abca"), ["abc", "a"], "what is behind one merges without it");
  assert.equal(textsOf(tokens, "axb"), ["a", "<unk>", "b"]);
  const wide = model(["\u{1f600}\u{1f601}", USER], ["\u{1f600}", USER], ["\u{1f602}", NORMAL], ["", USER]);
  assert.equal(textsOf(wide, "\u{1f600}\u{1f601}\u{1f600}\u{1f602}\u{1f603}"), ["\u{1f600}\u{1f601}", "\u{1f600}", "\u{1f602}", "<unk>"]);
});

test("a hundred thousand that begin alike: a place costs the characters that agree, not the pieces", () => {
  const names = Array.from({ length: 100_000 }, (_, i) => `<image_${i}>`);
  const tokens = model(["<", NORMAL], ...names.map((name): [string, PieceType] => [name, USER]));
  assert.equal(tokens.encode("<image_77><image_7><<image_99999>"), [2 + 77, 2 + 7, 1, 2 + 99_999]);
  assert.equal(new Set(tokens.encode("<".repeat(20_000))), new Set([1]));

  const trie = new Trie<number>();
  for (const [i, name] of names.slice(0, 20_000).entries()) trie.add(name, i);
  const text = "<image_123456<image_12>";
  assert.equal(trie.longest(text, 0), { value: undefined, to: 0, looked: "<image_12345".length + 1 });
  assert.equal(trie.longest(text, 13), { value: 12, to: text.length, looked: "<image_12>".length });
});

test("pieces that overlap in each place of a text, and more of them than memory holds, are refused", () => {
  const tokens = model(["a", NORMAL], [`${"a".repeat(5000)}b`, USER]);
  assert.is(tokens.encode("a".repeat(200)).length, 200);
  assert.throws(
    () => tokens.encode("a".repeat(20_000)),
    (error: Error) => /user-defined pieces that are told apart by their beginnings/.test(error.message),
  );
  assert.throws(
    () => model(["x".repeat(2 ** 21), USER]),
    (error: Error & { code: string }) => error.code === "E_TOKENIZER" && /user-defined pieces of at most/.test(error.message),
  );
});

test.run();
