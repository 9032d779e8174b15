// Both stages on a toy: what trains, what does not, and what a run leaves in memory.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import type { AssembleOptions } from "../../lib/anymal/options.js";
import type { Row } from "../../lib/data/row.js";
import { QuantizedLinear } from "../../lib/nn/quantized-linear.js";
import { align } from "../../lib/train/align.js";
import { instruct } from "../../lib/train/instruct.js";
import { blink, captions, colors, shake, square, type Toy, toy } from "../anymal/toy.js";
import { here } from "../case.js";
import { ALIGN, all, assembledIn, weights } from "./stages.js";

const test = suite("stages");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const assembled = (more: Partial<AssembleOptions> = {}) => assembledIn(world, more);

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
    assert.equal([...after.keys()].sort(), [...before.keys()].sort());
    for (const [name, bytes] of after) assert.equal(bytes, before.get(name), name);
    if (!lora) continue;
    for (const [path, layer] of model.adapter!.layers)
      assert.ok(
        ((await layer.loraB.data()) as Float32Array).some((v) => v !== 0),
        `${path} did not move`,
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
