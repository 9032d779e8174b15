// Both stages on a toy: what trains, what does not, stopping, going on, and what a run leaves on disk and in memory.
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
import type { Row } from "../../lib/data/row.js";
import { SafetensorsFile } from "../../lib/io/safetensors.js";
import { QuantizedLinear } from "../../lib/nn/quantized-linear.js";
import { copy } from "../../lib/ops/index.js";
import { type AlignOptions, align } from "../../lib/train/align.js";
import { instruct } from "../../lib/train/instruct.js";
import { readRecipe, recipe } from "../../lib/train/recipe.js";
import type { TrainStep } from "../../lib/train/trainer.js";
import { blink, captions, colors, shake, square, type Toy, toy } from "../anymal/toy.js";
import { here } from "../case.js";

const test = suite("stages");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const ALIGN = { modality: "image", batch: 4, microBatch: 4, learningRate: 1e-2, warmupSteps: 2, schedule: "constant" } as const;

async function assembled(more: Partial<AssembleOptions> = {}): Promise<AnyMAL> {
  return AnyMAL.assemble(world.options({ modalities: { image: world.options().modalities.image! }, ...more }));
}
async function all(steps: AsyncIterable<TrainStep>): Promise<TrainStep[]> {
  const list: TrainStep[] = [];
  for await (const step of steps) list.push(step);
  return list;
}
async function weights(model: AnyMAL, adapter = false): Promise<Map<string, Uint8Array>> {
  const parameters = [...model.projector("image").namedParameters(), ...(adapter ? (model.adapter?.namedParameters() ?? []) : [])];
  return new Map(await Promise.all(parameters.map(async ([name, p]) => [name, new Uint8Array(await p.bytes())] as const)));
}
/** All that no stage may touch: the language model as loaded, the encoder. */
async function frozen(model: AnyMAL): Promise<Map<string, Uint8Array>> {
  const bytes = new Map<string, Uint8Array>();
  const adapted = new Set([...(model.adapter?.namedParameters() ?? [])].map(([, p]) => p));
  for (const [name, p] of model.llm.namedParameters()) if (!adapted.has(p)) bytes.set(name, new Uint8Array(await p.bytes()));
  const named = [...model.llm.namedModules()].flatMap(([, module]) => (module instanceof QuantizedLinear ? module.weight.tensors() : []));
  for (const [i, codes] of named.entries()) bytes.set(`codes ${i}`, new Uint8Array(await codes.bytes()));
  for (const [name, p] of model.encoder("image").encoder.namedParameters()) bytes.set(`encoder.${name}`, new Uint8Array(await p.bytes()));
  return bytes;
}
const rejection = async (run: () => Promise<unknown>): Promise<Error & { code: string }> => {
  try {
    await run();
  } catch (error) {
    return error as Error & { code: string };
  }
  throw new Error("expected a rejection");
};

test("stage 1 learns the captions, moves the projection alone, and says what it does", async () => {
  using model = await assembled();
  const before = await frozen(model);
  assert.is([...before.keys()].filter((name) => name.startsWith("codes")).length > 10, true);
  const start = await weights(model);
  const steps = await all(align(model, { ...ALIGN, data: captions(), steps: 80 }));
  assert.equal(
    steps.map(({ step }) => step),
    Array.from({ length: 80 }, (_, i) => i + 1),
  );
  const [first, last] = [steps[0]!, steps.at(-1)!];
  assert.ok(last.loss < 0.3 * first.loss, `loss went from ${first.loss} to ${last.loss}`);
  assert.is(first.learningRate, 0);
  assert.is(last.learningRate, 1e-2);
  assert.ok(steps.every((s) => s.gradNorm > 0 && s.tokensPerSecond > 0 && s.scoredTokens < s.tokens && s.memory.bytesPeak > 0));
  assert.is(last.epoch, 80);
  assert.is(last.secondsLeft, 0);
  assert.equal(await frozen(model), before);
  const after = await weights(model);
  assert.ok([...after].every(([name, bytes]) => String(bytes) !== String(start.get(name))));
  assert.ok(
    model
      .projector("image")
      .parameters()
      .every((p) => !p.requiresGrad && !p.grad),
    "the projection stayed open",
  );
});

test("the loss of a micro-batched step is that of the whole batch", async () => {
  const losses: number[][] = [];
  for (const microBatch of [4, 1]) {
    using model = await assembled();
    losses.push((await all(align(model, { ...ALIGN, microBatch, data: captions(), steps: 4 }))).map(({ loss }) => loss));
  }
  for (const [i, loss] of losses[0]!.entries())
    assert.ok(Math.abs(loss - losses[1]![i]!) < 1e-4 * loss, `step ${i + 1}: ${losses.map((l) => l[i])}`);
});

