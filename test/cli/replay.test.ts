// `anymal replay`: what it prints, and its exit code.
import { readFileSync, writeFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Toy, toy } from "../anymal/toy.js";
import { inProcess, run, writeData } from "./program.js";

const test = suite("anymal replay");
let world: Toy;
test.before(async () => {
  world = await toy();
  await writeData(world);
});
test.after(() => world.remove());

test("a run of flags is replayed; a change is named with its likely cause, and ends with 1", async () => {
  const output = world.path("run");
  const model = ["--llm", world.llm, "--encoder", `image=${world.clip}`, "--projector", "image=linear"];
  const steps = ["--steps", "2", "--batch", "2", "--learning-rate", "0.01"];
  await inProcess([
    "align",
    ...model,
    "--modality",
    "image",
    "--data",
    world.path("captions.jsonl"),
    ...steps,
    "--output",
    output,
    "--json",
  ]);
  const { value, error } = await inProcess(["replay", output, "--json"]);
  assert.is(error, undefined, String(error));
  assert.equal(value, [{ type: "result", steps: 2, weights: [0, 2], causes: [] }]);
  const recipe = `${output}/recipe.yaml`;
  writeFileSync(recipe, readFileSync(recipe, "utf8").replace("learningRate: 0.01", "learningRate: 0.5"));
  const changed = await run(["replay", output, "--until", "1"]);
  assert.is(changed.code, 1, changed.err);
  assert.match(changed.out, /0 steps as logged, to the bit; so are the weights after step 0\n/);
  assert.match(changed.out, /in step 1: learning rate 0\.5, and 0\.01 in the run\n/);
  assert.match(changed.out, /likely because recipe\.yaml was changed: align\.image\.learningRate was 0\.01, is 0\.5\n/);
});

test("so is a run of the first stage, named by its folder alone", async () => {
  const output = world.path("represented");
  const model = [
    "--encoder",
    `image=${world.clip}`,
    "--words",
    world.llm,
    "--projector",
    "image=q-former,queries=2,layers=1,width=16,heads=2,hidden=16",
  ];
  const data = ["--data", world.path("captions.jsonl"), "--steps", "2", "--batch", "2", "--warmup-steps", "0", "--output", output];
  const { error } = await inProcess(["represent", ...model, ...data, "--json"]);
  assert.is(error, undefined, String(error));
  const { value } = await inProcess(["replay", output, "--json"]);
  assert.equal(value, [{ type: "result", steps: 2, weights: [0, 2], causes: [] }]);
  const refused = await inProcess(["replay", output, "--llm", world.llm]);
  assert.match(refused.error!.message, /a first stage has no language model/);
});

test.run();
