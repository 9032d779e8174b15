// A resampler on a card. What a layer launches, forward and in both directions, kernel by kernel: each is some microseconds of a card whatever it
// computes. Counted by the emulator in a process of its own, as what a second layer adds to one. And the whole of it in one graph.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { device, noGrad, scope } from "../../lib/index.js";
import { beyond, type Launches, launches, said, total } from "./launches.js";
import { type Asked, resampler } from "./resampler-run.js";

function ofLayer(asked: Omit<Asked, "depth">): Launches {
  const [one, two] = [1, 2].map((depth) => launches("resampler-run.ts", { ...asked, depth })) as [Launches, Launches];
  return beyond(one, two);
}

// Five of bf16 forward are casts of the weights, which are f32.
for (const [dtype, forward, both] of [
  ["f32", 15, 43],
  ["bf16", 20, 56],
] as const)
  test(`${dtype}: a layer is at most ${forward} launches forward, ${both} with backward; its keys are split, its two sources not joined`, () => {
    const [ahead, all] = [false, true].map((both) => ofLayer({ dtype, backward: both })) as [Launches, Launches];
    assert.is(ahead.get("attention_kernel"), 1, said(ahead));
    assert.not(ahead.has("place_kernel") || all.has("place_kernel"), said(all)); // keys' and values' rows of one weight have one gradient
    assert.ok(total(ahead) <= forward, `${total(ahead)}: ${said(ahead)}`);
    assert.ok(total(all) <= both, `${total(all)}: ${said(all)}`);
  });

test("all layers in one graph, on what the features are then, with the bits that they have one op at a time", async () => {
  const d = device("emulated");
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

test.run();
