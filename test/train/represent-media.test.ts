// BLIP-2's first stage from captions: it learns, its run goes on to the bit, and what it has learned is what the second stage begins from.
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { FirstStage, type FirstStageOptions } from "../../lib/anymal/first-stage.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import type { QFormerProjector } from "../../lib/models/bridges/q-former.js";
import { align } from "../../lib/train/align.js";
import { representMedia } from "../../lib/train/represent-media.js";
import { representRecipe } from "../../lib/train/represent-recipe.js";
import { captions, shake, square, type Toy, toy } from "../anymal/toy.js";
import { copyFolder, here } from "../case.js";
import { all, rejection } from "./stages.js";

const test = suite("the first stage from captions");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const Q_FORMER = { type: "q-former", queries: 3, layers: 2, width: 16, heads: 2, hidden: 24 } as const;
const first = (more: Partial<FirstStageOptions> = {}) =>
  FirstStage.assemble({ encoder: world.clip, words: world.llm, projector: Q_FORMER, embedDim: 8, device: here, seed: 3, ...more });
const RECIPE = { batch: 3, learningRate: 3e-3, warmupSteps: 0, schedule: "constant", seed: 5 } as const;
const bytes = async ({ model }: FirstStage) =>
  Promise.all([...model.namedParameters()].map(async ([name, p]) => [name, Buffer.from(await p.bytes()).toString("base64")]));

