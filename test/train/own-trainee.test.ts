// A training of one's own through the loop: a model that the library does not know, its data and its loss, from the public names alone.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { add, defaultDevice, linear, mul, scale, sub, sum, Tensor, type Trainee, train } from "../../lib/index.js";

/** Rows of two numbers, and 3·a − 2·b + 1 of each. */
interface Points {
  x: readonly number[];
  y: readonly number[];
}
const pointsOf = (step: number): Points => {
  const x = Array.from({ length: 16 }, (_, i) => Math.sin(7 * i + 3 * step + (i % 2)));
  return { x, y: Array.from({ length: 8 }, (_, i) => 3 * x[2 * i]! - 2 * x[2 * i + 1]! + 1) };
};

test("a line is found by a trainee of one's own, in micro-batches, to the bit the same each time", async () => {
  const device = defaultDevice();
  const fit = async () => {
    const w = Tensor.zeros([1, 2], { device });
    const b = Tensor.zeros([1], { device });
    for (const tensor of [w, b]) tensor.requiresGrad = true;
    let on = 0;
    const trainee: Trainee<Points> = {
      parameters: [
        ["w", w],
        ["b", b],
      ],
      *losses({ x, y }) {
        for (const from of [0, 4])
          yield () => {
            const [rows, wanted] = [x.slice(2 * from, 2 * from + 8), y.slice(from, from + 4)];
            const got = add(linear(Tensor.from([...rows], [4, 2], { device }), w), b);
            const off = sub(got, Tensor.from([...wanted], [4, 1], { device }));
            return scale(sum(mul(off, off)), 1 / y.length);
          };
      },
      items: ({ y }) => y.length,
      training: (now) => {
        on += now ? 1 : -1;
      },
    };
    const losses: number[] = [];
    for await (const { loss, items } of train(trainee, { next: pointsOf }, { steps: 300, learningRate: 0.05, weightDecay: 0 })) {
      losses.push(loss);
      assert.is(items, 8);
    }
    assert.is(on, 0);
    const found = [...(await w.data()), ...(await b.data())];
    for (const tensor of [w, b]) tensor.dispose();
    return { losses, found };
  };
  const [first, second] = [await fit(), await fit()];
  assert.ok(first.losses.at(-1)! < 1e-3 * first.losses[0]!, `${first.losses[0]} to ${first.losses.at(-1)}`);
  for (const [i, want] of [3, -2, 1].entries()) assert.ok(Math.abs(first.found[i]! - want) < 0.05, `${first.found}`);
  assert.equal(second, first);
});

test.run();
