// Results that no cache holds are written past the caches: every element is where it belongs, at every level.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Tensor } from "../../lib/index.js";
import { transposeCopy } from "../../lib/ops/index.js";
import { levels } from "../harness.js";

const test = suite("large transposes");

/** Of place i: a number that its neighbours do not have, exact in bf16. */
const at = (i: number): number => (Math.imul(i, 0x9e3779b1) >>> 25) - 64 || 64.5;

for (const [dtype, rows, columns] of [
  ["f32", 2080, 2117],
  ["bf16", 2912, 2945],
] as const)
  test(`${rows} x ${columns} of ${dtype}`, async () => {
    const x = Float32Array.from({ length: rows * columns }, (_, i) => at(i));
    for (const [level, on] of levels()) {
      const from = Tensor.from(x, [rows, columns], { device: on, dtype });
      const to = transposeCopy(from, 0, 1);
      const y = (await to.data()) as Float32Array;
      let wrong = y.length === x.length ? 0 : 1;
      for (let j = 0; j < columns; ++j) for (let i = 0; i < rows; ++i) if (y[j * rows + i] !== x[i * columns + j]) ++wrong;
      assert.is(wrong, 0, `${level}: ${wrong} of ${x.length} are elsewhere`);
      from.dispose();
      to.dispose();
    }
  });

test.run();
