// A run once more: equal to the bit where nothing changed, and what changed is named with the first step that shows it.
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../../lib/anymal/anymal.js";
import { type Device, openDevice } from "../../../lib/core/device.js";
import { align } from "../../../lib/train/align.js";
import { instruct } from "../../../lib/train/instruct.js";
import { type CauseKind, type ReplayReport, replay } from "../../../lib/train/replay/replay.js";
import { captions, type Toy, toy } from "../../anymal/toy.js";
import { here } from "../../case.js";
import { writeData } from "../../cli/program.js";
import { all, assembledIn, rejection } from "../stages.js";

const test = suite("replay");
let world: Toy;
const STEPS = 6;
const options = () => ({
  ...{ modality: "image", data: world.path("captions.jsonl"), batch: 2, steps: STEPS, saveEvery: 4, learningRate: 1e-2, seed: 3 },
  ...{ warmupSteps: 2, validation: { data: world.path("captions.jsonl"), every: 3, rows: 2, maxNewTokens: 1 } },
});
test.before(async () => {
  world = await toy();
  await writeData(world);
  using model = await assembledIn(world);
  await all(align(model, { ...options(), modality: "image", output: world.path("run") }));
});
test.after(() => world.remove());

const again = (run = "run", more: object = {}) => replay(world.path(run), { device: here, ...more });
const kindsOf = ({ causes }: ReplayReport): CauseKind[] => causes.map(({ kind }) => kind);

/** The run with one of its files changed. */
async function changedRun(file: string, change: (text: string) => string): Promise<ReplayReport> {
  rmSync(world.path("changed"), { recursive: true, force: true });
  cpSync(world.path("run"), world.path("changed"), { recursive: true });
  const path = world.path(`changed/${file}`);
  writeFileSync(path, change(readFileSync(path, "utf8")));
  return again("changed");
}

test("nothing changed: all steps and weights are the run's, at one look or up to a step; its folder stays as it is", async () => {
  const files = () => ["log.jsonl", "weights.jsonl", "origin.json"].map((name) => readFileSync(world.path(`run/${name}`), "utf8"));
  const before = files();
  assert.equal(await again(), { steps: STEPS, weights: [0, 3, 4, 6], causes: [] });
  assert.equal(await again("run", { until: 5 }), { steps: 5, weights: [0, 3, 4], causes: [] });
  assert.equal(files(), before);
});

test("a run that was stopped, gone on with, and has branches, packing and rows in memory is replayed too", async () => {
  const data = captions(2);
  const own = {
    data,
    batch: 4,
    steps: 4,
    lora: { r: 2, dropout: 0.1 },
    packing: true,
    learningRate: 1e-2,
    output: world.path("instructed"),
  };
  for (const resume of [false, true]) {
    using model = await assembledIn(world);
    for await (const { step } of instruct(model, { ...own, resume })) if (step === 2 && !resume) break;
  }
  const { sittings } = JSON.parse(readFileSync(world.path("instructed/origin.json"), "utf8"));
  assert.equal(sittings.map(({ step }: { step: number }) => step), [0, 3]); // biome-ignore format: one line
  assert.equal(await again("instructed", { data }), { steps: 4, weights: [0, 3, 4], causes: [] });
  assert.match((await rejection(() => again("instructed"))).message, /"rows that were in memory"; pass them to replay\(\) as data/);
  const turned = [data[1]!, data[0]!, ...data.slice(2)];
  assert.is((await again("instructed", { data: turned })).difference?.what, "rows");
});

test("a changed row is named by the first step that reads it, and its file as the cause", async () => {
  const path = world.path("captions.jsonl");
  const before = readFileSync(path, "utf8");
  writeFileSync(path, before.replace(/"caption":"(\w+)"/, '"caption":"$1 too"'));
  try {
    const { difference, causes, steps } = await again();
    assert.is(difference?.what, "rows");
    assert.is(steps, difference!.step - 1);
    assert.is(causes[0]?.kind, "data");
    assert.match(causes[0]!.text, /captions\.jsonl is not what the run has read/);
  } finally {
    writeFileSync(path, before);
  }
});

test("so is a picture that is another under its old name, which no file of rows shows", async () => {
  using model = await AnyMAL.fromPretrained(world.path("run"), { device: here }); // its scale was measured: no weight shows what its pictures are
  const own = { data: world.path("captions.jsonl"), batch: 2, steps: 2, learningRate: 1e-2, output: world.path("second") };
  await all(align(model, { ...own, modality: "image" }));
  const [path, other] = [world.path("red.png"), world.path("blue.png")];
  const before = readFileSync(path);
  writeFileSync(path, readFileSync(other));
  try {
    const { difference, causes, weights } = await again("second");
    assert.equal([difference?.what, weights, causes], ["rows", [0], []]);
  } finally {
    writeFileSync(path, before);
  }
});

