// CLIP's image tower against transformers, at its own picture size and at others, and the whole model.
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import { Tensor } from "../../lib/core/tensor.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { saveSafetensors } from "../../lib/io/safetensors.js";
import { ClipModel } from "../../lib/models/clip.js";
import { parseClipConfig, parseClipTextConfig, parseClipVisionConfig } from "../../lib/models/clip-config.js";
import { ClipTextModel } from "../../lib/models/clip-text.js";
import { ClipVisionModel } from "../../lib/models/clip-vision.js";
import { ConfigError, readConfig } from "../../lib/models/config.js";
import { StateError } from "../../lib/nn/module.js";
import { Weights } from "../../lib/nn/weights.js";
import { contrastiveLoss, l2Normalize, sum } from "../../lib/ops/index.js";
import { Case, caseNames, here, near } from "../case.js";
import { some } from "../some.js";
import { code, disposeAll, noise, parameterGradients, reloaded, sameOneByOne, settles, trainedOnce } from "./encoders.js";
import { fresh, TEXTS, tiny } from "./tiny-clip.js";

for (const name of caseNames(/^clip-vision/)) {
  const c = new Case(name);
  const load = () => ClipVisionModel.fromPretrained(c.folder, { device: here });

  test(`${name}: every hidden state, and the embedding`, async () => {
    using model = load();
    using x = c.tensor("out.pixel_values");
    for (const key of some(c.names("out.hidden_states."))) {
      const layer = Number(key.split(".").at(-1));
      const out = model.forward(x, { layer });
      await c.close(key, out.hidden);
      const fromTheEnd = model.forward(x, { layer: layer - model.config.layers - 1 });
      assert.equal(await fromTheEnd.hidden.data(), await out.hidden.data());
      disposeAll(out, fromTheEnd);
    }
    const out = model.forward(x);
    await c.close("out.last_hidden_state", out.hidden);
    await c.close("out.image_embeds", out.embeds);
    assert.equal(out.pooled.shape, [x.shape[0], model.width]);
    assert.equal(out.embeds.shape, [x.shape[0], model.embedDim]);
    disposeAll(out);
  });

  if (c.has("in.other.pixel_values"))
    test(`${name}: a picture of another size`, async () => {
      using model = load();
      using x = c.tensor("in.other.pixel_values");
      const out = model.forward(x);
      await c.close("out.other.last_hidden_state", out.hidden);
      await c.close("out.other.image_embeds", out.embeds);
      disposeAll(out);
    });

  if (c.names("grad.").length)
    test(`${name}: gradients of the stated scalar`, async () => {
      using model = ClipVisionModel.fromPretrained(c.folder, { device: here, trainable: true });
      await trainedOnce(c, model);
    });

  test(`${name}: bf16 stays near f32`, async () => {
    using model = ClipVisionModel.fromPretrained(c.folder, { device: here, dtype: "bf16" });
    using x = c.tensor("out.pixel_values");
    const out = model.forward(x);
    assert.is(out.embeds.dtype, "bf16");
    const want = c.values("out.image_embeds") as Float32Array;
    const [got, rms] = [await out.embeds.data(), Math.sqrt(want.reduce((s, v) => s + v * v, 0) / want.length)];
    const error = Math.sqrt(want.reduce((s, v, i) => s + (v - got[i]!) ** 2, 0) / want.length);
    assert.ok(error < 0.05 * rms, `bf16 is off by ${error / rms} of the embedding`);
    disposeAll(out);
  });
}

for (const name of caseNames(/^clip-pair/)) {
  const c = new Case(name);

  test(`${name}: both towers trained against each other`, async () => {
    using model = ClipModel.fromPretrained(c.folder, { device: here, trainable: true });
    using x = c.tensor("in.pixel_values");
    const [image, text] = [model.vision.forward(x), model.text.forward(c.info.rows)];
    await c.close("out.image_embeds", image.embeds);
    await c.close("out.text_embeds", text.embeds);
    const loss = scope(() => contrastiveLoss(l2Normalize(image.embeds), l2Normalize(text.embeds), model.logitScale));
    await c.close("out.loss", loss);
    backward(loss);
    for (const [key, p] of model.namedParameters()) {
      await c.close(`grad.${key}`, p.grad!);
      p.grad!.dispose();
    }
    disposeAll(image, text, { loss });
  });

  test(`${name}: the image tower saved alone, without a projection`, async () => {
    using model = ClipVisionModel.fromPretrained(join(c.folder, "vision_only"), { device: here });
    using x = c.tensor("in.pixel_values");
    const out = model.forward(x);
    await c.close("out.vision_only.last_hidden_state", out.hidden);
    await c.close("out.vision_only.pooler_output", out.pooled);
    assert.equal(await out.embeds.data(), await out.pooled.data());
    disposeAll(out);
  });
}

