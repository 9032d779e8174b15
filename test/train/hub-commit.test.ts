// A run on a data set of the hub says which commit of it was read: it goes on with that one, and is replayed with it when the set has moved on.
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseYaml } from "../../lib/io/yaml.js";
import { type InstructOptions, instruct } from "../../lib/train/instruct.js";
import type { Recipe } from "../../lib/train/recipe.js";
import { replay } from "../../lib/train/replay/replay.js";
import { type Toy, toy } from "../anymal/toy.js";
import { here } from "../case.js";
import { COMMIT, Place } from "../io/hub/place.js";
import { all, assembledIn, rejection } from "./stages.js";

const test = suite("the commit of a data set");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const set = (commit: string, ...answers: string[]) => ({
  commit,
  files: { "train.jsonl": answers.map((answer, i) => JSON.stringify({ question: `what is ${i}?`, answer })).join("\n") },
});

test("recipe.yaml names it, whatever the id said", async () => {
  await using place = await Place.make({ "datasets/org/set": set(COMMIT, "one", "two"), "datasets/org/more": set(COMMIT, "three") });
  const of = (name: string) => {
    const output = world.path(name);
    return { output, told: () => (parseYaml(readFileSync(`${output}/recipe.yaml`, "utf8")) as Recipe).instruct!.data };
  };
  const run = async (output: string, data: InstructOptions["data"], more: Partial<InstructOptions> = {}) => {
    using model = await assembledIn(world);
    return await all(instruct(model, { data, output, lora: { r: 2 }, batch: 2, steps: 2, learningRate: 1e-2, ...more }));
  };
  const [plain, parts] = [of("plain"), of("parts")];
  await run(plain.output, "org/set");
  assert.is(plain.told(), `org/set@${COMMIT}`);
  await run(parts.output, [
    { from: "hf://datasets/org/set@main", weight: 1 },
    { from: ["org/more"], weight: 2 },
  ]);
  assert.equal(parts.told(), [{ from: `hf://datasets/org/set@${COMMIT}`, weight: 1 }, { from: [`org/more@${COMMIT}`], weight: 2 }]); // biome-ignore format: one line

  assert.equal(await run(plain.output, "org/set", { resume: true }), [], "the same commit goes on");
  place.hub.models["datasets/org/set"] = set(COMMIT.replaceAll("0", "f"), "another", "answer");
  const error = await rejection(() => run(plain.output, "org/set", { resume: true }));
  assert.match(error.message, new RegExp(`instruct\\.data to be "org/set@${COMMIT}", as in the run's recipe\\.yaml`));
  assert.equal(await replay(plain.output, { device: here, localFilesOnly: true }), { steps: 2, weights: [0, 2], causes: [] });
});

test.run();
