// The sum over a row of large logits is itself a large number, whose last place in f32 is 1e-4 at 2000: probabilities and losses do not lose that much.
// Held against double precision.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward } from "../../lib/core/autograd.js";
import { Tensor } from "../../lib/core/tensor.js";
import { headCrossEntropy, softmaxCrossEntropy } from "../../lib/ops/index.js";
import { here, near } from "../case.js";
import { random } from "../harness.js";

interface Row {
  logits: Float32Array;
  target: number;
  loss: number;
  /** softmax - onehot. */
  gradient: number[];
}

function row(count: number, shift: number, scale: number, seed: number): Row {
  const draw = random(seed);
  const logits = Float32Array.from({ length: count }, () => shift + scale * draw());
  logits[1] = Math.fround(Math.max(...logits) - 0.7); // a rival of the largest, so that not all is 0 or 1
  const most = Math.max(...logits);
  const terms = Array.from(logits, (x) => Math.exp(x - most));
  const total = terms.reduce((a, b) => a + b, 0);
  const target = seed % count;
  return {
    logits,
    target,
    loss: most + Math.log(total) - (logits[target] as number),
    gradient: terms.map((term, j) => term / total - Number(j === target)),
  };
}
const SHAPES = [37, 128, 2603].flatMap((count) => [0, 1000, -3000].map((shift) => [count, shift] as const));
const CASES = SHAPES.flatMap(([count, shift]) => [1, 300].map((scale, i) => row(count, shift, scale, 11 * count + shift + i + 4000)));

const ids = (target: number) => Tensor.from(Int32Array.of(target), [1], { device: here });
function close(loss: Float32Array, gradient: Float32Array, want: Row): void {
  near(loss, Float32Array.of(want.loss), 1e-6 * Math.max(1, want.loss), "loss");
  near(gradient, Float32Array.from(want.gradient), 1e-6, "gradient");
}

test("softmaxCrossEntropy", async () => {
  for (const want of CASES) {
    const logits = Tensor.from(want.logits, [1, want.logits.length], { device: here, requiresGrad: true });
    const loss = softmaxCrossEntropy(logits, ids(want.target));
    backward(loss, Tensor.full([1], 1, { device: here }));
    close((await loss.data()) as Float32Array, (await logits.grad!.data()) as Float32Array, want);
  }
});

test("headCrossEntropy, whose logits are the head's own numbers", async () => {
  for (const want of CASES) {
    const x = Tensor.full([1, 1], 1, { device: here });
    const w = Tensor.from(want.logits, [want.logits.length, 1], { device: here, requiresGrad: true });
    const loss = headCrossEntropy(x, w, ids(want.target));
    backward(loss);
    close((await loss.data()) as Float32Array, (await w.grad!.data()) as Float32Array, want);
    assert.is(loss.size, 1);
  }
});

test.run();
