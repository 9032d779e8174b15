// Cuts without sorting everything, against sorting everything.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { cutSmallest, kthLargest } from "../../lib/generate/buckets.js";
import { softmax } from "../../lib/generate/logits.js";

/** Logits of all signs and sizes; in every other row many are equal. */
function rows(): Float32Array[] {
  let state = 12345;
  const random = () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return state / 2 ** 32;
  };
  return Array.from({ length: 60 }, (_, r) =>
    Float32Array.from({ length: 1 + (r % 7) * 173 }, () => {
      const x = (random() - 0.6) * 10 ** ((r % 5) - 2);
      return r % 2 ? Math.round(x) : random() < 0.1 ? -Infinity : x;
    }),
  );
}

test("the k-th largest is where sorting puts it", () => {
  for (const row of rows()) {
    const sorted = row.slice().sort();
    for (const k of [1, 2, 5, row.length >> 1, row.length].filter((k) => k >= 1 && k <= row.length))
      assert.is(kthLargest(row, k), sorted[sorted.length - k], `${k} of ${row.length}`);
  }
});

test("of values in ascending order go those whose weights add up to the limit, the first of equal ones first, and the largest stays", () => {
  for (const row of rows().filter((row) => row.some((v) => v > -Infinity)))
    for (const p of [1e-9, 0.1, 0.5, 0.9, 0.99]) {
      const weights = softmax(row);
      const order = Array.from(row, (_, i) => i).sort((a, b) => (row[a] as number) - (row[b] as number) || a - b);
      let sum = 0;
      const want = row.slice();
      for (const i of order.slice(0, -1)) {
        sum += weights[i] as number;
        if (sum > 1 - p) break;
        want[i] = -Infinity;
      }
      cutSmallest(row, weights, 1 - p);
      assert.is(row.join(), want.join());
    }
});

test("what is not a number neither hangs nor throws", () => {
  const row = Float32Array.of(1, Number.NaN, 3);
  cutSmallest(row, softmax(row), 0.5);
  assert.ok(Number.isNaN(kthLargest(Float32Array.of(1, Number.NaN, 3), 1)));
});

test.run();
