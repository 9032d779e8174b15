// The tape: what has no op of its own on it (aliases of leaves, functions that hand back what they were given) gets its gradients all the same.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward, checkpoint, noGrad } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import { Tensor } from "../../lib/core/tensor.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { mul, sum } from "../../lib/ops/index.js";
import { Case, caseNames, here } from "../case.js";
import { withFault } from "../faults.js";

const leaf = (values: readonly number[]) => Tensor.from(values, [values.length], { device: here, requiresGrad: true });
const gradient = async (t: Tensor): Promise<number[] | undefined> => {
  const values = t.grad && Array.from(await t.grad.data());
  t.grad?.dispose();
  t.grad = undefined;
  return values;
};

test("what arrives at an alias is its leaf's", async () => {
  using w = leaf([1, 2, 3]);
  const loss = scope(() => sum(mul(w.alias(), w)));
  backward(loss);
  loss.dispose();
  assert.equal(await gradient(w), [2, 4, 6]);
  using plain = noGrad(() => w.alias());
  assert.not(plain.requiresGrad);
  using constant = Tensor.from([1], [1], { device: here });
  using other = constant.alias();
  assert.not(other.requiresGrad);
});

test("the first hidden state of embeddings that train leads back to them", async () => {
  using llm = LlamaForCausalLM.fromPretrained(new Case(caseNames(/^llama2$/)[0]!).folder, { device: here });
  const { hiddenSize } = llm.config;
  using x = Tensor.full([1, 2, hiddenSize], 0.5, { device: here, requiresGrad: true });
  const out = llm.forward({ inputsEmbeds: x }, { outputHiddenStates: true });
  const loss = scope(() => sum(out.hiddenStates![0]!));
  backward(loss);
  assert.equal(await gradient(x), new Array(2 * hiddenSize).fill(1));
  for (const tensor of [loss, out.logits!, ...out.hiddenStates!]) tensor.dispose();
});

for (const [name, fn] of [
  ["its input", (w: Tensor, _x: Tensor) => w],
  ["another input, which wants no gradient", (_w: Tensor, x: Tensor) => x],
  ["a view of its input", (w: Tensor, _x: Tensor) => w.reshape([3])],
] as const)
  test(`a checkpointed function that hands back ${name}: gradients as without, and the input is left alone`, async () => {
    const [withIt, without] = await Promise.all(
      [true, false].map(async (on) => {
        using w = leaf([1, 2, 3]);
        using x = Tensor.from([4, 5, 6], [3], { device: here });
        const loss = scope(() => sum(mul(on ? checkpoint(fn, w, x) : fn(w, x), mul(w, w))));
        backward(loss);
        loss.dispose();
        assert.ok(w.isParameter && !x.requiresGrad && !w.disposed && !x.disposed);
        return gradient(w);
      }),
    );
    assert.equal(withIt, without);
  });

test("a checkpointed function that hands back a parameter of its own", async () => {
  using w = leaf([1, 2, 3]);
  const { tensors } = here.memory();
  const loss = scope(() =>
    sum(
      mul(
        checkpoint(() => w),
        w,
      ),
    ),
  );
  backward(loss);
  loss.dispose();
  assert.ok(w.isParameter);
  assert.equal(await gradient(w), [2, 4, 6]);
  assert.is(here.memory().tensors, tensors);
});

test("a backward that fails before its first step has freed the tape, as one that fails later has", async () => {
  using w = leaf([1, 2, 3]);
  const { tensors } = here.memory();
  for (const step of [1, 2]) {
    const loss = scope(() => sum(mul(w, w)));
    const { error } = await withFault(step, "now", () => backward(loss));
    loss.dispose();
    assert.is((error as { code?: string }).code, "E_OUT_OF_MEMORY");
    assert.is(here.memory().tensors, tensors, `step ${step}`);
  }
});

test.run();
