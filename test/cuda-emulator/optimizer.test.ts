// An optimiser on a card: its launches, counted, and its lists of tensors in device memory, which a graph must find as they were.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { device, noGrad, Tensor } from "../../lib/index.js";
import { adamwClipped } from "../../lib/ops/index.js";
import { beyond, type Launches, launches, said, total } from "./launches.js";
import { type Asked, trained } from "./optimizer-run.js";

for (const moments of ["f32", "8bit"] as const)
  test(`${moments}: norm, clipping and the update of 448 tensors in two groups are two launches`, () => {
    const [one, three] = [1, 3].map((steps) => launches("optimizer-run.ts", { tensors: 448, steps, moments } satisfies Asked)) as [
      Launches,
      Launches,
    ];
    const step = beyond(one, three);
    assert.is(total(step), 2 * 2, said(step));
    assert.is(total(one), 2, said(one));
  });

test("a captured step updates the tensors that it was captured with, whatever lists came after it", async () => {
  const d = device("emulated");
  const values = Array.from({ length: 5000 }, (_, i) => Math.sin(i));
  const item = () => {
    const of = (scale: number) =>
      Tensor.from(
        Float32Array.from(values, (x) => x * scale),
        [5000],
        { device: d },
      );
    const zeros = (size: number, dtype: "f32" | "u8") => Tensor.zeros([size], { device: d, dtype });
    const coded = { m: zeros(5000, "u8"), v: zeros(5000, "u8"), mAbsmax: zeros(20, "f32"), vAbsmax: zeros(20, "f32") };
    return { p: of(1), grad: of(0.1), ...coded, lr: 0.01, weightDecay: 0.1, step: 1 };
  };
  const options = { beta1: 0.9, beta2: 0.999, eps: 1e-8, maxNorm: 1 };
  const [captured, plain] = [item(), item()];
  using step = d.capture(() => noGrad(() => adamwClipped([captured], options)));
  const { step: other, optimizer } = trained(d, { tensors: 4, moments: "8bit" });
  for (let i = 0; i < 12; ++i) other().dispose();
  step.replay();
  const norm = adamwClipped([plain], options);
  for (const key of ["p", "m", "v", "mAbsmax", "vAbsmax"] as const) assert.equal(await captured[key].data(), await plain[key].data(), key);
  assert.is(await step.result.item(), await norm.item());
  assert.not.equal(await captured.p.data(), Float32Array.from(values));
  // Whoever comes last with a norm's parts has left the counter as it was found.
  for (const { grad } of [captured, plain]) grad.write(values);
  step.replay();
  const next = adamwClipped([plain], options);
  assert.is(await step.result.item(), await next.item());
  assert.not.equal(await next.item(), await norm.item());
  next.dispose();
  step.result.dispose();
  optimizer.dispose();
});

test.run();
