// k micro-batches give the gradient of the full batch: against the fixture, and as a property over random windows.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import { Tensor } from "../../lib/core/tensor.js";
import { countTargets, languageLoss } from "../../lib/models/language-loss.js";
import { activation, linear } from "../../lib/ops/index.js";
import { accumulate } from "../../lib/train/accumulation.js";
import { Case, caseNames, here, largest, near } from "../case.js";

interface Subcase {
  id: string;
  B: number;
  L: number;
  D: number;
  loss_mean: number;
  micro_batches: { rows: number[]; valid_tokens: number }[];
}

for (const name of caseNames(/^optim_accumulation/)) {
  const c = new Case(name);
  for (const { id, L, D, loss_mean, micro_batches } of c.info.subcases as Subcase[]) {
    test(`${name}: ${id}`, async () => {
      const P = c.tensor(`in.${id}.P`, { requiresGrad: true });
      const W = c.tensor(`in.${id}.W`, { requiresGrad: true });
      const labels = c.rows(`in.${id}.labels`);
      const h = c.values(`in.${id}.h`) as Float32Array;
      const tokensOf = ({ rows }: { rows: number[] }) => countTargets(rows.map((b) => labels[b]!));
      let total = 0;
      for (const { batch, windowTokens, tokens } of accumulate(micro_batches, micro_batches.length, tokensOf)) {
        assert.is(tokens, batch.valid_tokens);
        const x = Tensor.from(
          Float32Array.from(batch.rows.flatMap((b) => Array.from(h.subarray(b * L * D, (b + 1) * L * D)))),
          [batch.rows.length, L, D],
          { device: here },
        );
        const loss = scope(() =>
          languageLoss(
            activation(linear(x, P), "tanh"),
            W,
            batch.rows.map((b) => labels[b]!),
            { windowTokens },
          ),
        );
        backward(loss);
        total += await loss.item();
      }
      assert.ok(Math.abs(total - loss_mean) <= 1e-6 * loss_mean, `loss ${total} instead of ${loss_mean}`);
      for (const [tensor, key] of [
        [P, "dP"],
        [W, "dW"],
      ] as const) {
        const want = c.values(`out.${id}.${key}`);
        near(await tensor.grad!.data(), want, 1e-5 * largest(want), `${name}: ${id} ${key}`);
      }
    });
  }
}

test("windows: every batch once, in order, with its window's tokens; the last window may be short", () => {
  for (const [n, k] of [
    [0, 3],
    [1, 3],
    [6, 3],
    [7, 3],
    [5, 1],
    [2, 9],
  ] as const) {
    const batches = Array.from({ length: n }, (_, i) => i + 1);
    const seen = [...accumulate(batches, k, (tokens) => tokens)];
    assert.equal(
      seen.map(({ batch }) => batch),
      batches,
    );
    for (const [i, { windowTokens, last, tokens }] of seen.entries()) {
      const window = batches.slice(Math.floor(i / k) * k, Math.floor(i / k) * k + k);
      assert.is(
        windowTokens,
        window.reduce((a, b) => a + b, 0),
      );
      assert.is(tokens, batches[i]);
      assert.is(last, i % k === k - 1 || i === n - 1);
    }
  }
});

test("a window of no size is refused", () => {
  assert.throws(() => [...accumulate([1], 0, () => 1)], /micro-batches/);
});

test.run();
