// Tokens that a model adds to its language model's: they are read and written, their rows alone change in training, and a saved model has them.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import type { Tensor } from "../../lib/core/tensor.js";
import { instruct } from "../../lib/train/instruct.js";
import { sweep } from "../faults.js";
import { all, rejection } from "../train/stages.js";
import { square, type Toy, toy } from "./toy.js";

const test = suite("added tokens");
const WORDS = ["<answer>", "<|endofchunk|>"];
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const assemble = (more = {}) =>
  AnyMAL.assemble(world.options({ modalities: { image: { encoder: world.clip } }, addedTokens: WORDS, ...more }));
const tables = (model: AnyMAL): Tensor[] => [model.llm.model.embedding.weight, model.llm.headWeight];
const rowsOf = async (model: AnyMAL) => {
  const { hiddenSize } = model.llm.config;
  return Promise.all(
    tables(model).map(async (table) => {
      const bytes = Buffer.from(await table.bytes());
      const size = bytes.length / (table.size / hiddenSize);
      return Array.from({ length: bytes.length / size }, (_, id) => bytes.subarray(id * size, (id + 1) * size).toString("hex"));
    }),
  );
};
const data = ["red", "green", "blue", "white"].map((color) => ({
  where: color,
  turns: [
    { role: "user" as const, content: [square(color as never), "which one?"] },
    { role: "assistant" as const, content: [`<answer>${color}<|endofchunk|>`] },
  ],
}));

test("they are tokens, they train alone, and the model is saved with them", async () => {
  using model = await assemble();
  const [first, second] = WORDS.map((word) => model.tokenizer.tokenToId(word)) as [number, number];
  assert.is(second, first + 1);
  assert.is(model.llm.config.vocabSize >= second + 1, true);
  assert.equal(model.addedTokens, WORDS);
  assert.equal([...model.adapters.keys()], ["tokens"]);

  const before = await rowsOf(model);
  const steps = await all(
    instruct(model, { data, steps: 4, batch: 4, learningRate: 1e-2, lora: { r: 2, alpha: 4, targetModules: ["q_proj"] } }),
  );
  assert.ok(steps.length === 4 && steps.at(-1)!.loss < steps[0]!.loss);
  const prompt = [square("red"), "which one?"];
  const answer = await model.generateAll([prompt], { maxNewTokens: 3 });
  const after = await rowsOf(model);
  for (const [i, table] of after.entries()) {
    const moved = table.flatMap((row, id) => (row === before[i]![id] ? [] : [id]));
    assert.equal(moved, [first, second], `table ${i}`);
  }

  const folder = world.path("saved");
  await model.save(folder);
  using again = await AnyMAL.fromPretrained(folder);
  assert.equal(again.addedTokens, WORDS);
  assert.equal(await rowsOf(again), after);
  assert.equal(await again.generateAll([prompt], { maxNewTokens: 3 }), answer);
  assert.equal(again.tokenizer.encode("<answer>x"), model.tokenizer.encode("<answer>x"));
});

test("a run goes on with the same tokens only", async () => {
  const output = world.path("run");
  const options = { data, batch: 4, learningRate: 1e-2, output, saveEvery: 1, lora: { r: 1, alpha: 2, targetModules: ["q_proj"] } };
  using model = await assemble();
  await all(instruct(model, { ...options, steps: 1 }));
  using other = await assemble({ addedTokens: ["<answer>"] });
  const error = await rejection(() => all(instruct(other, { ...options, steps: 1, resume: true })));
  assert.match(error.message, /added tokens/);
  using same = await assemble();
  await all(instruct(same, { ...options, steps: 1, resume: true }));
  assert.equal(await rowsOf(same), await rowsOf(model));
});

test("whatever tensor cannot be made of a model with more tokens, nothing stays", async () => {
  await sweep("added tokens", async () => (await assemble()).dispose());
});

test("what is no list of words is refused, in options and in files", async () => {
  for (const addedTokens of ["<a>", [""], [1], [" "]])
    assert.is((await rejection(() => assemble({ addedTokens }))).code, "E_VALUE", JSON.stringify(addedTokens));
  using model = await assemble();
  const folder = world.path("changed");
  await model.save(folder);
  const file = join(folder, "anymal.json");
  const json = JSON.parse(readFileSync(file, "utf8"));
  writeFileSync(file, JSON.stringify({ ...json, addedTokens: [7] }));
  assert.is((await rejection(() => AnyMAL.fromPretrained(folder))).code, "E_CHECKPOINT");
});

test.run();
