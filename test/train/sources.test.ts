// Rows that stay in their files train as rows in memory do: the same steps to the bit, also after a stop; a bad one is met when its turn comes.
import { join } from "node:path";
import sharp from "sharp";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Batches } from "../../lib/data/batches.js";
import { type AlignOptions, align } from "../../lib/train/align.js";
import { instruct } from "../../lib/train/instruct.js";
import type { TrainStep } from "../../lib/train/step-report.js";
import { type Toy, toy } from "../anymal/toy.js";
import { Folder } from "../data/files.js";
import { ALIGN, all, assembledIn, rejection, weights } from "./stages.js";

const test = suite("sources in training");
let world: Toy;
let folder: Folder;
test.before(async () => {
  world = await toy();
  folder = new Folder();
  const colors = { red: "#dc1e1e", green: "#1ec828", blue: "#1e28dc", white: "#f0f0f0" };
  for (const [name, background] of Object.entries(colors))
    folder.write(
      `${name}.png`,
      await sharp({ create: { width: 16, height: 16, channels: 3, background } })
        .png()
        .toBuffer(),
    );
});
test.after(() => {
  world.remove();
  folder.remove();
});

const names = ["red", "green", "blue", "white"];
const rows = Array.from({ length: 10 }, (_, i) => ({ image: `${names[i % 4]}.png`, caption: `${names[i % 4]} ${i}` }));
const lines = (list: readonly object[]) => list.map((row) => JSON.stringify(row)).join("\n");
const talk = (row: { image?: string; caption: string }) => ({
  ...(row.image && { image: row.image }),
  conversations: [
    { from: "human", value: row.image ? "<image>\nWhat?" : "What?" },
    { from: "gpt", value: row.caption },
  ],
});
const losses = (steps: readonly TrainStep[]) => steps.map(({ loss, gradNorm }) => [loss, gradNorm]);

test("the same steps as rows in memory, from every format, also stopped and gone on with", async () => {
  const files = {
    jsonl: folder.write("rows.jsonl", lines(rows)),
    json: folder.write("rows.json", JSON.stringify(rows)),
    csv: folder.write("rows.csv", `image,caption\n${rows.map(({ image, caption }) => `${image},"${caption}"`).join("\n")}\n`),
  };
  const options = (data: string, lazy: boolean): AlignOptions => ({ ...ALIGN, data, lazy, prompts: ["What?"], steps: 7, seed: 3 });
  using held = await assembledIn(world);
  const want = losses(await all(align(held, options(files.jsonl, false))));
  for (const [name, data] of Object.entries(files)) {
    using model = await assembledIn(world);
    assert.equal(losses(await all(align(model, options(data, true)))), want, name);
    assert.equal(await weights(model), await weights(held), name);
  }
  const output = join(folder.path, "run");
  const stop = new AbortController();
  using first = await assembledIn(world);
  for await (const { step } of align(first, { ...options(files.csv, true), output, signal: stop.signal })) if (step === 4) stop.abort();
  using second = await assembledIn(world);
  const rest = await all(align(second, { ...options(files.csv, true), output, resume: true }));
  assert.equal(losses(rest), want.slice(-rest.length));
  assert.equal(await weights(second), await weights(held));
});

test("a bad row ends the run when its turn comes, or is left out by name", async () => {
  const data = folder.write(
    "some-bad.jsonl",
    `${lines(rows.slice(0, 3))}\n{"image": "none.png", "caption": "x"}\n{\n${lines(rows.slice(3))}`,
  );
  using model = await assembledIn(world);
  const error = await rejection(() => all(align(model, { ...ALIGN, data, lazy: true, steps: 6 })));
  assert.is(error.code, "E_ROW");
  assert.match(error.message, /some-bad\.jsonl:[45]: /);
  const told: string[] = [];
  const onProblem = ({ message }: Error) => told.push(message);
  const steps = await all(align(model, { ...ALIGN, data, lazy: true, steps: 12, onBadRow: "skip", onProblem }));
  assert.is(steps.length, 12);
  assert.is(steps.at(-1)?.skippedRows, 2);
  assert.match(told.sort().join("\n"), /bad\.jsonl:4: expected the image file none\.png.*\n.*bad\.jsonl:5: expected one JSON object/);
});