test("a whole CLIPModel is read, saved and read again, and its towers alone agree with it", async () => {
  const whole = caseNames(/^clip-vision/)
    .map((name) => new Case(name))
    .filter((c) => c.json().model_type === "clip");
  assert.ok(whole.length, "no case holds both towers");
  for (const c of whole) {
    using model = ClipModel.fromPretrained(c.folder, { device: here });
    using checkpoint = Checkpoint.open(c.folder);
    assert.equal([...model.namedParameters()].map(([name]) => name).sort(), [...checkpoint.names()].sort());
    assert.equal(model.logitScale.shape, []);
    await reloaded(model, async (folder) => {
      using again = ClipModel.fromPretrained(folder, { device: here });
      using vision = ClipVisionModel.fromPretrained(folder, { device: here });
      using text = ClipTextModel.fromPretrained(folder, { device: here });
      assert.equal(again.config, model.config);
      assert.equal(await again.logitScale.data(), await model.logitScale.data());
      using x = c.tensor("out.pixel_values");
      const { vocabSize, maxPositions, eosTokenId } = model.config.text;
      const rows = [0, 1, 2].map((n) => [
        ...Array.from({ length: maxPositions - 1 - n }, (_, t) => (3 + 5 * n + 7 * t) % vocabSize),
        eosTokenId,
      ]);
      const [a, b, s] = [model.vision.forward(x), again.vision.forward(x), vision.forward(x)];
      const [ta, tb, ts] = [model.text.forward(rows), again.text.forward(rows), text.forward(rows)];
      assert.equal(await b.embeds.data(), await a.embeds.data());
      assert.equal(await s.embeds.data(), await a.embeds.data());
      assert.equal(await tb.embeds.data(), await ta.embeds.data());
      assert.equal(await ts.embeds.data(), await ta.embeds.data());
      disposeAll(a, b, s, ta, tb, ts);
    });
  }
});

for (const [what, projectionDim] of [
  ["with its projection", 6],
  ["without a projection", undefined],
] as const)
  test(`an image tower ${what} is saved and read with the same bits`, async () => {
    using model = new ClipVisionModel(fresh(), { ...tiny.vision, projectionDim });
    await reloaded(model, async (folder) => {
      using again = ClipVisionModel.fromPretrained(folder, { device: here });
      assert.equal(again.config, model.config);
      assert.is(again.embedDim, projectionDim ?? 8);
      using x = noise([2, 3, 8, 8], 1);
      const [a, b] = [model.forward(x), again.forward(x)];
      assert.equal(await b.hidden.data(), await a.hidden.data());
      assert.equal(await b.embeds.data(), await a.embeds.data());
      disposeAll(a, b);
    });
  });

test("position ids, which old checkpoints keep, are no weights", async () => {
  using model = new ClipModel(fresh(), tiny);
  await reloaded(model, async (folder) => {
    const ids = { dtype: "I64", shape: [1, 5], data: BigInt64Array.from([0n, 1n, 2n, 3n, 4n]) } as const;
    const old = ["vision_model", "text_model"].map((tower) => [`${tower}.embeddings.position_ids`, ids] as const);
    await saveSafetensors(join(folder, "model.safetensors"), [...model.namedParameters(), ...old]);
    for (const kind of [ClipModel, ClipVisionModel, ClipTextModel]) kind.fromPretrained(folder, { device: here }).dispose();
    await saveSafetensors(join(folder, "model.safetensors"), [...model.namedParameters(), ["stranger", ids]]);
    using vision = ClipVisionModel.fromPretrained(folder, { device: here });
    assert.ok(vision.leftover.includes("stranger") && !vision.leftover.some((name) => name.endsWith("position_ids")), `${vision.leftover}`);
    for (const kind of [ClipModel, ClipTextModel])
      assert.throws(
        () => kind.fromPretrained(folder, { device: here }),
        (e: unknown) => e instanceof StateError && e.message.includes("stranger"),
      );
  });
});

test("a batch is its items one by one", async () => {
  using model = new ClipModel(fresh(), tiny);
  await sameOneByOne(noise([3, 3, 8, 12], 2), (x) => model.vision.forward(x));
  const all = model.text.forward(TEXTS);
  assert.equal(all.embeds.shape, [3, 6]);
  const [together, width] = [await all.embeds.data(), model.text.embedDim];
  for (const [n, row] of TEXTS.entries()) {
    const one = model.text.forward([row]);
    near(await one.embeds.data(), together.slice(n * width, (n + 1) * width), 2e-6, `text ${n}`);
    disposeAll(one);
  }
  disposeAll(all);
});

// The whole model's gradients are clip-pair's; here is what transformers' loss does not reach.
test("gradients through a hidden state and a stretched position table agree with central differences", async () => {
  using model = new ClipVisionModel(fresh(true), tiny.vision);
  using x = noise([2, 3, 8, 12], 3);
  await parameterGradients(model, () => ({ ...model.forward(x, { layer: 1 }) }), 7);
});

