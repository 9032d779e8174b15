// Training from nothing: a language model that learns a text by heart, towers that learn which colour has which name, and what the loop promises.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Draw } from "../../lib/data/draw.js";
import { LlamaForCausalLM, Tensor, Weights } from "../../lib/index.js";
import { parseClipTextConfig, parseClipVisionConfig } from "../../lib/models/clip-config.js";
import { ClipTextModel } from "../../lib/models/clip-text.js";
import { ClipVisionModel } from "../../lib/models/clip-vision.js";
import { parseLlamaConfig } from "../../lib/models/llama-config.js";
import { type ContrastiveBatch, contrastive } from "../../lib/train/contrastive.js";
import { language, type TextRow } from "../../lib/train/language.js";
import { optimize } from "../../lib/train/optimize.js";
import { here } from "../case.js";

const llama = (seed = 1) =>
  new LlamaForCausalLM(
    Weights.fresh({ device: here, trainable: true, seed }),
    parseLlamaConfig({
      vocab_size: 40,
      hidden_size: 32,
      intermediate_size: 48,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      max_position_embeddings: 24,
    }),
  );
const ROWS: TextRow[] = [{ ids: [1, 5, 9, 7, 30, 2] }, { ids: [1, 6, 9, 8, 31, 31, 4, 2] }];

async function losses(model: LlamaForCausalLM, steps: number, rows = ROWS): Promise<number[]> {
  const all: number[] = [];
  for await (const { loss } of language(model, { steps, learningRate: 1e-2, batch: () => rows })) all.push(loss);
  return all;
}

test("a language model learns two texts by heart, and memory returns to where it was", async () => {
  const model = llama();
  await losses(model, 2);
  await here.synchronize();
  const before = here.memory();
  const all = await losses(model, 60);
  await here.synchronize();
  const after = here.memory();
  assert.is(all.length, 60);
  // Of twelve targets the two behind <s> cost ln 2 each: nobody can know which text comes.
  assert.ok(all.at(-1)! < 0.2, `the last loss is ${all.at(-1)}`);
  assert.is(after.tensors, before.tensors);
  assert.is(after.bytesInUse, before.bytesInUse);
  model.dispose();
});

test("labels choose what is learned", async () => {
  const [first, second] = [llama(), llama()];
  const masked = ROWS.map(({ ids }) => ({ ids, labels: ids.map((id, t) => (t < 3 ? -100 : id)) }));
  const [whole] = await losses(first, 1);
  const [part] = await losses(second, 1, masked);
  assert.not.equal(whole, part);
  first.dispose();
  second.dispose();
});

test("the same seed trains to the same bits", async () => {
  const runs = [llama(3), llama(3)];
  const [a, b] = [await losses(runs[0]!, 5), await losses(runs[1]!, 5)];
  assert.equal(a, b);
  for (const model of runs) model.dispose();
});

test("a row longer than the context is refused with its length", async () => {
  const model = llama();
  const long = [{ ids: new Array<number>(25).fill(3) }];
  await losses(model, 1, long).then(
    () => assert.unreachable(),
    (error) => {
      assert.is(error.code, "E_VALUE");
      assert.match(error.message, /2 to 24 tokens.*25/);
    },
  );
  model.dispose();
});

test("an abort ends the loop with its reason and leaves nothing behind", async () => {
  const model = llama();
  await losses(model, 1);
  await here.synchronize();
  const { tensors } = here.memory();
  const controller = new AbortController();
  const seen: number[] = [];
  const run = async () => {
    const options = { steps: 50, learningRate: 1e-3, batch: () => ROWS, signal: controller.signal };
    for await (const { step } of language(model, options)) if (seen.push(step) === 3) controller.abort(new Error("enough"));
  };
  await run().then(
    () => assert.unreachable(),
    (error) => assert.is(error.message, "enough"),
  );
  assert.equal(seen, [1, 2, 3]);
  await here.synchronize();
  assert.is(here.memory().tensors, tensors);
  model.dispose();
});

test("a loss beyond all numbers stops the run and names the step", async () => {
  const w = Tensor.from([1], [1], { device: here, requiresGrad: true });
  const { scale } = await import("../../lib/ops/index.js");
  const run = async () => {
    for await (const _ of optimize([["w", w]], (step) => ({ loss: scale(scale(w, 3e38), step === 2 ? 3e38 : 1e-38), items: 1 }), {
      steps: 5,
      learningRate: 0.1,
    }));
  };
  await run().then(
    () => assert.unreachable(),
    (error) => {
      assert.is(error.code, "E_DIVERGED");
      assert.match(error.message, /step 3/);
    },
  );
  w.dispose();
});

/** Plain squares of four colours and their names. */
const COLORS = [
  [1, -1, -1],
  [-1, 1, -1],
  [-1, -1, 1],
  [1, 1, -1],
];
function batch(draw: Draw): ContrastiveBatch {
  const data = new Float32Array(4 * 3 * 64);
  for (const [n, color] of COLORS.entries())
    for (const [c, value] of color.entries()) for (let i = 0; i < 64; ++i) data[(n * 3 + c) * 64 + i] = value + 0.3 * draw.normal();
  return { media: { data, shape: [4, 3, 8, 8] }, captions: COLORS.map((_, n) => [10 + n, 19]) };
}

test("contrastive training tells colours by their names, and trains only what is open", async () => {
  const vision = new ClipVisionModel(
    Weights.fresh({ device: here, trainable: true, seed: 1 }),
    parseClipVisionConfig({
      model_type: "clip_vision_model",
      hidden_size: 16,
      intermediate_size: 32,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      image_size: 8,
      patch_size: 4,
      projection_dim: 8,
    }),
  );
  const text = new ClipTextModel(
    Weights.fresh({ device: here, trainable: true, seed: 2 }),
    parseClipTextConfig({
      model_type: "clip_text_model",
      hidden_size: 16,
      intermediate_size: 32,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      vocab_size: 20,
      max_position_embeddings: 4,
      eos_token_id: 19,
      projection_dim: 8,
    }),
  );
  text.requiresGrad(false);
  const frozen = await Promise.all(text.parameters().map((p) => p.data()));
  const logitScale = Tensor.from([2.6592], [1], { device: here, requiresGrad: true });
  const all: number[] = [];
  const draw = new Draw(1, "squares");
  for await (const { loss } of contrastive({
    encoder: vision,
    text,
    logitScale,
    steps: 60,
    learningRate: 5e-3,
    batch: () => batch(draw),
  }))
    all.push(loss);
  assert.ok(all[0]! > 0.8, `chance is ln 4, the first loss ${all[0]}`);
  assert.ok(all.at(-1)! < 0.1, `the last loss is ${all.at(-1)}`);
  assert.equal(await Promise.all(text.parameters().map((p) => p.data())), frozen);
  assert.not.equal(await logitScale.item(), Math.fround(2.6592));
  for (const part of [vision, text, logitScale]) part.dispose();
});

test("a batch without a caption for each medium is refused", async () => {
  const logitScale = Tensor.from([1], [1], { device: here, requiresGrad: true });
  const none = { media: { data: new Float32Array(4), shape: [2, 2] }, captions: [[1]] };
  const run = async () => {
    const towers = { encoder: llama() as never, text: llama() as never };
    for await (const _ of contrastive({ ...towers, logitScale, steps: 1, learningRate: 1, batch: () => none }));
  };
  await run().then(
    () => assert.unreachable(),
    (error) => assert.match(error.message, /one caption per medium, 2, got 1/),
  );
  logitScale.dispose();
});

test.run();
