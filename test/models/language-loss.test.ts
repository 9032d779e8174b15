// Next-token cross entropy: from logits, and from a hidden state through a head without ever holding all logits.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward } from "../../lib/core/autograd.js";
import { Tensor } from "../../lib/core/tensor.js";
import { countTargets, languageLoss, shifted } from "../../lib/models/language-loss.js";
import { headCrossEntropy, linear, mul, softmaxCrossEntropy, sum } from "../../lib/ops/index.js";
import { Case, caseNames, here, largest, near } from "../case.js";

for (const name of caseNames(/^optim_cross_entropy/)) {
  const c = new Case(name);
  for (const { id, B, L, V, valid_tokens, loss_mean } of c.info.subcases as {
    id: string;
    B: number;
    L: number;
    V: number;
    valid_tokens: number;
    loss_mean: number | null;
  }[]) {
    const labels = c.rows(`in.${id}.labels`);

    test(`${name}: ${id}, from logits`, async () => {
      assert.is(countTargets(labels), valid_tokens);
      const logits = c.tensor(`in.${id}.logits`, { dtype: "f32", requiresGrad: true });
      const target = Tensor.from(shifted(labels, B, L, -100), [B * L], { device: here });
      const each = softmaxCrossEntropy(logits.reshape([B * L, V]), target, -100);
      const per = c.values(`out.${id}.loss_per_position`);
      const got = (await each.data()).filter((_: number, i: number) => i % L < L - 1);
      near(got, per, 1e-5 + 1e-6 * largest(c.values(`in.${id}.logits`)), `${id}: loss per position`);
      const loss = sum(each, 1 / Math.max(1, valid_tokens));
      backward(loss);
      assert.ok(
        Math.abs((await loss.item()) - (loss_mean ?? 0)) <= 1e-6 * (loss_mean ?? 0),
        `loss ${await loss.item()}, want ${loss_mean}`,
      );
      const want = c.has(`grad.${id}.logits`) ? c.values(`grad.${id}.logits`) : new Float32Array(B * L * V);
      near(await logits.grad!.data(), want, 1e-6, `${id}: gradient`);
    });

    test(`${name}: ${id}, through a head of the identity`, async () => {
      const hidden = c.tensor(`in.${id}.logits`, { dtype: "f32", requiresGrad: true });
      const head = Tensor.from(
        Float32Array.from({ length: V * V }, (_, i) => (i % (V + 1) === 0 ? 1 : 0)),
        [V, V],
        { device: here },
      );
      const loss = languageLoss(hidden, head, labels);
      backward(loss);
      assert.ok(
        Math.abs((await loss.item()) - (loss_mean ?? 0)) <= 1e-6 * (loss_mean ?? 0),
        `loss ${await loss.item()}, want ${loss_mean}`,
      );
      const want = c.has(`grad.${id}.logits`) ? c.values(`grad.${id}.logits`) : new Float32Array(B * L * V);
      near(await hidden.grad!.data(), want, 1e-6, `${id}: gradient`);
    });
  }
}

/** A hidden state (2,6,5) and a head (7,5) that train, of numbers that are nothing in particular; `broken` rows of the hidden state are NaN. */
function smallHead(dtype: "f32" | "bf16", broken: readonly number[] = []) {
  const wave = (n: number, from: number) => Float32Array.from({ length: n }, (_, i) => Math.sin(1.7 * i + from));
  const values = wave(60, 0);
  for (const row of broken) values.fill(Number.NaN, row * 5, row * 5 + 5);
  const of = (data: Float32Array, shape: number[]) => Tensor.from(data, shape, { device: here, dtype, requiresGrad: true });
  return { hidden: of(values, [2, 6, 5]), head: of(wave(35, 2), [7, 5]) };
}

const PARTLY = [
  [-100, -100, 3, 1, -100, 6],
  [-100, 0, -100, -100, 2, -100],
];

