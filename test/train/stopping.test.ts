// Runs that stop, go on and fail: bit for bit as if nothing had happened, and never a ruined checkpoint over a good one.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import type { AssembleOptions } from "../../lib/anymal/options.js";
import { noGrad, record } from "../../lib/core/autograd.js";
import { seed } from "../../lib/core/random.js";
import { Tensor } from "../../lib/core/tensor.js";
import type { FeatureCache } from "../../lib/data/feature-cache.js";
import type { Row } from "../../lib/data/row.js";
import { SafetensorsFile } from "../../lib/io/safetensors.js";
import { image } from "../../lib/media/image.js";
import { copy } from "../../lib/ops/index.js";
import { type AlignOptions, align } from "../../lib/train/align.js";
import { instruct } from "../../lib/train/instruct.js";
import { readRecipe, recipe } from "../../lib/train/recipe.js";
import { captions, colors, square, type Toy, toy } from "../anymal/toy.js";
import { here } from "../case.js";
import { ALIGN, all, assembledIn, RUN_FILES, rejection, weights } from "./stages.js";

const test = suite("stopping");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const assembled = (more: Partial<AssembleOptions> = {}) => assembledIn(world, more);

test("a stopped run goes on and ends where an unbroken one does, bit for bit", async () => {
  const options = { ...ALIGN, schedule: "cosine", microBatch: 2, batch: 3, data: captions(2), steps: 12, saveEvery: 5 } as const;
  using whole = await assembled();
  const unbroken = await all(align(whole, { ...options, output: world.path("whole") }));

  const output = world.path("broken");
  const losses: number[] = [];
  for (const stop of [4, 7, Infinity]) {
    seed(stop); // the state of other draws does not matter
    using model = await assembled();
    const controller = new AbortController();
    for await (const { step, loss } of align(model, { ...options, output, resume: true, signal: controller.signal })) {
      losses[step] = loss;
      if (step === stop) controller.abort();
    }
    if (stop === Infinity) assert.equal(await weights(model), await weights(whole));
  }
  const state = JSON.parse(readFileSync(join(output, "checkpoint/trainer_state.json"), "utf8"));
  assert.is(state.step, 12);
  const lines = readFileSync(join(output, "log.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const last = new Map(lines.map((line) => [line.step, line.loss]));
  for (const { step, loss } of unbroken) if (losses[step] !== undefined) assert.is(losses[step], loss, `step ${step}`);
  assert.is(last.get(12), unbroken.at(-1)!.loss);
});

test("stage 2 resumes too: dropout, LoRA and 8-bit moments", async () => {
  const options = {
    data: captions(2),
    lora: { r: 8, alpha: 16, dropout: 0.2 },
    steps: 6,
    batch: 2,
    learningRate: 1e-3,
    optimizer: "adamw8bit",
    seed: 3,
  } as const;
  using whole = await assembled();
  await all(instruct(whole, options));
  const output = world.path("broken-2");
  {
    using model = await assembled();
    for await (const { step } of instruct(model, { ...options, output })) if (step === 2) break;
  }
  const { step } = JSON.parse(readFileSync(join(output, "checkpoint/trainer_state.json"), "utf8"));
  assert.ok(step >= 2 && step < 6, `saved at ${step}`);
  using model = await assembled();
  const rest = await all(instruct(model, { ...options, output, resume: true }));
  assert.is(rest[0]!.step, step + 1);
  assert.equal(await weights(model, true), await weights(whole, true));
  using back = await AnyMAL.fromPretrained(output, { device: here });
  const asked = [["see ", square("blue")]];
  assert.equal(await back.generateAll(asked, { maxNewTokens: 5 }), await model.generateAll(asked, { maxNewTokens: 5 }));
});

test("a run's folder holds the recipe as used, the log and the checkpoint; another recipe does not resume it", async () => {
  const output = world.path("run");
  const data = world.path("data");
  mkdirSync(data);
  for (const color of colors) {
    const { data: raw, width, height } = square(color).source as { data: Uint8Array; width: number; height: number };
    await sharp(raw, { raw: { width, height, channels: 3 } })
      .png()
      .toFile(join(data, `${color}.png`));
  }
  const file = join(data, "captions.jsonl");
  writeFileSync(file, colors.map((color) => JSON.stringify({ image: `${color}.png`, caption: color })).join("\n"));
  const options: AlignOptions = { ...ALIGN, data: file, output, prompts: ["see "], steps: 3, logEvery: 2 };
  {
    using model = await assembled();
    await all(align(model, options));
  }
  assert.equal(readdirSync(output).sort(), RUN_FILES);
  const told = await readRecipe(join(output, "recipe.yaml"));
  const { modality: _, ...own } = ALIGN;
  assert.equal(told, recipe({ align: { image: { ...own, data: file, prompts: ["see "], steps: 3, logEvery: 2 } } }));
  const lines = readFileSync(join(output, "log.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.equal(
    lines.map(({ step }) => step),
    [2, 3],
  );
  for (const key of ["loss", "learning_rate", "grad_norm", "tokens_per_second", "elapsed_time", "remaining_time", "bytes_peak"])
    assert.type(lines[0][key], "number", key);

  using model = await assembled();
  const again = await rejection(() => all(align(model, options)));
  assert.is(again.code, "E_RECIPE");
  assert.match(again.message, /a folder without a run.*resume: true/);
  const other = await rejection(() => all(align(model, { ...options, learningRate: 2e-2, resume: true })));
  assert.match(other.message, /align\.image\.learningRate to be 0\.01, as in the run's recipe\.yaml, got 0\.02/);
  assert.equal(await all(align(model, { ...options, resume: true })), []);
});

test("stopping: an abort ends the loop without an error and saves; an error in the loop saves too", async () => {
  for (const way of ["abort", "throw", "before"] as const) {
    const output = world.path(`stop-${way}`);
    using model = await assembled();
    const controller = new AbortController();
    if (way === "before") controller.abort();
    let seen = 0;
    const run = async () => {
      for await (const { step } of align(model, { ...ALIGN, data: captions(), steps: 50, output, signal: controller.signal })) {
        seen = step;
        if (step < 3) continue;
        if (way === "throw") throw new Error("mine");
        controller.abort();
      }
    };
    if (way === "throw") assert.is((await rejection(run)).message, "mine");
    else await run();
    assert.ok(seen <= 5, `${way}: went on to ${seen}`);
    assert.is(existsSync(join(output, "checkpoint/anymal.json")), way !== "before");
    assert.ok(
      model
        .projector("image")
        .parameters()
        .every((p) => !p.requiresGrad && !p.grad),
    );
  }
});

test("a loop that was left leaves nothing at work: no medium is read and no row is told afterwards", async () => {
  for (const way of ["break", "throw", "return"] as const) {
    using model = await assembled();
    const { encoder } = model.encoder("image");
    const forward = encoder.forward.bind(encoder);
    let over = false;
    let late = 0;
    encoder.forward = (x, options) => {
      if (over) ++late;
      return forward(x, options);
    };
    const broken: Row = {
      where: "broken:1",
      turns: [
        { role: "user", content: [image(new Uint8Array([1]))] },
        { role: "assistant", content: ["x"] },
      ],
    };
    const cache: Pick<FeatureCache, "getOrMake"> = { getOrMake: async (_, make) => make() }; // every step encodes
    const onProblem = () => {
      if (over) ++late;
    };
    const data = [...captions(), broken];
    const options = {
      ...ALIGN,
      batch: 2,
      microBatch: 2,
      data,
      steps: 50,
      onBadRow: "skip",
      onProblem,
      cache: cache as FeatureCache,
    } as const;
    model.calibrated.add("image");
    const steps = align(model, options);
    try {
      for await (const { step } of steps) {
        if (step < 2) continue;
        if (way === "throw") throw new Error("mine");
        if (way === "return") await steps.return(undefined);
        break;
      }
    } catch {}
    over = true;
    await new Promise((done) => setTimeout(done, 50)); // what goes on would be seen by then
    assert.is(late, 0, way);
  }
});

test("a loss that is no number ends the run with a sentence, and nothing is saved over", async () => {
  const output = world.path("diverged");
  const options = { ...ALIGN, warmupSteps: 0, maxGradNorm: 0, learningRate: 1e38, data: captions(), steps: 9, output };
  // Saved after each step, the weights that the first one has ruined are found before the loss of the second.
  for (const saveEvery of [1000, 1]) {
    using model = await assembled();
    const error = await rejection(() => all(align(model, { ...options, saveEvery })));
    assert.is(error.code, "E_DIVERGED");
    assert.match(error.message, saveEvery === 1 ? /weights.*step 1/ : /loss.*step 2/);
    assert.not(existsSync(join(output, "checkpoint")));
  }
  // The first step is fine, the second, which is under way when the loop is left, is not.
  using other = await assembled();
  for await (const _ of align(other, options)) break;
  assert.not(existsSync(join(output, "checkpoint")));
});

test("a gradient or an update that is no number never takes a good checkpoint's place", async () => {
  using model = await assembled();
  const output = world.path("ruined");
  const options = { ...ALIGN, warmupSteps: 0, data: captions(), steps: 6, saveEvery: 1, output };
  const projector = model.projector("image");
  const forward = projector.forward.bind(projector);
  const calibrating = 1; // the projection's scale is measured by a forward of its own
  let calls = 0;
  // From the third step on the loss is a number and the gradient is not.
  const nothing = (shape: readonly number[]) =>
    Tensor.from(new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(Number.NaN), shape, { device: here });
  const poisoned = (y: Tensor) => {
    const { shape } = y;
    const same = noGrad(() => copy(y));
    return record(same, [y], () => () => [nothing(shape)]);
  };
  projector.forward = (x) => (++calls > 2 + calibrating ? poisoned(forward(x)) : forward(x));
  const error = await rejection(() => all(align(model, options)));
  assert.is(error.code, "E_DIVERGED");
  assert.match(error.message, /gradient.*step/);
  assert.is(JSON.parse(readFileSync(join(output, "checkpoint", "trainer_state.json"), "utf8")).step, 2);
  using file = new SafetensorsFile(join(output, "checkpoint", "projectors", "image.safetensors"));
  for (const name of file.entries.keys()) assert.ok(file.values(name).every(Number.isFinite), name);

  // The rate makes weights of 1e30 at the only step, whose loss and gradient were fine.
  using other = await assembled();
  const wild = { ...options, steps: 1, maxGradNorm: 0, learningRate: 1e38, output: world.path("wild") };
  const second = await rejection(() => all(align(other, wild)));
  assert.is(second.code, "E_DIVERGED");
  assert.match(second.message, /weights/);
  assert.not(existsSync(join(world.path("wild"), "checkpoint")));
});

test.run();
