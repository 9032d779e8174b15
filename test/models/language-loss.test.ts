// Next-token cross entropy: from logits, and from a hidden state through a head without ever holding all logits.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward } from "../../lib/core/autograd.js";
import { Tensor } from "../../lib/core/tensor.js";
import { countTargets, languageLoss, shifted } from "../../lib/models/language-loss.js";
import { softmaxCrossEntropy, sum } from "../../lib/ops/index.js";
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

test("labels of another shape are refused", () => {
  assert.throws(() => shifted([[1, 2]], 1, 3, -100), /3 labels in row 0, got 2/);
  assert.throws(() => shifted([[1, 2]], 2, 2, -100), /2 rows, got 1/);
});

test.run();
