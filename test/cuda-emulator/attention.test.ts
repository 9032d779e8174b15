// Attention's gradients on a card: how many launches they are, counted by the emulator; and their bits, for dq is handed from block to block in whatever
// order blocks come to it.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward, device, scope } from "../../lib/index.js";
import { type Asked, attentive } from "./attention-run.js";
import { launches, said, total } from "./launches.js";

const PLAIN: Asked = { dtype: "bf16", T: 70, S: 300, S2: 0, K: 1, D: 32, causal: false, biased: false };
/** In the order in which they are launched. */
const GRADIENTS = ["rows_kernel", "joint_gradients_kernel", "bias_gradients_kernel"];

for (const [name, asked, count] of [
  ["two sources, f32", { dtype: "f32", S2: 70 }, 2],
  ["wide heads, causal", { D: 128, causal: true }, 2],
  ["a bias", { biased: true }, 3],
] as [string, Partial<Asked>, number][])
  test(`${name}: gradients are ${count} launches`, () => {
    const counts = new Map(launches("attention-run.ts", { ...PLAIN, ...asked }));
    counts.delete("each_kernel"); // leaves' gradients, added to what they have
    assert.is(total(counts), 1 + count, said(counts));
    for (const kernel of ["attention_kernel", ...GRADIENTS.slice(0, count)]) assert.is(counts.get(kernel), 1, said(counts));
  });

const d = device("emulated");

for (const asked of [{ causal: true, K: 2 }, { S2: 140 }, { dtype: "f32", T: 200 }] as Partial<Asked>[])
  test(`the bits of gradients do not hang on who comes first, in a graph neither: ${JSON.stringify(asked)}`, async () => {
    const { leaves, dy, forward } = attentive(d, { ...PLAIN, ...asked });
    const pass = () =>
      scope(() => {
        const y = forward();
        backward(y, dy);
        return y.detach();
      });
    const clear = () => {
      for (const { grad } of leaves) grad?.write(new Float32Array(grad.size));
    };
    const gradients = async () => {
      await d.synchronize();
      return Promise.all(leaves.map(({ grad }) => grad!.data()));
    };
    pass().dispose();
    const want = await gradients();
    assert.ok(want.every((values) => values.some((x) => x !== 0)));
    for (let run = 0; run < 3; ++run) {
      clear();
      pass().dispose();
      assert.equal(await gradients(), want);
    }
    using step = d.capture(pass);
    for (let run = 0; run < 3; ++run) {
      clear();
      step.replay();
      assert.equal(await gradients(), want);
    }
    step.result.dispose();
  });

test.run();
