// Systems on the command line: the table, and --system, which was the text before a conversation once and still is where it says a sentence.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { trainingJob } from "../../lib/cli/training-job.js";
import { SYSTEM_NAMES } from "../../lib/systems/index.js";
import { type Toy, toy } from "../anymal/toy.js";
import { here } from "../case.js";
import { rejection } from "../train/stages.js";
import { run } from "./program.js";

const test = suite("systems on the command line");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const job = (flags: object) =>
  trainingJob("align", { output: world.path("out"), data: ["x"], ...flags }, (raw) => ({ ...raw, align: { image: {} } }));

test("the table has all that there are, and JSON their numbers", async () => {
  const [table, json] = await Promise.all([run(["systems"]), run(["systems", "--json"])]);
  for (const name of SYSTEM_NAMES) assert.match(table.out, new RegExp(`^ +${name.replace(".", "\\.")} `, "m"));
  const [{ systems }] = json.json() as [{ systems: Record<string, { stages: { align: { numbers: { learningRate: number } } } }> }];
  assert.is(systems["llava-1.5"]!.stages.align.numbers.learningRate, 1e-3);
});

test("--system names what a fresh model is; a sentence is a prompt", async () => {
  const fresh = { llm: world.llm, encoder: { image: world.clip } };
  const { recipe } = await job({ ...fresh, system: "llava-1.5" });
  assert.equal([recipe.system, recipe.model?.system, recipe.align.image?.learningRate], ["llava-1.5", "llava-1.5", 1e-3]);
  assert.is(recipe.model?.prompt, undefined);
  for (const flags of [{ system: "Be brief." }, { systemPrompt: "Be brief." }]) {
    const { recipe } = await job({ ...fresh, ...flags });
    assert.equal([recipe.system, recipe.model?.prompt], [undefined, { system: "Be brief." }]);
  }
  const both = await job({ ...fresh, system: "minigpt4", systemPrompt: "Be brief." });
  assert.equal([both.recipe.system, both.recipe.model?.prompt], ["minigpt4", { system: "Be brief." }]);
  assert.match((await rejection(() => job({ ...fresh, system: "llava1.5" }))).message, /did you mean "llava-1\.5"/);
});

test("a checkpoint goes on as what it is", async () => {
  const folder = world.path("llava");
  using model = await AnyMAL.assemble({ llm: world.llm, device: here, system: "llava", modalities: { image: { encoder: world.clip } } });
  await model.save(folder);
  const { recipe } = await job({ model: folder });
  assert.equal([recipe.system, recipe.align.image?.learningRate], ["llava", 2e-3]);
  const error = await rejection(() => job({ model: folder, system: "minigpt4" }));
  assert.is(error.code, "E_USAGE");
  assert.match(error.message, /is of llava, not of minigpt4; --system is for a fresh model/);
});

test.run();
