// Recipes: the paper's numbers where nothing else is said, and mistakes that name the option and what was meant.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { mmicl } from "../../lib/systems/mmicl.js";
import { alignRecipe, instructRecipe, readRecipe, recipe, writeRecipe } from "../../lib/train/recipe.js";
import { nearest, RecipeError } from "../../lib/train/schema.js";

function refused(value: unknown): RecipeError {
  try {
    recipe(value);
  } catch (error) {
    assert.instance(error, RecipeError);
    return error as RecipeError;
  }
  throw new Error(`accepted ${JSON.stringify(value)}`);
}

test("what is left out is AnyMAL's", () => {
  // [arXiv 2309.16058, Table 12]
  const table = { image: [2048, 2e-4, 100_000], audio: [128, 1e-4, 1000], video: [1024, 1e-4, 20_000], imu: [256, 1e-4, 2000] } as const;
  for (const [modality, [batch, learningRate, steps]] of Object.entries(table)) {
    const r = alignRecipe(modality as keyof typeof table);
    assert.equal([r.batch, r.learningRate, r.steps], [batch, learningRate, steps], modality);
  }
  const { lora, steps, batch, learningRate } = instructRecipe();
  assert.equal([steps, batch, learningRate], [3000, 128, 1e-5]);
  assert.equal(lora && [lora.r, lora.alpha, lora.targetModules], [64, 16, "all-linear"]);
  assert.is(instructRecipe({ lora: false }).lora, false);
  assert.equal(instructRecipe({ lora: { r: 8, dora: true, rsLora: true } }).lora, { r: 8, alpha: 16, dropout: 0.05, targetModules: "all-linear", dora: true, rsLora: true }); // biome-ignore format: one line
  assert.equal(instructRecipe({ lora: { r: 8 } }).lora, { r: 8, alpha: 16, dropout: 0.05, targetModules: "all-linear" });
});

test("what follows from other options does", () => {
  assert.is(alignRecipe("imu").warmupSteps, 60);
  assert.is(alignRecipe("image").warmupSteps, 2000);
  assert.is(alignRecipe("imu", { steps: 100 }).warmupSteps, 3);
  // Of a system that says its warm-up: the same share of fewer steps, unless it is said.
  const { steps, warmupSteps = 0 } = mmicl.stages.instruct!.numbers;
  const of = (more: object) => instructRecipe(more, undefined, undefined, "mmicl").warmupSteps;
  assert.equal([of({}), of({ steps: 500 })], [warmupSteps, Math.round((500 * warmupSteps) / steps)]);
  assert.equal([of({ steps: 2 * steps }), of({ steps: 500, warmupSteps: 7 })], [warmupSteps, 7]);
  assert.ok(of({ steps: 500 }) > 90 && of({ steps: 500 }) < 110);
  assert.is(alignRecipe("imu").microBatch, 32);
  assert.is(alignRecipe("imu", { batch: 8 }).microBatch, 8);
  assert.is(alignRecipe("imu", { steps: undefined }).steps, 2000);
});

test("a recipe's model takes what assemble() takes", () => {
  const model = { llm: "x", addedTokens: ["<answer>"], prompt: { written: { token: "<image>" } }, modalities: {} };
  assert.equal(recipe({ model }).model, model);
});