test("a file that changes under a run ends it, whatever is said of bad rows", async () => {
  const data = folder.write("changes.jsonl", lines(rows));
  using model = await assembledIn(world);
  const error = await rejection(async () => {
    for await (const { step } of align(model, { ...ALIGN, data, lazy: true, steps: 60, onBadRow: "skip" }))
      if (step === 2) folder.write("changes.jsonl", "nothing\n");
  });
  assert.is(error.code, "E_DATA");
  assert.match(error.message, /the file as it was when reading began/);
});

test("conversations, files one behind the other, and a medium that nobody has seen coming", async () => {
  const data = [
    folder.write("talk-a.jsonl", lines(rows.slice(0, 6).map(talk))),
    folder.write("talk-b.json", JSON.stringify(rows.slice(6).map(talk))),
  ];
  const options = { batch: 4, microBatch: 4, learningRate: 1e-2, steps: 5, lora: false, data } as const;
  using held = await assembledIn(world);
  const want = losses(await all(instruct(held, options)));
  using lazy = await assembledIn(world);
  assert.equal(losses(await all(instruct(lazy, { ...options, lazy: true }))), want);
  // 2100 rows of text are looked at row by second row; the picture stands between.
  const words = Array.from({ length: 2100 }, (_, i) => talk(i === 1 ? { image: "red.png", caption: "red" } : { caption: `word ${i % 7}` }));
  const hidden = folder.write("hidden.jsonl", lines(words));
  const problems: string[] = [];
  const onProblem = ({ message }: Error) => problems.push(message);
  using other = await assembledIn(world);
  let seed = 0;
  while (!new Batches(2100, { batchSize: 4, seed, last: "drop" }).next().includes(1)) ++seed; // its row is one of the first
  const lora = { r: 2, alpha: 2, dropout: 0, targetModules: ["q_proj"] };
  await all(instruct(other, { ...options, seed, lora, steps: 1, data: hidden, lazy: true, onBadRow: "skip", onProblem }));
  assert.is(problems.length, 1);
  assert.match(
    problems[0] as string,
    /hidden\.jsonl:2: expected media of no kind.*got image, whose projection does not train; say modalities: \["image"\]/,
  );
});

test("a mixture goes on to the bit, from rows in memory as from files; with other shares it does not", async () => {
  const [a, b] = [folder.write("mixed-a.jsonl", lines(rows.slice(0, 3))), folder.write("mixed-b.jsonl", lines(rows.slice(3)))];
  const options = (lazy: boolean, weight = 3): AlignOptions => ({
    ...{ ...ALIGN, lazy, prompts: ["What?"], steps: 7, seed: 3 },
    data: [
      { from: a, weight },
      { from: b, weight: 1 },
    ],
  });
  using held = await assembledIn(world);
  const want = losses(await all(align(held, options(false))));
  const output = join(folder.path, "mixed");
  const stop = new AbortController();
  using first = await assembledIn(world);
  for await (const { step } of align(first, { ...options(true), output, signal: stop.signal })) if (step === 3) stop.abort();
  using second = await assembledIn(world);
  const error = await rejection(() => all(align(second, { ...options(true, 2), output, resume: true })));
  assert.match(error.message, /align\.image\.data\.0\.weight to be 3, as in the run's recipe.yaml, got 2/);
  const rest = await all(align(second, { ...options(true), output, resume: true }));
  assert.ok(rest.length < 7);
  assert.equal(losses(rest), want.slice(-rest.length));
  assert.equal(await weights(second), await weights(held));
  using other = await assembledIn(world);
  assert.not.equal(losses(await all(align(other, options(false, 1)))), want);
});

test.run();
