// JSON in pieces against JSON.parse: the same value whatever the size of a piece, the same error for what is no JSON, and no piece is large.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { atOnce } from "../../lib/core/turns.js";
import { keysOf, parsedJson } from "../../lib/io/json-pieces.js";
import { random } from "../harness.js";

const test = suite("JSON in pieces");
const bytesOf = (text: string): Uint8Array => Buffer.from(text);
const SIZES = [1, 2, 7, 40, 300];

/** A value as deep and as wide as chance has it. */
function drawn(next: () => number, depth = 0): unknown {
  const pick = (n: number) => Math.floor(((next() + 1) / 2) * n);
  const size = depth < 5 ? pick(9) : 0;
  switch (pick(depth < 5 ? 8 : 5)) {
    case 0:
      return next();
    case 1:
      return pick(2) === 0;
    case 2:
      return null;
    case 3:
      return 'a"b\\c]}[{,:\n\u00e9\u{1f600}'.slice(pick(10));
    case 4:
      return pick(1e6);
    case 5:
      return Array.from({ length: size }, () => drawn(next, depth + 1));
    default:
      return Object.fromEntries(
        Array.from({ length: size }, (_, i) => [['k"', "7", "\\", "", "__proto__"][pick(5)] ?? `k${i}`, drawn(next, depth + 1)]),
      );
  }
}

const outcome = (read: () => unknown): string => {
  try {
    const value = read();
    return `${JSON.stringify(value)} ${Object.getOwnPropertyNames(value ?? 0)}`;
  } catch (error) {
    return `${(error as Error).name}: ${(error as Error).message}`;
  }
};

test("values of any form, in pieces of any size", () => {
  const next = random(5);
  let divided = 0;
  for (let i = 0; i < 400; ++i) {
    const value = drawn(next);
    const text = JSON.stringify(value, null, i % 3);
    for (const size of SIZES) {
      assert.is(
        outcome(() => atOnce(parsedJson(bytesOf(text), JSON.parse, size))),
        outcome(() => JSON.parse(text)),
        text,
      );
      divided += Number([...parsedJson(bytesOf(text), JSON.parse, size)].length > 0);
    }
  }
  assert.ok(divided > 500, `${divided} were divided`);
});

test("one byte too few, too many or another: JSON.parse's own error, or its value", () => {
  const next = random(6);
  const pick = (n: number) => Math.floor(((next() + 1) / 2) * n);
  let refused = 0;
  for (let i = 0; i < 1500; ++i) {
    const text = JSON.stringify([drawn(next), { a: drawn(next) }], null, i % 2);
    const at = pick(text.length);
    const changed = text.slice(0, at) + ["", ",", "]", "}", "[", '"', "\\", "x", " "][pick(9)] + text.slice(at + pick(2));
    const wrong = Buffer.from(changed).toString(); // half a surrogate pair is no UTF-8
    const right = outcome(() => JSON.parse(wrong));
    refused += Number(right.startsWith("SyntaxError"));
    for (const size of SIZES)
      assert.is(
        outcome(() => atOnce(parsedJson(bytesOf(wrong), JSON.parse, size))),
        right,
        wrong,
      );
  }
  assert.ok(refused > 500, `${refused} were refused`);
  for (const text of [
    "",
    " ",
    "[",
    "]",
    "[1,]",
    "[,1]",
    '{"a":1,}',
    '{"a"}',
    "[1]]",
    "[1]x",
    "{}{}",
    "[[1],,[2]]",
    '{"a":[1,2]"b":1}',
    "\ufeff[1]",
  ])
    for (const size of SIZES)
      assert.is(
        outcome(() => atOnce(parsedJson(bytesOf(text), JSON.parse, size))),
        outcome(() => JSON.parse(text)),
        text,
      );
});

test("a key that stands twice has its last value, and is one key", () => {
  const text = `{${Array.from({ length: 60 }, (_, i) => `"k${i % 40}":${i}`).join()}}`;
  const value = atOnce(parsedJson(bytesOf(text), JSON.parse, 40)) as object;
  assert.equal(value, JSON.parse(text));
  assert.equal(keysOf(value), Object.keys(JSON.parse(text)));
});

/** What goes through JSON.parse, text by text. */
function parsed(text: string): { value: unknown; read: number[] } {
  const parse = JSON.parse;
  const read: number[] = [];
  JSON.parse = (some: string) => {
    read.push(some.length);
    return parse(some);
  };
  try {
    return { value: atOnce(parsedJson(bytesOf(text))), read };
  } finally {
    JSON.parse = parse;
  }
}

test("nothing is read more than a piece at a time, nor twice", () => {
  const words = Object.fromEntries(Array.from({ length: 30_000 }, (_, i) => [`word${i}`, i]));
  const flat = JSON.stringify({ version: "1", model: { words, merges: Object.keys(words).map((word) => [word, word]) }, end: [[[{}]]] });
  const deep = `${"[1,".repeat(199)}[${"1,".repeat(50_000)}1]${"]".repeat(199)}`;
  for (const text of [flat, deep]) {
    const { value, read } = parsed(text);
    assert.ok(read.length > 5, `${read.length} pieces`);
    assert.ok(Math.max(...read) <= 2 ** 14 + 100, `${Math.max(...read)} bytes at once`);
    assert.ok(read.reduce((a, b) => a + b, 0) <= 1.1 * text.length + 100);
    assert.equal(value, JSON.parse(text));
  }
  assert.throws(() => parsed(`[${deep}]`), /deeper than 200 levels/);
});

test.run();