test("an unknown option names the nearest, a wrong value what was meant", () => {
  const cases: [unknown, RegExp][] = [
    [{ align: { image: { learning_rate: 1 } } }, /align\.image\.learning_rate.*did you mean "learningRate"\?/],
    [{ align: { image: { batchsize: 1 } } }, /did you mean "batch"\?/],
    [{ align: { image: { qqqqqq: 1 } } }, /known are steps, batch/],
    [{ align: { picture: {} } }, /align\.picture.*known are image, video, audio, imu/],
    [{ align: { image: { steps: "many" } } }, /align\.image\.steps to be an integer of at least 1, got "many"/],
    [{ align: { image: { batch: 4, microBatch: 8 } } }, /microBatch to be at most the batch of 4, got 8/],
    [{ align: { image: { betas: [0.9] } } }, /betas to be two numbers/],
    [{ align: { image: { schedule: "cosin" } } }, /one of cosine, linear, constant, got "cosin"/],
    [{ instruct: { lora: { rank: 4 } } }, /instruct\.lora\.rank.*unknown/],
    [{ instruct: { lora: { targetModules: { q: 1 } } } }, /instruct\.lora\.targetModules to be a text, or a list, each a text, got/],
    [{ instruct: { lora: { targetModules: ["q_proj", 7] } } }, /instruct\.lora\.targetModules to be a text, or a list, each a text, got/],
    [{ instruct: { lora: true } }, /instruct\.lora to be a mapping, or false, got true/],
    [{ instruct: { data: 3 } }, /instruct\.data to be a text, or a mapping, or a list/],
    [{ instruct: { data: ["a", { from: "b", wieght: 2 }] } }, /instruct\.data\[1\]\.wieght to be a known option.*did you mean "weight"\?/],
    [{ instruct: { data: { from: "b", weight: 0 } } }, /instruct\.data\.weight to be a number above 0, got 0/],
    [{ instruct: { data: [{ weight: 1 }] } }, /instruct\.data\[0\]\.from to be a text, or a list/],
    [{ align: { imu: { data: "a", modalityWeights: { imu: "much" } } } }, /align\.imu\.modalityWeights to be a mapping of kinds/],
    [{ model: { llm: "x", modalities: { image: { projector: {} } } } }, /model\.modalities\.image\.encoder/],
    [
      { model: { llm: "x", modalities: { image: { encoder: "e", projector: { type: "resampler", layer: 2 } } } } },
      /did you mean "layers"\?/,
    ],
    [
      { model: { llm: "x", modalities: { image: { encoder: "e", projector: { type: "mpl" } } } } },
      /projector\.type to be one of resampler, linear, mlp, concat-linear, q-former, query-vit, clip-pool, got "mpl"; did you mean "mlp"\?/,
    ],
    [
      { model: { llm: "x", modalities: { image: { encoder: "e", projector: { type: "concat-linear", patches: 0 } } } } },
      /projector\.patches to be an integer from 1/,
    ],
    [{ model: { llm: "x", quantization: "nf8", modalities: {} } }, /quantization to be one of nf4, fp4, int8, none, or a mapping/],
    [{ model: { llm: "x", addedTokens: [" "], modalities: {} } }, /model\.addedTokens to be a list of words/],
    [{ modell: {} }, /did you mean "model"\?/],
    [[], /the recipe to be a mapping/],
  ];
  for (const [value, pattern] of cases) {
    const error = refused(value);
    assert.is(error.code, "E_RECIPE");
    assert.match(error.message, pattern);
  }
  assert.is(nearest("warmup_steps", ["warmupSteps", "steps"]), "warmupSteps");
  assert.is(nearest("zzz", ["steps"]), undefined);
});

test("the same as YAML", async () => {
  const folder = mkdtempSync(join(tmpdir(), "anymal-recipe-"));
  const file = join(folder, "recipe.yaml");
  const text = `
model:
  llm: ./llm
  quantization: none
  modalities:
    image: { encoder: ./clip, projector: { type: resampler, layers: 2, tokens: 8 } }
align:
  image: { data: captions.jsonl, steps: 10, learningRate: 2e-3 }   # a comment
instruct:
  data: [a.json, { from: [b.json, c.json], weight: 2, columns: { image: picture } }]
  modalityWeights: { image: 2, text: 1 }
  lora: false
output: runs/a
`;
  writeFileSync(file, text);
  const read = await readRecipe(file);
  assert.equal(read.align.image, { data: "captions.jsonl", ...alignRecipe("image", { steps: 10, learningRate: 2e-3 }) });
  assert.equal(read.instruct, {
    data: ["a.json", { from: ["b.json", "c.json"], weight: 2, columns: { image: "picture" } }],
    modalityWeights: { image: 2, text: 1 },
    ...instructRecipe({ lora: false }),
  });
  assert.is(read.model?.modalities.image?.encoder, "./clip");
  assert.equal(recipe(read), read);
  writeFileSync(file, writeRecipe(read));
  assert.equal(await readRecipe(file), read);

  for (const [content, pattern] of [
    ["align: [", /YAML/],
    ["align: {image: {steps: 0}}", /at least 1, got 0/],
  ] as const) {
    writeFileSync(file, content);
    try {
      await readRecipe(file);
      assert.unreachable(content);
    } catch (error) {
      assert.match((error as Error).message, pattern);
    }
  }
  rmSync(folder, { recursive: true });
});

test.run();