test("memory is what it was after inference, training and disposal", async () => {
  await settles(async () => {
    using model = new ClipModel(fresh(true), tiny);
    using x = noise([2, 3, 8, 8], 4);
    const loss = scope(() => {
      const [image, text] = [model.vision.forward(x, { layer: 0 }), model.text.forward(TEXTS.slice(0, 2))];
      return contrastiveLoss(l2Normalize(image.embeds), l2Normalize(text.embeds), model.logitScale);
    });
    backward(loss);
    for (const p of model.parameters()) {
      assert.ok(p.grad);
      p.grad?.dispose();
    }
    disposeAll({ loss });
  });
});

test("a model read for training trains, a frozen one records nothing", () => {
  const c = new Case(caseNames(/^clip-vision/)[0] as string);
  using model = ClipVisionModel.fromPretrained(c.folder, { device: here });
  using x = c.tensor("out.pixel_values");
  const out = model.forward(x);
  assert.not(out.embeds.requiresGrad);
  disposeAll(out);
  using open = ClipVisionModel.fromPretrained(c.folder, { device: here, dtype: "bf16", trainable: true });
  assert.is(open.trainable().length, open.parameters().length);
  const loss = scope(() => sum(open.forward(x).embeds));
  backward(loss);
  for (const p of open.parameters()) {
    assert.is(p.dtype, "f32");
    assert.is(p.grad?.dtype, "f32");
    p.grad?.dispose();
  }
  disposeAll({ loss });
});

test("configurations that do not fit name the key", () => {
  const folder = caseNames(/^clip-vision/)
    .map((name) => new Case(name))
    .find((c) => c.json().model_type === "clip")!.folder;
  const json = readConfig(folder);
  const key = (run: () => unknown) => {
    try {
      run();
    } catch (error) {
      if (error instanceof ConfigError) return error.key;
    }
    return undefined;
  };
  const vision = json.vision_config as Record<string, unknown>;
  assert.is(
    key(() => parseClipVisionConfig({ ...json, model_type: "siglip", vision_config: { ...vision, model_type: "siglip_vision_model" } })),
    "model_type",
  );
  assert.is(
    key(() => parseClipVisionConfig({ ...json, vision_config: 3 })),
    "vision_config",
  );
  assert.is(
    key(() => parseClipVisionConfig({ ...json, vision_config: { ...vision, num_attention_heads: 7 } })),
    "num_attention_heads",
  );
  assert.is(
    key(() => parseClipVisionConfig({ ...json, vision_config: { ...vision, patch_size: 0 } })),
    "patch_size",
  );
  assert.is(
    key(() => parseClipVisionConfig({ ...json, vision_config: { ...vision, hidden_act: "toString" } })),
    "hidden_act",
  );
  assert.is(
    key(() => parseClipVisionConfig({ ...json, vision_config: { ...vision, layer_norm_eps: "1e-5" } })),
    "layer_norm_eps",
  );
  assert.is(
    key(() => parseClipTextConfig({ model_type: "clip_text_model", vocab_size: 20, eos_token_id: 20 })),
    "eos_token_id",
  );
  assert.is(
    key(() => parseClipConfig({ ...json, model_type: "clip_vision_model" })),
    "model_type",
  );
  // The weights are of another size than the configuration.
  using checkpoint = Checkpoint.open(folder);
  const config = parseClipVisionConfig({ ...json, vision_config: { ...vision, intermediate_size: 1 } });
  assert.throws(
    () => new ClipVisionModel(Weights.from(checkpoint, { device: here }), config),
    (e: unknown) => e instanceof StateError,
  );
  const fewer = parseClipVisionConfig({ ...json, vision_config: { ...vision, num_hidden_layers: 1 } });
  assert.throws(
    () => new ClipVisionModel(Weights.from(checkpoint, { device: here }), fewer),
    (e: unknown) => e instanceof StateError,
  );
});

test("inputs that do not fit are refused in words", () => {
  using model = new ClipModel(fresh(), tiny);
  using flat = Tensor.zeros([3, 8, 8], { device: here });
  using gray = Tensor.zeros([1, 1, 8, 8], { device: here });
  using small = Tensor.zeros([1, 3, 3, 8], { device: here });
  using x = Tensor.zeros([1, 3, 8, 8], { device: here });
  for (const bad of [flat, gray, small])
    assert.is(
      code(() => model.vision.forward(bad)),
      "E_SHAPE",
    );
  for (const layer of [3, -4, 0.5])
    assert.is(
      code(() => model.vision.forward(x, { layer })),
      "E_VALUE",
    );
  assert.is(
    code(() => model.text.forward([[1, 2, 3]])),
    "E_VALUE",
  );
  assert.is(
    code(() => model.text.forward([])),
    "E_SHAPE",
  );
  assert.is(
    code(() => model.text.forward([[1, 2, 3, 4, 5, 6, 7, 10]])),
    "E_SHAPE",
  );
});

test.run();
