// Sweeps: which settings a plan has, runs that are trained once however often they are asked, tables and charts, and a sweep that goes on.
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { stringify } from "yaml";
import { checkPlan, type SweepPlan, settingsOf } from "../../lib/train/sweep/settings.js";
import { type SweepResult, type SweepRow, sweep } from "../../lib/train/sweep/sweep.js";
import { spread, sweepChart, sweepTable } from "../../lib/train/sweep/table.js";
import { type Toy, toy } from "../anymal/toy.js";
import { run, writeData } from "../cli/program.js";
import { rejection } from "./stages.js";

const test = suite("sweep");
let world: Toy;
test.before(async () => {
  world = await toy();
  await writeData(world);
  const rows = ["red", "blue", "red", "blue"].map((answer) => ({
    image: `${answer}.png`,
    conversations: [
      { from: "human", value: "<image>\nwhat color?" },
      { from: "gpt", value: answer },
    ],
  }));
  writeFileSync(world.path("asked.json"), JSON.stringify(rows));
});
test.after(() => world.remove());

const plan = (more: Partial<SweepPlan> = {}): SweepPlan => ({
  recipe: {
    model: { llm: world.llm, quantization: "nf4", modalities: { image: { encoder: world.clip, projector: { type: "resampler", layers: 1, tokens: 2, heads: 2 } } } }, // biome-ignore format: one line
    align: { image: { data: world.path("captions.jsonl"), steps: 2, batch: 2, microBatch: 2 } },
  },
  vary: { "model.modalities.image.projector.layers": [1, 2], "answer.quantization": ["nf4", "none"] },
  ask: { data: world.path("asked.json") },
  ...more,
});

test("settings: one path after the other, or all combinations; those that train alike have one key", () => {
  const each = settingsOf(plan());
  assert.equal(
    each.map(({ name }) => name),
    ["projector.layers: 1", "projector.layers: 2", "answer.quantization: nf4", "answer.quantization: none"],
  );
  assert.equal(each.map(({ group }) => group), ["projector.layers", "projector.layers", "answer.quantization", "answer.quantization"]); // biome-ignore format: one line
  assert.is(new Set(each.map(({ key }) => key)).size, 2);
  assert.equal(each.map(({ answer }) => answer.quantization), [undefined, undefined, "nf4", "none"]); // biome-ignore format: one line
  const grid = settingsOf(plan({ mode: "grid" }));
  assert.equal(
    grid.map(({ name }) => name),
    [1, 2].flatMap((n) => ["nf4", "none"].map((form) => `projector.layers: ${n}, answer.quantization: ${form}`)),
  );
  const twins = settingsOf(plan({ vary: { "align.image.steps": [3], "align.audio.steps": [4], "model.seed": [null] } }));
  assert.equal(twins.map(({ name }) => name), ["image.steps: 3", "audio.steps: 4", "model.seed: default"]); // biome-ignore format: one line
  assert.is(settingsOf(plan({ vary: { "model.quantization": [null] } }))[0]!.recipe.model!["quantization" as never], undefined);
  // The plan's own recipe stays as it was.
  assert.is((plan().recipe.align as Record<string, { steps: number }>).image!.steps, 2);
});

test("what is no plan is refused by its place, before anything is trained", async () => {
  for (const [more, word] of [
    [{ vary: {} }, /vary/],
    [{ vary: { "align.image.steps": 3 } }, /vary\.align\.image\.steps.*list/],
    [{ ask: {} }, /ask\.data/],
    [{ seeds: [] }, /seeds/],
    [{ mode: "all" }, /mode/],
    [{ sead: 1 }, /sead/],
    [{ answer: { quantisation: "nf4" } }, /quantisation/],
    [{ vary: { "answer.quantization": ["nf5"] } }, /answer\.quantization/],
    [{ vary: { "align.image.stpes": [1] } }, /align\.image\.stpes/],
    [{ vary: { "align.imgae.steps": [1] } }, /imgae.*image/s],
    [{ vary: { "align.image.steps.most": [1] } }, /align\.image\.steps/],
    [{ recipe: { align: {} } }, /model/],
    [{ recipe: { model: plan().recipe.model } }, /align or instruct/],
  ] as const) {
    const output = world.path("never");
    const error = await rejection(() => sweep(plan(more as Partial<SweepPlan>), { output }));
    assert.is(error.code, "E_RECIPE", error.message);
    assert.match(error.message, word);
    assert.not.ok(existsSync(output));
  }
  checkPlan(plan());
});

