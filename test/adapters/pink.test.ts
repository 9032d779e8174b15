// PINK's adapters in an image tower, whose features are those of layer -2 without the class token, and in a language model: values, gradients, files.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { fresh } from "../../lib/adapters/adapter-files.js";
import { loadAdapter } from "../../lib/adapters/load-adapter.js";
import { PINK } from "../../lib/adapters/pink.js";
import { backward, noGrad } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import type { Tensor } from "../../lib/core/tensor.js";
import { ClipVisionModel } from "../../lib/models/clip-vision.js";
import { recomputeIn } from "../../lib/models/encoder.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { sliceCopy } from "../../lib/ops/index.js";
import { Case, caseNames, here } from "../case.js";
import { some } from "../some.js";

for (const name of caseNames(/^pink-vit/)) {
  const c = new Case(name);
  const tower = () => ClipVisionModel.fromPretrained(join(c.folder, "vision"), { device: here });
  const features = (model: ClipVisionModel, x: Tensor) =>
    scope(() => {
      const { hidden } = model.forward(x, { layer: -2, through: "hidden" });
      return sliceCopy(hidden, 1, 1, hidden.shape[1]! - 1);
    });
  const seen = async (model: ClipVisionModel, x: Tensor) => {
    const y = noGrad(() => features(model, x));
    const values = (await y.data()) as Float32Array;
    y.dispose();
    return values;
  };

  for (const recompute of [false, true])
    test(`${name}: features and gradients${recompute ? ", blocks run again" : ""}`, async () => {
      using model = tower();
      using x = c.tensor("in.pixel_values");
      using g = c.tensor("in.grad_y");
      recomputeIn(model, recompute);
      using base = noGrad(() => features(model, x));
      await c.close("out.base.features", base);
      const adapter = await loadAdapter(model, c.folder, { trainable: true });
      assert.equal([...adapter.namedParameters()].map(([key]) => key).sort(), Object.keys(c.info.adapter_keys).sort());
      using y = features(model, x);
      await c.close("out.features", y);
      backward(y, g);
      const own = new Map(adapter.namedParameters());
      for (const key of some(c.names("grad."))) await c.close(key, own.get(key.slice(5))!.grad!);
      for (const p of own.values()) p.grad?.dispose();
    });

  test(`${name}: fresh it changes nothing, switched off and taken off neither; what is saved is what was loaded`, async () => {
    using model = tower();
    using x = c.tensor("in.pixel_values");
    const bare = await seen(model, x);
    const first = fresh(PINK, "a test", model, { hidden: 4, layers: [0, 1] });
    assert.equal(await seen(model, x), bare);
    first.detach();
    const adapter = await loadAdapter(model, c.folder);
    const adapted = await seen(model, x);
    assert.not.equal(adapted, bare);
    adapter.enabled = false;
    assert.equal(await seen(model, x), bare);
    adapter.enabled = true;
    const folder = mkdtempSync(join(tmpdir(), "anymal-pink-"));
    try {
      await adapter.save(folder);
      adapter.detach();
      assert.equal(await seen(model, x), bare);
      await loadAdapter(model, folder);
      assert.equal(await seen(model, x), adapted);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}

for (const name of caseNames(/^pink-adapter/)) {
  const c = new Case(name);
  test(`${name}: logits, loss and gradients; equal to the base model at first`, async () => {
    using model = LlamaForCausalLM.fromPretrained(c.base, { device: here });
    const mask = c.rows("in.attention_mask");
    const input = { inputIds: c.rows("in.input_ids"), attentionMask: mask };
    const logits = () => noGrad(() => model.forward(input)).logits!;
    using base = logits();
    await c.close("out.base.logits", base, { mask });
    const first = fresh(PINK, "a test", model, { hidden: 3 });
    using init = logits();
    assert.equal(await init.data(), await base.data());
    first.detach();
    const adapter = await loadAdapter(model, c.folder, { trainable: true });
    const { logits: got, loss } = model.forward(input, { labels: c.rows("in.labels"), logits: "all" });
    await c.close("out.logits", got!, { mask });
    await c.close("out.loss", loss!);
    backward(loss!);
    const own = new Map(adapter.namedParameters());
    for (const key of some(c.names("grad."))) await c.close(key, own.get(key.slice(5))!.grad!);
    for (const t of [got!, loss!, ...Array.from(own.values(), (p) => p.grad!)]) t.dispose();
  });
}

test("dropout is in training alone, and none where it is 0", async () => {
  const c = new Case(caseNames(/^pink-adapter/)[0]!);
  using model = LlamaForCausalLM.fromPretrained(c.base, { device: here });
  const logits = async () => {
    using y = noGrad(() => model.forward({ inputIds: c.rows("in.input_ids") })).logits!;
    return y.data();
  };
  for (const p of [0.5, 0]) {
    const adapter = fresh(PINK, "a test", model, { hidden: 8, dropout: p });
    for (const [, tensor] of adapter.namedParameters()) tensor.write(Float32Array.from({ length: tensor.size }, (_, i) => Math.cos(i)));
    const asked = await logits();
    assert.equal(await logits(), asked);
    adapter.train();
    const one = await logits();
    assert.is(String(one) === String(asked), p === 0);
    assert.is(String(await logits()) === String(one), p === 0, "drawn anew");
    adapter.train(false);
    assert.equal(await logits(), asked);
    adapter.detach();
  }
});

test("what fits no layer is refused", () => {
  using model = ClipVisionModel.fromPretrained(join(new Case(caseNames(/^pink-vit/)[0]!).folder, "vision"), { device: here });
  for (const options of [{ layers: [7] }, { hidden: 0 }, { rank: 3 }, { layers: [] }])
    assert.throws(
      () => fresh(PINK, "a test", model, options),
      (e: unknown) => (e as { code?: string }).code === "E_ADAPTER",
    );
});

test.run();