test("another recipe is told with the option", async () => {
  const report = await changedRun("recipe.yaml", (text) => text.replace("learningRate: 0.01", "learningRate: 0.02"));
  assert.equal(
    [report.difference?.step, report.difference?.what, kindsOf(report)],
    [2, "learning rate", ["recipe"]],
    "the first step of a warm-up",
  );
  assert.match(report.causes[0]!.text, /align\.image\.learningRate was 0\.01, is 0\.02/);
  const clipped = await changedRun("recipe.yaml", (text) => text.replace("maxGradNorm: 1", "maxGradNorm: 1.0e-3"));
  assert.ok(clipped.difference!.step > 1, "the first loss was the same");
  assert.equal(kindsOf(clipped), ["recipe"]);
  const seed = await changedRun("recipe.yaml", (text) => text.replace("seed: 3", "seed: 4"));
  assert.is(seed.causes[0]?.kind, "recipe");
  assert.ok(seed.difference);
});

test("other weights to begin from are told before the first step, a changed log at its own", async () => {
  using other = await assembledIn(world, { seed: 9 });
  await other.save(world.path("other"));
  rmSync(world.path("changed"), { recursive: true, force: true });
  cpSync(world.path("run"), world.path("changed"), { recursive: true });
  cpSync(world.path("other/projectors"), world.path("changed/start/projectors"), { recursive: true });
  const report = await again("changed");
  assert.equal([report.difference?.step, report.difference?.what, kindsOf(report)], [0, "weights", ["weights"]]);
  const given = await again("run", { model: other });
  assert.equal([given.difference?.step, given.difference?.what], [0, "weights"]);
  const log = await changedRun("log.jsonl", (text) => text.replace(/("step":4,.*?"grad_norm":)([\d.e-]+)/, "$11e9"));
  assert.equal([log.steps, log.difference?.step, log.difference?.what, log.difference?.logged], [3, 4, "gradient norm", 1e9]);
});

test("another dispatch level, and another build, are told as that", async () => {
  const own = here.describe();
  const level = ["generic", "avx2"].find((name) => !own.includes(`${name},`)) as string;
  const device: Device = await openDevice("cpu", { level });
  try {
    const report = await again("run", { device });
    assert.equal(kindsOf(report), ["device"]);
    assert.ok(report.causes[0]!.text.includes(level), report.causes[0]!.text);
    if (report.difference) assert.not.equal(report.difference.what, "rows");
  } finally {
    await device.close();
  }
  const build = await changedRun("origin.json", (text) => text.replace(/"addon": "\w+"/, '"addon": "another"'));
  assert.equal([build.difference, kindsOf(build)], [undefined, ["version"]]);
});

test("what is no run, or an older one, is refused with what to do", async () => {
  for (const [take, code, message] of [
    ["origin.json", "E_FILE", /with origin\.json and start\//],
    ["start", "E_FILE", /pass the model that it began from/],
    ["log.jsonl", "E_FILE", /train it first/],
    ["recipe.yaml", "E_FILE", /recipe\.yaml/],
  ] as const) {
    rmSync(world.path("changed"), { recursive: true, force: true });
    cpSync(world.path("run"), world.path("changed"), { recursive: true });
    rmSync(world.path(`changed/${take}`), { recursive: true });
    const error = await rejection(() => again("changed"));
    assert.is(error.code, code, error.stack);
    assert.match(error.message, message);
  }
  for (const text of ["{", "{}", '{"sittings":[]}', '{"sittings":[{"step":0}]}', "[".repeat(1e5)])
    assert.match((await rejection(() => changedRun("origin.json", () => text))).message, /origin\.json.*put it back from a copy/);
  for (const until of [0, 1.5]) assert.match((await rejection(() => again("run", { until }))).message, /until.*a step, counted from 1/);
});

test("a pattern of weights: the language model's own train from its folder, and are replayed", async () => {
  const output = world.path("whole");
  using model = await AnyMAL.assemble(world.options({ quantization: "none", modalities: { image: world.options().modalities.image! } }));
  const opens = ["projectors.*", "llm.*norm.weight"];
  await all(instruct(model, { data: world.path("instruct.json"), batch: 2, steps: 2, lora: false, opens, learningRate: 1e-2, output }));
  assert.equal(await again("whole"), { steps: 2, weights: [0, 2], causes: [] });
});

test.run();