test("runs are trained once, asked in each way, and read when the sweep goes on", async () => {
  const output = world.path("swept");
  const steps: string[] = [];
  const rows = await sweep(plan({ seeds: [0, 3] }), { output, onStep: (name) => steps.push(name) });
  assert.equal(rows.map(({ runs }) => runs.map(({ seed }) => seed)), [[0, 3], [0, 3], [0, 3], [0, 3]]); // biome-ignore format: one line
  assert.is(steps.length, 2 * 2 * 2, "two settings train, with two seeds, two steps each");
  assert.equal(steps[0], "projector.layers: 1, seed 0, align image");
  assert.is(readdirSync(`${output}/runs`).length, 2);
  for (const { runs } of rows) for (const run of runs) assert.ok(run.exact >= 0 && run.exact <= 1 && run.peakBytes > 0 && run.minutes > 0);
  // The recipe's own setting comes twice, and is the same run; asked in its own form it answers as it was trained.
  assert.equal(rows[2]!.runs, rows[0]!.runs);
  const written = JSON.parse(readFileSync(`${output}/sweep.json`, "utf8")) as SweepRow[];
  assert.equal(written, rows);
  assert.is(readFileSync(`${output}/sweep.md`, "utf8"), sweepTable(rows));
  assert.ok(statSync(`${output}/projector.layers.svg`).size > 0 && existsSync(`${output}/answer.quantization.svg`));
  // One answer is lost: it is asked again of the model that is there.
  const lost = `${output}/runs/${settingsOf(plan())[0]!.key}/seed-3/result-quantization-none.json`;
  const before = readFileSync(lost, "utf8");
  rmSync(lost);
  const again = await sweep(plan({ seeds: [0, 3] }), { output, onStep: (name) => steps.push(name) });
  assert.is(steps.length, 8);
  assert.equal([again, readFileSync(lost, "utf8")], [rows, before]);
});

test("a sweep that is stopped while it trains goes on with that run", async () => {
  const output = world.path("stopped");
  const stop = new AbortController();
  const steps: number[] = [];
  const error = await rejection(() =>
    sweep(plan(), { output, signal: stop.signal, onStep: (_, { step }) => steps.push(step) && stop.abort() }),
  );
  assert.is(error.name, "AbortError");
  const [first] = await sweep(plan(), { output, onStep: (_, { step }) => steps.push(step) });
  const whole = await sweep(plan(), { output: world.path("whole") });
  assert.equal([first!.runs[0]!.exact, first!.runs[0]!.blank], [whole[0]!.runs[0]!.exact, whole[0]!.runs[0]!.blank]);
});

test("tables have means and deviations of a sample, charts a bar for each setting", () => {
  assert.equal(spread([1, 2, 3]), { mean: 2, deviation: 1 });
  assert.equal(spread([4]), { mean: 4, deviation: 0 });
  const result = (exact: number, seed: number): SweepResult => ({ seed, exact, blank: 0.1, shuffled: 0.2, minutes: 2, peakBytes: 3 * 2 ** 20 }); // biome-ignore format: one line
  const row = (name: string, ...exact: number[]): SweepRow => ({ name, group: "g", values: {}, runs: exact.map(result) });
  const rows = [row("a|b", 0.5, 0.7), row("<c>", 0.9), row("nobody")];
  const table = sweepTable(rows);
  assert.match(table, "| a\\|b | 2 | 60.0 ± 14.1 | 10.0 | 20.0 | 2.0 | 3.0 |");
  assert.match(table, "| <c> | 1 | 90.0 |");
  assert.not.match(table, "nobody");
  const chart = sweepChart("g", rows.slice(0, 2));
  assert.is(chart.match(/<rect/g)!.length, 3);
  assert.match(chart, "&#60;c&#62;");
});

test("the command reads a plan and prints the table", async () => {
  const file = world.path("plan.yaml");
  writeFileSync(file, stringify(plan({ vary: { "align.image.steps": [1] } })));
  const { code, out, err } = await run(["sweep", file, "--output", world.path("cli-swept")]);
  assert.is(code, 0, err);
  assert.match(out, /\| image\.steps: 1 \| 1 \| \d/);
  const bare = await run(["sweep", file]);
  assert.is(bare.code, 2);
});

test.run();
