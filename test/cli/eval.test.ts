// `anymal eval`: benchmarks listed, asked until somebody stops it and from there on, scored again.
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { type Toy, toy } from "../anymal/toy.js";
import { Layout, lines } from "../eval/layouts.js";
import { inProcess, run, start, writeData } from "./program.js";

const test = suite("anymal eval");
let world: Toy;
const layout = new Layout();
test.before(async () => {
  world = await toy();
  await writeData(world);
  const rows = Array.from({ length: 40 }, (_, n) => ({
    question_id: n,
    image: `${["red", "green", "blue"][n % 3]}.png`,
    text: `${n}?`,
    label: n % 2 ? "no" : "yes",
  }));
  layout.write({ "coco_pope_popular.json": lines(rows) });
  await using model = await AnyMAL.assemble(world.options({ quantization: "none" }));
  await model.save(world.path("model"));
});
test.after(() => {
  world.remove();
  layout.remove();
});

test("tasks are listed, each with its layout and conventions; a wrong command line says what is missing", async () => {
  const all = await inProcess(["eval", "--json"]);
  assert.ok(all.value.length > 14 && all.value.every(({ name, source, layout: where }) => name && source && where));
  const one = await inProcess(["eval", "mme", "--json"]);
  assert.equal(Object.keys(one.value[0]!.prompts as object), ["anymal", "lmms-eval", "vlmevalkit"]);
  assert.match((await inProcess(["eval", "mme", "--data", "x"])).error!.message, /--model, --data and --output are needed/);
  assert.match((await inProcess(["eval", "mnme"])).error!.message, /did you mean "mme"/);
  assert.match((await inProcess(["eval", "mme", "--score", "x"])).error!.message, /--score takes answers that are there/);
});

test("a file of one's own is told, asked of a model and scored again without the file", async () => {
  const file = layout.path("mine.yaml");
  const words = "fields: { label: label, question: text }";
  layout.write({
    "mine.yaml": `name: mine\nabout: a\nsource: b\nmodality: image\ndata: { files: coco_pope_popular.json, media: image, ${words} }\nprompt: { user: "<image>{{ question }}" }\nmetric: yes-no`,
  });
  assert.equal((await inProcess(["eval", file, "--json"])).value[0]!.layout, "coco_pope_popular.json, and media by the paths in it");
  for (const color of ["red", "green", "blue"]) layout.copy(world.path(`${color}.png`), `${color}.png`);
  const args = [
    "--model",
    world.path("model"),
    "--data",
    layout.folder,
    "--output",
    layout.path("mine"),
    "--device",
    "cpu",
    "--limit",
    "4",
  ];
  const asked = await inProcess(["eval", file, ...args, "--json"]);
  assert.is(asked.error, undefined);
  rmSync(file);
  const again = await inProcess(["eval", "--score", join(layout.path("mine"), "predictions.jsonl"), "--json"]);
  const scores = (one: typeof asked) => (one.value.at(-1) as { scores: object }).scores;
  assert.equal(scores(again), scores(asked));
});

test("stopped in the middle, gone on with to the same answers as at one go, scored again to the same bits", async () => {
  const root = ["eval", "pope", "--model", world.path("model"), "--data", layout.folder, "--prompts", "lmms-eval", "--device", "cpu"];
  for (const color of ["red", "green", "blue"]) layout.copy(world.path(`${color}.png`), `${color}.png`);
  const args = (output: string) => [...root, "--control", "blank", "--batch", "2", "--json", "--output", layout.path(output)];
  const stopped = start(args("cut"));
  const answers = (output: string) =>
    readFileSync(join(layout.path(output), "predictions.jsonl"), "utf8")
      .split("\n")
      .slice(1);
  await stopped.holds(() => answers("cut").length > 3);
  stopped.kill("SIGINT");
  const { code, err } = await stopped.done;
  assert.is(code, 130, err);
  assert.match(err, /stopping: the same command goes on from here/);
  const before = answers("cut");
  assert.ok(before.length < 80);
  const rest = await run(args("cut"));
  assert.is(rest.code, 0, rest.err);
  const whole = await inProcess(args("whole"));
  assert.equal(answers("cut"), answers("whole"));
  const [a, b] = [rest.json()[0]!, whole.value[0]!];
  assert.equal(a.scores, b.scores);
  const again = await inProcess([
    "eval",
    "--score",
    join(layout.path("cut"), "predictions.jsonl"),
    "--json",
    "--output",
    layout.path("again"),
  ]);
  assert.equal(again.value[0]!.scores, a.scores);
  const people = await run([
    "eval",
    "--score",
    join(layout.path("cut"), "predictions.jsonl"),
    "--output",
    layout.path("again"),
    "--prompts",
    "anymal",
  ]);
  assert.match(
    people.out,
    /pope, 40 questions, prompts of lmms-eval, rule of anymal: model\n +own +blank\n +accuracy +0\.\d{4} ± 0\.\d{4} /,
  );
});

test.run();
