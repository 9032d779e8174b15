// Weights of messages in training: what counts for nothing is not learned, what counts twice as much everywhere changes nothing, and micro-batches add up.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Row } from "../../lib/data/row.js";
import { type InstructOptions, instruct } from "../../lib/train/instruct.js";
import { square, type Toy, toy } from "../anymal/toy.js";
import { near } from "../case.js";
import { all, assembledIn } from "./stages.js";

const test = suite("weights of messages");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const row = (i: number, first: number | undefined, second: number | undefined): Row => ({
  where: `rows:${i}`,
  turns: [
    { role: "user", content: ["what? ", square(i % 2 ? "red" : "blue")] },
    { role: "assistant", content: [`one ${"more ".repeat(i)}`], ...(first !== undefined && { weight: first }) },
    { role: "user", content: ["and?"] },
    { role: "assistant", content: ["two words"], ...(second !== undefined && { weight: second }) },
  ],
});
const rows = (first?: number, second?: number) => Array.from({ length: 4 }, (_, i) => row(i, first, second));
const OPTIONS = { batch: 4, microBatch: 4, learningRate: 1e-2, steps: 3, lora: false } as const;
async function run(data: readonly Row[], more: Partial<InstructOptions> = {}) {
  using model = await assembledIn(world);
  return (await all(instruct(model, { ...OPTIONS, data, ...more }))).map(({ loss, gradNorm, scoredTokens }) => ({
    loss,
    gradNorm,
    scoredTokens,
  }));
}

test("the same weight everywhere is none, to the bit", async () => {
  const plain = await run(rows());
  assert.equal(await run(rows(2, 2)), plain);
  assert.equal(await run(rows(1, 1)), plain);
});

test("at 0 an answer is read and not scored: the loss is that of the others, whatever the words", async () => {
  const [plain, without] = [await run(rows()), await run(rows(1, 0))];
  assert.ok((without[0]?.scoredTokens as number) < (plain[0]?.scoredTokens as number));
  const other = rows(1, 0).map(({ where, turns }) => ({
    where,
    turns: [...turns.slice(0, 3), { role: "assistant", content: ["nine"], weight: 0 } as const],
  }));
  const words = await run(other);
  near(
    words.map(({ loss }) => loss),
    without.map(({ loss }) => loss),
    1e-5,
    "the first answer's loss",
  );
});

test("weights of all sizes, and micro-batches that add up to the same step", async () => {
  const mixed = [row(0, 0.5, 2), row(1, 1, undefined), row(2, 0, 3), row(3, 0.25, 0.25)];
  const [whole, parts] = [await run(mixed), await run(mixed, { microBatch: 1 })];
  for (const key of ["loss", "gradNorm"] as const)
    near(
      parts.map((step) => step[key]),
      whole.map((step) => step[key]),
      2e-4,
      key,
    );
  const plain = await run(mixed.map(({ where, turns }) => ({ where, turns: turns.map(({ role, content }) => ({ role, content })) })));
  assert.ok(Math.abs((plain[0]?.loss as number) - (whole[0]?.loss as number)) > 1e-3);
});

test.run();
