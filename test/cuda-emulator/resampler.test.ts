// A resampler on a card. What a layer launches, forward and in both directions, kernel by kernel: each is some microseconds of a card whatever it
// computes. Counted by the emulator in a process of its own, as what a second layer adds to one. And the whole of it in one graph.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward, device, noGrad, scope } from "../../lib/index.js";
import { beyond, type Launches, launches, said, total } from "./launches.js";
import { type Asked, resampler } from "./resampler-run.js";

function ofLayer(asked: Omit<Asked, "depth">): Launches {
  const [one, two] = [1, 2].map((depth) => launches("resampler-run.ts", { ...asked, depth })) as [Launches, Launches];
  return beyond(one, two);
}

const [FORWARD, BACKWARD] = [8, 12];
for (const dtype of ["f32", "bf16"] as const)
  test(`${dtype}: a layer is at most ${FORWARD} launches forward and ${BACKWARD} backward; its keys are split, its two sources not joined`, () => {
    const [ahead, all] = [false, true].map((both) => ofLayer({ dtype, backward: both })) as [Launches, Launches];
    assert.is(ahead.get("attention_kernel"), 1, said(ahead));
    assert.not(ahead.has("place_kernel") || all.has("place_kernel"), said(all)); // keys' and values' rows of one weight have one gradient
    assert.ok(total(ahead) <= FORWARD, `${total(ahead)}: ${said(ahead)}`);
    assert.ok(total(all) <= FORWARD + BACKWARD, `${total(all)}: ${said(all)}`);
  });

const d = device("emulated");

test("all layers in one graph, on what the features are then, with the bits that they have one op at a time", async () => {
  const { model, x } = resampler(d, { depth: 2, dtype: "bf16" });
  const forward = () => noGrad(() => scope(() => model.forward(x)));
  using warm = forward();
  const before = await warm.data();
  using step = d.capture(forward);
  const other = Float32Array.from(await x.data(), (v) => 1 - v);
  x.write(other);
  step.replay();
  using want = forward();
  assert.equal(await step.result.data(), await want.data());
  assert.not.equal(await want.data(), before);
  step.result.dispose();
});

for (const dtype of ["f32", "bf16"] as const)
  test(`${dtype}: all layers in both directions in one graph, gradients too with the bits that they have one op at a time`, async () => {
    const { model, x, grad } = resampler(d, { depth: 2, dtype });
    x.requiresGrad = true;
    const pass = () =>
      scope(() => {
        const y = model.forward(x);
        backward(y, grad);
        return y.detach();
      });
    const leaves = () => [x, ...model.trainable()].map((t) => t.grad!);
    const gradients = async () => {
      await d.synchronize();
      return Promise.all(leaves().map((g) => g.data()));
    };
    const clear = () => {
      for (const g of leaves()) g.write(new Float32Array(g.size));
    };
    pass().dispose(); // makes the gradients, outside of the graph
    using step = d.capture(pass);
    x.write(Float32Array.from(await x.data(), (v) => 1 - v));
    clear();
    using want = pass();
    const [values, wanted] = [await want.data(), await gradients()];
    assert.ok(wanted.every((g) => g.some((v) => v !== 0)));
    for (let run = 0; run < 2; ++run) {
      clear();
      step.replay();
      assert.equal(await step.result.data(), values);
      assert.equal(await gradients(), wanted);
    }
    step.result.dispose();
  });

test.run();
