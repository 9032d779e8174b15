// Expressions of strangers: the matches are RegExp's, and the steps grow with the text, whatever the expression.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Pattern, PatternFault } from "../../lib/core/regex/pattern.js";
import { Random } from "../../tools/fuzz/random.js";

// biome-ignore format: a table
const ATOMS = ["a", "b", "\\s", "\\S", "\\w", "\\d", "\\p{L}", "[ab]", "[^a]", ".", "\\n", "é", "😀", "[😀-😂b]", "\\u{1F600}", "\\x61", "\\ud83d\\ude00", "(?:)", "\\b", "\\B", "^", "$"];
// biome-ignore format: a table
const PLAIN = ["a", "b", "\\s", "\\w", "\\d", "[ab]", "[^a]", ".", "\\.", "\\_", "\\-", "]", "}", "{", "\\x61", "\\p", "(?:)", "\\b", "\\B", "^", "$"];
const LETTERS = ["a", "a", "a", "b", "b", " ", "\n", "1", "é", "😀", "😁", ".", "x", "_", "-", "\ud83d", "\ude00"];

function expression(random: Random, depth: number, unicode: boolean): string {
  const inner = () => expression(random, depth - 1, unicode);
  const times = () => random.pick(["", "*", "+", "?", "{0,2}", "{2}", "{1,}", "{1,3}", "{0}", "*?", "+?", "??", "{1,3}?", "{1,}?"]);
  const again = (part: string) => part + times();
  const kind = depth > 0 ? random.below(10) : 0;
  const atom = random.pick(unicode ? ATOMS : PLAIN);
  if (kind < 2) return atom;
  if (kind === 2) return /^(\\[bB]|\^|\$|\{)$/.test(atom) ? atom : again(atom);
  if (kind < 5) return inner() + inner();
  if (kind < 7) return `(?:${inner()}|${inner()})`;
  if (kind === 7) return again(`(?:${inner()})`);
  if (kind === 8) return again(`(${inner()}|${random.chance(0.3) ? "" : inner()})`);
  return `(?${random.pick(["=", "!", "<=", "<!"])}${inner()})`;
}

test("4000 expressions over 16 000 texts have RegExp's matches", () => {
  let compared = 0;
  for (let i = 0; i < 4000; ++i) {
    const random = new Random(29, i);
    const unicode = random.chance(0.6);
    const source = expression(random, 4, unicode);
    let theirs: RegExp;
    try {
      theirs = new RegExp(source, unicode ? "gu" : "g");
    } catch {
      assert.throws(() => new Pattern(source, unicode), (error: Error) => error instanceof PatternFault); // biome-ignore format: one line
      continue;
    }
    const ours = new Pattern(source, unicode);
    for (let n = 0; n < 4; ++n) {
      const text = Array.from({ length: random.below(14) }, () => random.pick(LETTERS)).join("");
      const wanted = Array.from(text.matchAll(theirs), (match) => [match.index, match.index + match[0].length] as const);
      // V8 looks for \B between the halves of a character too, where the language does not.
      if (unicode && wanted.flat().some((at) => /[\ud800-\udbff]$/.test(text.slice(0, at)) && /^[\udc00-\udfff]/.test(text.slice(at))))
        continue;
      assert.equal([...ours.matches(text)], wanted, `${source} over ${JSON.stringify(text)}`);
      compared += 1;
    }
  }
  assert.ok(compared > 15_000);
});

/** Steps for every match of a text. */
function steps(source: string, text: string): number {
  const pattern = new Pattern(source, true);
  for (const _ of pattern.matches(text));
  return pattern.steps;
}

test("twice the text takes twice the steps, where RegExp takes four times or two to its length", () => {
  for (const source of ["(a+)+$", "a+b", "(a|aa)+$", "(?=.*b)a", "(?=.*c)a", "(.*)*(.*)*x", "((((a*)*)*)*)*b", "(?<=b.*)a", "(a|b|ab)*c"]) {
    const [once, twice] = [500, 1000].map((length) => steps(source, `${"a".repeat(length)}b`)) as [number, number];
    assert.ok(twice < 2.1 * once, `${source}: ${once}, then ${twice} steps`);
    assert.ok(once < 100 * 500, `${source}: ${once} steps`);
  }
});

test("what cannot be bounded is refused", () => {
  const refused: [string, RegExp][] = [
    ["(a)\\1", /refers back/],
    ["(?<x>a)\\k<x>", /refers back/],
    ["((a{100}){100}){100}", /repeats more than/],
    ["(?:){99999}", /repeats more than/],
    [`${"(".repeat(300)}a${")".repeat(300)}`, /more than 200 deep/],
    ["a".repeat(9000), /more than 8192/],
    [Array.from({ length: 300 }, (_, i) => `[${String.fromCodePoint(0x4e00 + i)}]`).join(""), /200 sets/],
    [`${"(?:a*".repeat(12)}${")*".repeat(12)}`, /loops within loops/],
    ["(a", /Invalid regular expression/],
  ];
  for (const [source, words] of refused)
    assert.throws(() => new Pattern(source, true), (error: Error) => error instanceof PatternFault && words.test(error.message)); // biome-ignore format: one line
  const slow = new Pattern(`(?:${"a?".repeat(900)})*b`, true);
  assert.throws(() => slow.test("a".repeat(5000)), (error: Error) => error instanceof PatternFault && /steps|far/.test(error.message)); // biome-ignore format: one line
});

test.run();