test("stage 2 with LoRA moves projections and branches, without it projections alone; the loss is on answers", async () => {
  const rows: Row[] = captions().map(({ where, turns }) => ({
    where,
    turns: [{ role: "user", content: ["which colour? ", ...turns[0]!.content.slice(1)] }, turns[1]!],
  }));
  for (const lora of [{ r: 4, alpha: 8, dropout: 0.1 }, false] as const) {
    using model = await assembled();
    const before = await frozen(model);
    const steps = await all(
      instruct(model, { data: rows, lora, steps: 30, batch: 4, learningRate: 5e-3, warmupSteps: 0, schedule: "constant" }),
    );
    assert.ok(steps.at(-1)!.loss < 0.5 * steps[0]!.loss, `loss went from ${steps[0]!.loss} to ${steps.at(-1)!.loss}`);
    const text = model.tokenizer.encode("red", { addSpecialTokens: false }).length;
    assert.ok(steps[0]!.scoredTokens >= 4 * text && steps[0]!.scoredTokens <= 4 * 8, `${steps[0]!.scoredTokens} scored`);
    assert.is(model.adapter !== undefined, lora !== false);
    const after = await frozen(model);
    for (const [name, bytes] of after) assert.equal(bytes, before.get(name.replace(/\.base/, "")) ?? bytes, name);
    if (!lora) continue;
    for (const [path, layer] of model.adapter!.layers)
      assert.ok(
        ((await layer.loraB.data()) as Float32Array).some((v) => v !== 0),
        `${path} did not move`,
      );
  }
});

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
  assert.equal(readdirSync(output).sort(), ["checkpoint", "log.jsonl", "recipe.yaml"]);
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

test("memory is back to the baseline after a step, a run, and a run that was left", async () => {
  using model = await assembled();
  const rows = captions();
  const run = async (leave: boolean) => {
    for await (const { step } of instruct(model, { data: rows, lora: { r: 2 }, steps: 6, batch: 4 })) if (leave && step === 3) break;
    await here.synchronize();
    return here.memory();
  };
  const first = await run(false);
  for (const leave of [false, true, false]) {
    const now = await run(leave);
    assert.is(now.bytesInUse, first.bytesInUse);
    assert.is(now.tensors, first.tensors);
  }
});

test("bad rows are named: thrown at once, or left out and told", async () => {
  using model = await assembled();
  const context = model.llm.config.maxPositions;
  const bad: Row[] = [
    {
      where: "rows:1",
      turns: [
        { role: "user", content: ["no picture"] },
        { role: "assistant", content: ["red"] },
      ],
    },
    {
      where: "rows:2",
      turns: [
        { role: "user", content: [{ modality: "image", source: "/nowhere.png", options: {} }] },
        { role: "assistant", content: ["red"] },
      ],
    },
    {
      where: "rows:3",
      turns: [
        { role: "user", content: [{ modality: "image", source: new Uint8Array([1, 2, 3]), options: {} }] },
        { role: "assistant", content: ["red"] },
      ],
    },
    {
      where: "rows:4",
      turns: [
        { role: "user", content: ["long ".repeat(context), square("red")] },
        { role: "assistant", content: ["red"] },
      ],
    },
    {
      where: "rows:5",
      turns: [
        { role: "user", content: [square("red"), { modality: "audio", source: "x.wav", options: {} }] },
        { role: "assistant", content: ["red"] },
      ],
    },
  ];
  const patterns = [
    /rows:1: .*medium of image/,
    /rows:2: .*no such file/,
    /rows:3: .*picture/,
    new RegExp(`rows:4: .*within ${context} positions`),
    /rows:5: .*media of image, got audio/,
  ];
  for (const [i, row] of bad.entries()) {
    const error = await rejection(() => all(align(model, { ...ALIGN, data: [row], steps: 1 })));
    assert.match(error.message, patterns[i]!);
  }
  const told: string[] = [];
  const options = {
    ...ALIGN,
    data: [...bad, ...captions()],
    steps: 6,
    onBadRow: "skip",
    onProblem: (error: Error) => told.push(error.message),
  } as const;
  const steps = await all(align(model, options));
  assert.is(steps.at(-1)!.skippedRows, 5);
  assert.is(told.length, 5);
  for (const pattern of patterns)
    assert.ok(
      told.some((message) => pattern.test(message)),
      `${pattern}: ${told}`,
    );
  const none = await rejection(() => all(align(model, { ...ALIGN, data: [], steps: 1 })));
  assert.is(none.code, "E_DATA");
});