for (const dtype of ["f32", "bf16"] as const)
  test(`scored rows have the loss and the gradient that they have among all rows, ${dtype}`, async () => {
    const [a, b] = [smallHead(dtype), smallHead(dtype)];
    const target = Tensor.from(shifted(PARTLY, 2, 6, -100), [12], { device: here });
    const want = headCrossEntropy(a.hidden.reshape([12, 5]), a.head, target, { scale: 1 / 5 });
    const got = languageLoss(b.hidden, b.head, PARTLY);
    backward(want);
    backward(got);
    near(await got.data(), await want.data(), 1e-6, "loss");
    assert.equal(await b.hidden.grad!.data(), await a.hidden.grad!.data(), "the hidden state's, to the bit");
    near(await b.head.grad!.data(), await a.head.grad!.data(), 1e-6, "the head's");
  });

test("what nobody scores does not go through the head", async () => {
  const whole = smallHead("f32");
  const broken = smallHead("f32", [0, 3, 5, 7, 8]);
  const losses = [whole, broken].map(({ hidden, head }) => languageLoss(hidden, head, PARTLY));
  for (const loss of losses) backward(loss);
  const [want, got] = [await losses[0]!.data(), await losses[1]!.data()];
  assert.equal(got, want);
  assert.equal(await broken.head.grad!.data(), await whole.head.grad!.data());
  assert.equal(await broken.hidden.grad!.data(), await whole.hidden.grad!.data());
});

test("weights: the mean that they weigh, of the loss and of the gradients; 0 leaves a label out; twice as much of all is the same to the bit", async () => {
  const weights = [
    [9, 9, 0.5, 2, 9, 1],
    [9, 1, 9, 9, 0, 9],
  ];
  const [a, b, c, d] = [smallHead("f32"), smallHead("f32"), smallHead("f32"), smallHead("f32")];
  const target = Tensor.from(shifted(PARTLY, 2, 6, -100), [12], { device: here });
  const each = softmaxCrossEntropy(linear(a.hidden.reshape([12, 5]), a.head), target, -100);
  const own = Float32Array.of(0, 0.5, 2, 0, 1, 0, 1, 0, 0, 0, 0, 0); // of the target that stands there
  const want = sum(mul(each, Tensor.from(own, [12], { device: here })), 1 / 4.5);
  const got = languageLoss(b.hidden, b.head, PARTLY, { weights });
  for (const loss of [want, got]) backward(loss);
  near(await got.data(), await want.data(), 1e-6, "loss");
  near(await b.hidden.grad!.data(), await a.hidden.grad!.data(), 1e-6, "the hidden state's");
  near(await b.head.grad!.data(), await a.head.grad!.data(), 1e-6, "the head's");
  const twos = PARTLY.map((row) => row.map(() => 2));
  const [even, plain] = [languageLoss(c.hidden, c.head, PARTLY, { weights: twos }), languageLoss(d.hidden, d.head, PARTLY)];
  for (const loss of [even, plain]) backward(loss);
  assert.equal(await even.data(), await plain.data());
  assert.equal(await c.head.grad!.data(), await d.head.grad!.data());
  const none = languageLoss(c.hidden, c.head, PARTLY, { weights: PARTLY.map((row) => row.map(() => 0)) });
  assert.is(await none.item(), 0);
});

test("a batch without a scored token: loss 0, and gradients of zeros", async () => {
  const { hidden, head } = smallHead("f32");
  const loss = languageLoss(hidden, head, [new Int32Array(6).fill(-100), new Int32Array(6).fill(-100)]);
  backward(loss);
  assert.is(await loss.item(), 0);
  for (const { grad } of [hidden, head]) assert.ok((await grad!.data()).every((g: number) => g === 0));
});

test("labels of another shape are refused", () => {
  assert.throws(() => shifted([[1, 2]], 1, 3, -100), /3 labels in row 0, got 2/);
  assert.throws(() => shifted([[1, 2]], 2, 2, -100), /2 rows, got 1/);
});

test.run();
