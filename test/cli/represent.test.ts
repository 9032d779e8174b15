// `anymal represent`, and `anymal align` on the folder that it wrote; the same from a recipe.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Toy, toy } from "../anymal/toy.js";
import { inProcess, writeData } from "./program.js";

const test = suite("anymal represent");
let world: Toy;
test.before(async () => {
  world = await toy();
  await writeData(world);
});
test.after(() => world.remove());

const Q_FORMER = "image=q-former,queries=2,layers=1,width=16,heads=2,hidden=16";
const steps = ["--steps", "2", "--batch", "2", "--learning-rate", "0.001", "--json"];

test("a Q-Former is trained from flags, and the second stage begins on its folder", async () => {
  const [data, output, after] = [world.path("captions.jsonl"), world.path("represent"), world.path("align")];
  const parts = ["--encoder", `image=${world.clip}`, "--data", data];
  const first = await inProcess([
    "represent",
    ...parts,
    "--words",
    world.llm,
    "--projector",
    Q_FORMER,
    ...steps,
    "--norm-limit",
    "9e9",
    "--on-diverged",
    "skip",
    "--report-to",
    "html",
    "--output",
    output,
  ]);
  assert.is(first.error, undefined, String(first.error));
  assert.equal(first.value.map(({ type, step }) => [type, step]), [["step", 1], ["step", 2], ["result", 2]]); // biome-ignore format: one line
  for (const file of ["checkpoint/projector.safetensors", "report.html"]) assert.ok(existsSync(join(output, file)), file);
  assert.match(readFileSync(join(output, "recipe.yaml"), "utf8"), /onDiverged: skip\n {2}normLimit: 9/);
  const model = ["--system", "blip-2", "--llm", world.llm, "--projector", `image=${output}`, "--modality", "image"];
  const second = await inProcess(["align", ...parts, ...model, "--quantization", "none", ...steps, "--output", after]);
  assert.is(second.error, undefined, String(second.error));
  const again = await inProcess(["represent", ...parts, "--words", world.llm, "--projector", Q_FORMER, ...steps, "--output", output]);
  assert.match(again.error!.message, /--resume goes on with it/);
});

test("a recipe says the same; what it lacks is named", async () => {
  const config = world.path("recipe.yaml");
  const q = { type: "q-former", queries: 2, layers: 1, width: 16, heads: 2, hidden: 16 };
  const represent = { words: world.llm, data: world.path("captions.jsonl"), embedDim: 8, steps: 1, batch: 2 };
  const recipe = (section: object) => ({ model: { modalities: { image: { encoder: world.clip, projector: q } } }, represent: section });
  const run = (section: object, ...more: string[]) => {
    writeFileSync(config, JSON.stringify(recipe(section)));
    return inProcess(["represent", "--config", config, "--json", ...more]);
  };
  const { error, value } = await run(represent, "--output", world.path("from-recipe"));
  assert.is(error, undefined, String(error));
  assert.is(value.at(-1)!.step, 1);
  for (const [section, message] of [
    [{ ...represent, words: undefined }, /--words is needed/],
    [{ ...represent, data: undefined }, /--data is needed/],
    [{ ...represent, embedDims: 3 }, /embedDim/],
    [{ ...represent, modality: "imu" }, /--encoder imu=FOLDER is needed/],
    [{ ...represent, batch: 1 }, /at least two pairs/],
  ] as const)
    assert.match((await run(section, "--output", world.path("never"))).error!.message, message);
  assert.match((await run(represent)).error!.message, /--output is needed/);
  const stored = await run(represent, "--output", world.path("never"), "--projector", `image=${world.path("from-recipe")}`);
  assert.match(stored.error!.message, /what a fresh Q-Former is to be/);
});

test.run();
