// Exact answers: what counts as the same, and the shares per kind.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isExact, normalizeAnswer, scoreExact } from "../../lib/eval/exact.js";

test("case, blanks and marks at the end do not count; anything else does", () => {
  assert.is(normalizeAnswer("  A  red\n circle. "), "a red circle");
  assert.is(normalizeAnswer("Yes !?"), "yes");
  assert.is(normalizeAnswer("3.5"), "3.5");
  assert.is(normalizeAnswer("..."), "");
  assert.ok(isExact({ answer: "Red.", correct: "red" }));
  assert.ok(isExact({ answer: "two", correct: ["2", "Two"] }));
  assert.not.ok(isExact({ answer: "red circle", correct: "red" }));
  assert.not.ok(isExact({ answer: "a red", correct: "red" }));
  assert.not.ok(isExact({ answer: "", correct: "" }));
  assert.not.ok(isExact({ answer: " .", correct: "!" }));
});

test("shares of all and of each kind", () => {
  const scores = scoreExact([
    { kind: "colour", answer: "red", correct: "red" },
    { kind: "count", answer: "3", correct: "2" },
    { kind: "colour", answer: "Blue.", correct: "blue" },
    { kind: "colour", answer: "blue", correct: "green" },
    { answer: "left", correct: "left" },
  ]);
  assert.equal(scores, {
    right: 3,
    count: 5,
    exact: 3 / 5,
    kinds: { colour: { right: 2, count: 3, exact: 2 / 3 }, count: { right: 0, count: 1, exact: 0 } },
  });
  assert.throws(() => scoreExact([]), /at least one answer/);
});

test.run();