test("a batch whose rows are all bad is left out: a run at any batch goes on with the good rows, also after a stop", async () => {
  const cut: Row = {
    where: "rows:cut",
    turns: [
      { role: "user", content: [{ modality: "image", source: new Uint8Array([0x89, 0x50, 0x4e, 0x47, 1]), options: {} }] },
      { role: "assistant", content: ["red"] },
    ],
  };
  const data = [...captions().slice(0, 2), cut, ...captions().slice(2)];
  for (const batch of [1, 2, 4]) {
    using model = await assembled();
    const told: string[] = [];
    const options = {
      ...ALIGN,
      batch,
      microBatch: 1,
      data,
      steps: 12,
      saveEvery: 100,
      onBadRow: "skip",
      onProblem: (e: Error) => told.push(e.message),
    } as const;
    const steps = await all(align(model, options));
    assert.is(steps.length, 12);
    assert.is(told.length, 1, `batch ${batch}: ${told}`);
    assert.match(told[0]!, /rows:cut/);
    assert.ok(steps.every(({ scoredTokens }) => scoredTokens > 0));
    if (batch > 1) continue;
    assert.ok(steps.at(-1)!.epoch > 12 / 5, "the batches that were left out count as seen");
    // Stopped behind the batch that was left out, a run goes on as the unbroken one did.
    for (const stopAt of [4, 7]) {
      using other = await assembled();
      const output = join(world.folder, `left-out-${stopAt}`);
      const stop = new AbortController();
      for await (const { step } of align(other, { ...options, output, signal: stop.signal })) if (step === stopAt) stop.abort();
      using again = await assembled();
      await all(align(again, { ...options, output, resume: true }));
      assert.equal(await weights(again), await weights(model), `stopped at ${stopAt}`);
    }
  }
  using model = await assembled();
  const none = await rejection(() =>
    all(align(model, { ...ALIGN, batch: 1, microBatch: 1, data: [cut, cut], steps: 6, onBadRow: "skip", onProblem: () => {} })),
  );
  assert.is(none.code, "E_DATA");
  assert.match(none.message, /at least one usable row, got none of 2/);
});

test("calibration encodes a step's rows together", async () => {
  using model = await assembled();
  const { encoder } = model.encoder("image");
  const sizes: number[] = [];
  const forward = encoder.forward.bind(encoder);
  encoder.forward = (x, options) => {
    sizes.push(x.shape[0]!);
    return forward(x, options);
  };
  await all(align(model, { ...ALIGN, data: captions(), steps: 1 }));
  assert.equal(sizes, [4]); // and the step takes them from the cache
});

test("a loss that is no number ends the run with a sentence, and nothing is saved over", async () => {
  using model = await assembled();
  const output = world.path("diverged");
  const options = { ...ALIGN, warmupSteps: 0, maxGradNorm: 0, learningRate: 1e38, data: captions(), steps: 9, output };
  const error = await rejection(() => all(align(model, options)));
  assert.is(error.code, "E_DIVERGED");
  assert.not(existsSync(join(output, "checkpoint")));
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

test("in bf16, in int8, and with features as they are: stage 1 learns all the same", async () => {
  const projector = { type: "resampler", layers: 1, tokens: 4 } as const;
  const cases = [
    { dtype: "bf16", quantization: { format: "nf4", doubleQuant: true } },
    { quantization: "int8", modalities: { image: { encoder: world.clip, projector: { ...projector, normalize: "layernorm" } } } },
    {
      quantization: "none",
      modalities: { image: { encoder: world.clip, select: "all", layer: -2, projector: { ...projector, normalize: false } } },
    },
    { modalities: { image: { encoder: world.clip, projector: { type: "linear" } } } },
    { modalities: { image: { encoder: world.clip, projector: { type: "linear", mode: "pooled", tokens: 3 } } } },
  ] as const satisfies Partial<AssembleOptions>[];
  for (const [i, more] of cases.entries()) {
    using model = await assembled(more);
    const steps = await all(align(model, { ...ALIGN, data: captions(), steps: 25 }));
    assert.ok(steps.at(-1)!.loss < 0.7 * steps[1]!.loss, `case ${i}: loss went from ${steps[1]!.loss} to ${steps.at(-1)!.loss}`);
    await model.save(world.path(`case-${i}`));
    using back = await AnyMAL.fromPretrained(world.path(`case-${i}`), { device: here });
    assert.equal(await weights(back), await weights(model));
    const asked = colors.map((color) => ["see ", square(color)]);
    assert.equal(await back.generateAll(asked, { maxNewTokens: 4 }), await model.generateAll(asked, { maxNewTokens: 4 }), `case ${i}`);
  }
});

test("videos and recordings of one model, a projection each; questions about both in one row", async () => {
  using model = await AnyMAL.assemble(world.options());
  const rows: Row[] = captions().map(({ where, turns }, i) => ({
    where,
    turns: [{ role: "user", content: ["see ", blink(colors[i]!, "red"), " feel ", shake(i + 1)] }, turns[1]!],
  }));
  const image = await weights(model);
  const steps = await all(instruct(model, { data: rows, lora: { r: 2 }, steps: 20, batch: 4, learningRate: 5e-3, warmupSteps: 0 }));
  assert.ok(steps.at(-1)!.loss < 0.8 * steps[0]!.loss);
  assert.equal([...model.calibrated].sort(), ["imu", "video"]);
  assert.equal(await weights(model), image, "the projection of a modality that no row holds moved");
});

test("recomputed layers give the same weights", async () => {
  const results: Map<string, Uint8Array>[] = [];
  for (const gradientCheckpointing of [false, true]) {
    using model = await assembled();
    await all(
      instruct(model, { data: captions(), steps: 3, batch: 4, lora: { r: 2, dropout: 0.3 }, learningRate: 1e-3, gradientCheckpointing }),
    );
    assert.is(model.llm.gradientCheckpointing, false);
    results.push(await weights(model, true));
  }
  assert.equal(results[0], results[1]);
});

test.run();