test("pairs are learned, a run that was stopped goes on to the bit, and another one is not taken for it", async () => {
  using whole = await first();
  const steps = await all(representMedia(whole, { ...RECIPE, data: captions(3), steps: 12 }));
  assert.ok(steps.at(-1)!.loss < 0.96 * steps[0]!.loss, `${steps[0]!.loss} … ${steps.at(-1)!.loss}`);
  assert.ok(steps.every(({ tokens, scoredTokens, skippedRows }) => tokens === scoredTokens + 3 && !skippedRows));
  assert.is(steps.at(-1)!.epoch, 3);
  const output = world.path("represent");
  const options = { ...RECIPE, data: captions(3), steps: 12, output };
  {
    using begun = await first();
    for await (const { step } of representMedia(begun, options)) if (step === 5) break;
  }
  for (const more of [{ seed: 4, embedDim: 4 }, { projector: { ...Q_FORMER, queries: 2 } }]) {
    using other = await first(more);
    assert.is((await rejection(() => all(representMedia(other, { ...options, resume: true })))).code, "E_CHECKPOINT");
  }
  // A tokenizer of as many tokens is another one all the same.
  const words = world.path("other-words");
  copyFolder(world.llm, words, (file) => !file.endsWith(".safetensors"));
  const said = join(words, "tokenizer_config.json");
  writeFileSync(said, JSON.stringify({ ...JSON.parse(readFileSync(said, "utf8")), another: true }));
  using reads = await first({ words });
  assert.match((await rejection(() => all(representMedia(reads, { ...options, resume: true })))).message, /the tokenizer in words\//);
  const changed = await rejection(async () => all(representMedia(whole, { ...options, learningRate: 1e-3, resume: true })));
  assert.match(changed.message, /learningRate/);
  using on = await first({ seed: 99 });
  const rest = await all(representMedia(on, { ...options, resume: true }));
  assert.equal(rest.map(({ loss }) => loss), steps.slice(12 - rest.length).map(({ loss }) => loss)); // biome-ignore format: one line
  assert.equal(await bytes(on), await bytes(whole));
});

test("the second stage begins from its folder: all but the layer to the language model is what was learned", async () => {
  const output = world.path("represent");
  const encoder = { encoder: world.clip, projector: output };
  using model = await AnyMAL.assemble({ system: "blip-2", llm: world.llm, device: here, modalities: { image: encoder } });
  const bridge = model.projector("image") as QFormerProjector;
  assert.not.ok(model.calibrated.has("image")); // its rows are still to be brought to the size of embeddings
  using stored = Checkpoint.open(join(output, "checkpoint", "stage-one.safetensors"));
  const learned = [...bridge.namedParameters()].filter(([name]) => !name.startsWith("language_projection."));
  assert.ok(learned.length > 30);
  for (const [name, tensor] of learned) assert.equal(Buffer.from(await tensor.bytes()), Buffer.from(stored.bytes(name)), name);
  const steps = await all(
    align(model, { modality: "image", data: captions(2), steps: 2, batch: 4, learningRate: 1e-3, output: world.path("after") }),
  );
  assert.is(steps.length, 2);
  using again = await AnyMAL.fromPretrained(world.path("after"), { device: here });
  assert.equal(again.projector("image").parameters().length, bridge.parameters().length);
  // Another encoder's rows, a setup that says what is not so, and a file without a weight are told.
  const motion = { imu: { encoder: world.imu, projector: output } };
  const other = await rejection(() => AnyMAL.assemble({ ...{ llm: world.llm, device: here }, modalities: motion }));
  assert.match(other.message, /a bridge with dim/);
  const setup = join(output, "checkpoint", "projector.json");
  const text = readFileSync(setup, "utf8");
  const asks = () => rejection(() => AnyMAL.assemble({ llm: world.llm, device: here, modalities: { image: encoder } }));
  writeFileSync(setup, text.replace('"fresh"', '"frozen"'));
  assert.match((await asks()).message, /"output" to be "fresh", or absent/);
  writeFileSync(setup, text.replace(/,\s*"output": "fresh"/, ""));
  assert.match((await asks()).message, /language_projection/);
  writeFileSync(setup, text.replace('"layers": 2', '"layers": 3'));
  assert.is((await asks()).code, "E_STATE");
  writeFileSync(setup, text);
});

test("a bridge that reads the question takes over the words too", async () => {
  using plain = await first();
  const vocabulary = plain.tokenizer.vocabSize;
  assert.is(plain.begin, vocabulary - 1);
  using one = await first({ projector: { ...Q_FORMER, vocabulary, positions: 16 } });
  const output = world.path("words");
  assert.is((await all(representMedia(one, { ...RECIPE, data: captions(), steps: 2, output }))).length, 2);
  const image = { encoder: world.clip, projector: output, question: join(output, "checkpoint", "words") };
  using model = await AnyMAL.assemble({ system: "instructblip", llm: world.llm, device: here, modalities: { image } });
  const table = (model.projector("image") as QFormerProjector).qformer.embeddings!.wordEmbeddings.weight;
  assert.equal(Buffer.from(await table.bytes()), Buffer.from(await one.model.embeddings.wordEmbeddings.weight.bytes()));
});

test("captions are cut and spell no control tokens; rows that are no pair are left out or told", async () => {
  using one = await first();
  assert.ok(!one.ids("[DEC] and [DEC]", 40).includes(one.begin));
  assert.is(one.ids("a long caption of many words", 4).length, 4);
  const row = (content: readonly (string | ReturnType<typeof square>)[], ...said: string[]) => ({
    where: "rows:1",
    turns: [{ role: "user" as const, content }, ...said.map((text) => ({ role: "assistant" as const, content: [text] }))],
  });
  const motion = {
    where: "rows:9",
    turns: [
      { role: "user" as const, content: [shake(1)] },
      { role: "assistant" as const, content: ["x"] },
    ],
  };
  const bad = [row(["no picture"], "red"), row([square("red"), square("blue")], "both"), row([square("red")], "a", "b"), motion];
  for (const wrong of bad) {
    const error = await rejection(() => all(representMedia(one, { ...RECIPE, steps: 1, data: [wrong, ...captions()], batch: 5 })));
    assert.is(error.code, "E_ROW");
    assert.match(error.message, /rows:\d: expected one medium of image and one text/);
  }
  const problems: string[] = [];
  const skipping = {
    ...RECIPE,
    steps: 1,
    batch: 8,
    onBadRow: "skip",
    onProblem: ({ code }: { code: string }) => problems.push(code),
  } as const;
  const [step] = await all(representMedia(one, { ...skipping, data: [...bad, ...captions()] }));
  assert.equal([step!.skippedRows, problems.length], [4, 4]);
  const lonely = await rejection(() => all(representMedia(one, { ...skipping, data: [...bad, captions()[0]!] })));
  assert.match(lonely.message, /at least two usable rows/);
});

test("steps beyond a norm end it or are left out, named by their rows; a page is made at the end; warm-up is a share of the steps", async () => {
  using one = await first();
  const output = world.path("guarded");
  const run = { ...RECIPE, data: captions(), steps: 2, batch: 2 };
  const error = await rejection(() => all(representMedia(one, { ...run, normLimit: 1e-6, output })));
  assert.match(error.message, /a gradient whose norm is at most 0\.000001, got .* at step 1, whose rows are captions:\d+, captions:\d+;/);
  const before = await bytes(one);
  const problems: string[] = [];
  const skipping = { normLimit: 1e-6, onDiverged: "skip", onProblem: ({ code }: { code: string }) => problems.push(code) } as const;
  const steps = await all(representMedia(one, { ...run, ...skipping, output, reportTo: "html" }));
  assert.equal(
    [steps.map(({ skipped }) => skipped), problems],
    [
      [true, true],
      ["E_DIVERGED", "E_DIVERGED"],
    ],
  );
  assert.equal(await bytes(one), before);
  const page = join(output, "report.html");
  assert.match(readFileSync(page, "utf8"), /<svg/);
  rmSync(page);
  assert.is((await rejection(() => all(representMedia(one, { ...run, output, reportTo: "html" })))).code, "E_RECIPE");
  assert.not.ok(existsSync(page), "a folder that is refused stays as it is");
  const { warmupSteps, steps: published } = representRecipe();
  const share = warmupSteps / published;
  assert.equal(
    [1000, published, 2 * published].map((n) => representRecipe({ steps: n }).warmupSteps),
    [1000 * share, warmupSteps, warmupSteps],
  );
  assert.is(representRecipe({ steps: 1000, warmupSteps: 5 }).warmupSteps, 5);
});

test("options that make no first stage are told before anything is loaded", async () => {
  const told: [Partial<FirstStageOptions>, RegExp][] = [
    [{ projector: { type: "linear" } as never }, /q-former, which has a first stage/],
    [{ projector: { ...Q_FORMER, normalize: "standardize" } }, /"layernorm" or false/],
    [{ projector: { ...Q_FORMER, vocabulary: 7 } }, /the tokens of its tokenizer/],
    [{ modality: "imu", projector: undefined } as never, /image, which blip-2 takes/],
    [{ modality: "picture" }, /one of image/],
    [{ words: "" }, /a tokenizer's folder/],
    [{ embedDim: 0 }, /an integer from 1/],
    [{ tokens: 3 } as never, /tokens/],
  ];
  for (const [more, message] of told) assert.match((await rejection(() => first(more))).message, message, JSON.stringify(more));
  using one = await first();
  const run = (more: object) => rejection(() => all(representMedia(one, { ...RECIPE, data: captions(), steps: 1, ...more })));
  assert.match((await run({ batch: 1 })).message, /at least two pairs/);
  for (const other of [{ microBatch: 2 }, { adapters: [] }, { onValidation: () => undefined }])
    assert.match((await run(other)).message, new RegExp(Object.keys(other).join()));
  assert.is((await all(representMedia(one, { ...RECIPE, data: captions(), steps: 1, localFilesOnly: true, lazy: false }))).length, 1);
  const output = world.path("represent");
  assert.match((await run({ output })).message, /a folder without a run/);
  assert.ok(existsSync(join(output, "recipe.yaml")));
});

test.run();
