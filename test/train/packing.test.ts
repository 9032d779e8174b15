// Rows that lie behind each other train as rows of their own do, and steps of rows of like length go on to the bit.
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Row } from "../../lib/data/row.js";
import { type InstructOptions, instruct } from "../../lib/train/instruct.js";
import { square, type Toy, toy } from "../anymal/toy.js";
import { near } from "../case.js";
import { Folder } from "../data/files.js";
import { all, assembledIn, rejection, weights } from "./stages.js";

const test = suite("packing and grouping");
let world: Toy;
let folder: Folder;
test.before(async () => {
  world = await toy();
  folder = new Folder();
});
test.after(() => {
  world.remove();
  folder.remove();
});

/** Pictures in some, two answers in others, an answer that counts more, and very different lengths. */
const row = (i: number): Row => ({
  where: `rows:${i}`,
  turns: [
    { role: "user", content: i % 3 ? ["what? ", square(i % 2 ? "red" : "blue"), " tell"] : ["say"] },
    { role: "assistant", content: [`word ${"more ".repeat((i * 5) % 13)}`], ...(i % 4 === 2 && { weight: 2 }) },
    ...(i % 2
      ? ([
          { role: "user", content: ["and?"] },
          { role: "assistant", content: ["so"] },
        ] as const)
      : []),
  ],
});
const rows = Array.from({ length: 12 }, (_, i) => row(i));
const LORA = { r: 2, alpha: 4, dropout: 0, targetModules: ["q_proj", "v_proj"] };
const OPTIONS = { batch: 6, microBatch: 6, learningRate: 1e-2, steps: 3, lora: LORA, data: rows, seed: 2 } as const;

async function run(more: Partial<InstructOptions> = {}) {
  using model = await assembledIn(world);
  const steps = await all(instruct(model, { ...OPTIONS, ...more }));
  const parameters = [...model.projector("image").namedParameters(), ...(model.adapter?.namedParameters() ?? [])];
  const values = await Promise.all(parameters.map(async ([, tensor]) => Array.from(await tensor.data())));
  return { steps: steps.map(({ loss, gradNorm }) => [loss, gradNorm]), tokens: steps.map(({ tokens }) => tokens), values };
}

test("losses, norms of gradients and weights are those of rows of their own; also in micro-batches, and recomputed", async () => {
  const plain = await run();
  for (const more of [{ packing: true }, { packing: true, microBatch: 4 }, { packing: true, gradientCheckpointing: true }]) {
    const packed = await run(more);
    assert.equal(packed.tokens, plain.tokens);
    for (const [i, [loss, norm]] of packed.steps.entries()) {
      near([loss as number], [plain.steps[i]?.[0] as number], 2e-5, `loss of step ${i + 1}, ${JSON.stringify(more)}`);
      near([norm as number], [plain.steps[i]?.[1] as number], 2e-4, `norm of step ${i + 1}, ${JSON.stringify(more)}`);
    }
    near(packed.values.flat(), plain.values.flat(), 2e-4, `weights, ${JSON.stringify(more)}`);
  }
});

test("what stands before rows is not packed with them", async () => {
  using model = await assembledIn(world);
  const opens = ["projectors.*", "adapters.soft.*"];
  model.addAdapter({ tokens: 3 }, { kind: "prompt-tuning", name: "soft" });
  const error = await rejection(() => all(instruct(model, { ...OPTIONS, lora: false, opens, packing: true })));
  assert.is(error.code, "E_ARGUMENT");
  assert.match(error.message, /packed: expected no rows of an adapter beside it/);
});

test("steps of rows of like length, which go on to the bit", async () => {
  const lines = Array.from({ length: 40 }, (_, i) => ({ question: "q", answer: i % 2 ? "a" : `a ${"long ".repeat(12)}` }));
  const data = folder.write("rows.jsonl", lines.map((line) => JSON.stringify(line)).join("\n"));
  const options = { ...OPTIONS, data, batch: 4, microBatch: 4, steps: 8, groupByLength: true, lazy: true } as const;
  using whole = await assembledIn(world);
  const steps = await all(instruct(whole, options));
  const tokens = steps.map((step) => step.tokens);
  const [short, long] = [Math.min(...tokens), Math.max(...tokens)];
  assert.ok(tokens.every((n) => n === short || n === long) && tokens.includes(short) && tokens.includes(long), tokens.join());
  const mixed = await all(instruct(whole, { ...options, groupByLength: false, steps: 8 }));
  assert.ok(mixed.some((step) => step.tokens > short && step.tokens < long));
  const output = join(folder.path, "run");
  const stop = new AbortController();
  using first = await assembledIn(world);
  for await (const { step } of instruct(first, { ...options, output, signal: stop.signal })) if (step === 3) stop.abort();
  using second = await assembledIn(world);
  const rest = await all(instruct(second, { ...options, output, resume: true }));
  assert.equal(
    rest.map(({ loss }) => loss),
    steps.slice(-rest.length).map(({ loss }) => loss),
  );
  using third = await assembledIn(world);
  await all(instruct(third, options));
  assert.equal(await weights(second, true), await weights(third, true));
});

test.run();
