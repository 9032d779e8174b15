// Python's JSON. Expected values are those of Python 3's json.loads and json.dumps(indent=2).
import { test } from "uvu";
import * as assert from "uvu/assert";
import { formatJson, parseJson } from "../../lib/core/json.js";

test("numbers that only Python writes, and strings that spell them", () => {
  const text = '{"a": [0.0, Infinity, -Infinity], "b": NaN, "NaN": "NaN, -Infinity", "c": "say \\"NaN\\": Infinity", "d": -1e3}';
  const got = parseJson(text) as Record<string, unknown>;
  assert.equal(got.a, [0, Infinity, -Infinity]);
  assert.ok(Number.isNaN(got.b));
  assert.is(got.NaN, "NaN, -Infinity");
  assert.is(got.c, 'say "NaN": Infinity');
  assert.is(got.d, -1000);
  assert.ok(Number.isNaN(parseJson("NaN")));
  assert.equal(parseJson('\ufeff{"a": 1}'), { a: 1 });
});

test("what is no JSON of Python's either is refused", () => {
  for (const text of [
    '{"a": Infinit}',
    '{"a": nan}',
    '{"a": +Infinity}',
    '{"a": InfinityNaN}',
    "",
    '{"a": "NaN}',
    '{"a": - Infinity}',
    "{NaN: 1}",
  ])
    assert.throws(
      () => parseJson(text),
      (error: unknown) => error instanceof SyntaxError,
      text,
    );
});

test("long and odd strings take no more than their length: no stack, and no second look", () => {
  for (const inside of ["x".repeat(1e7), '\\"'.repeat(1e5)]) {
    assert.is((parseJson(`{"a": "${inside}", "b": NaN}`) as { a: string }).a, JSON.parse(`"${inside}"`));
    assert.throws(
      () => parseJson(`{"a": NaN, "b": "${inside}`),
      (error: unknown) => error instanceof SyntaxError,
    );
  }
});

test("nesting beyond 200 levels is no file's: it would break whoever walks it", () => {
  const nested = (n: number, inside = "1") => `${"[".repeat(n)}${inside}${"]".repeat(n)}`;
  parseJson(nested(200));
  parseJson(nested(199, `${JSON.stringify('[[["[[\\'.repeat(99))}${",[]".repeat(300)}`)); // brackets in strings, and beside each other
  for (const n of [201, 1e6])
    for (const text of [nested(n), nested(n, "NaN"), `{"a":${nested(n - 1)}}`, `["\\\\", ${nested(n - 1)}]`])
      assert.throws(
        () => parseJson(text),
        (error: unknown) => error instanceof SyntaxError && /deeper than 200 levels/.test(error.message),
      );
});

test("a float that is whole keeps its point where it is asked for", () => {
  const value = { ratio: 4, count: 4, part: { ratio: -0, list: [1] }, wide: 1e300, other: { ratio: 0.5 } };
  const text = '{"ratio": 4.0, "count": 4, "part": {"ratio": 0.0, "list": [1]}, "wide": 1e+300, "other": {"ratio": 0.5}}';
  const written = formatJson(value, (key, holder) => key === "ratio" && typeof holder === "object");
  assert.is(written.replace(/\s+/g, ""), text.replace(/\s+/g, ""));
});

test("written as it was read", () => {
  const value = { a: [0.5, Infinity, -Infinity], b: Number.NaN, c: "NaN", d: null };
  assert.equal(formatJson({ c: 1, d: [2] }), JSON.stringify({ c: 1, d: [2] }, null, 2));
  assert.is(formatJson(value), '{\n  "a": [\n    0.5,\n    Infinity,\n    -Infinity\n  ],\n  "b": NaN,\n  "c": "NaN",\n  "d": null\n}');
  assert.equal(parseJson(formatJson(value)), value);
});

test.run();
