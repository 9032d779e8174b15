// Adapters of other kinds than LoRA, and LoRA's forms, as a recipe and the flags of stage 2 ask for them: put on, trained, saved and answered with.
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { UsageError } from "../../lib/cli/output.js";
import { readYaml } from "../../lib/train/recipe.js";
import { type Toy, toy } from "../anymal/toy.js";
import { here } from "../case.js";
import { inProcess, writeData } from "./program.js";

const test = suite("adapters of stage 2");
let world: Toy;
test.before(async () => {
  world = await toy();
  await writeData(world);
});
test.after(() => world.remove());

const flags = () => [
  ...["instruct", "--llm", world.llm, "--encoder", `image=${world.clip}`, "--projector", "image=linear,tokens=2"],
  ...["--data", world.path("instruct.json"), "--steps", "2", "--batch", "2", "--learning-rate", "0.01", "--quantization", "none", "--json"],
];
const bytes = async (model: AnyMAL, name: string) => {
  const tensors = [...(model.adapters.get(name)?.namedParameters() ?? [])];
  return Promise.all(tensors.map(async ([key, p]) => [key, Buffer.from(await p.bytes()).toString("base64")]));
};

test("a prefix and bottlenecks beside LoRA with lengths of its own: all of them train, and a run goes on with them", async () => {
  const output = world.path("several");
  const args = [...flags(), "--adapter", "prefix-tuning,tokens=3", "--adapter", "bottleneck,hidden=3"];
  const lora = ["--lora-r", "2", "--lora-target", "q_proj", "--lora-dora", "--lora-rs"];
  const { error } = await inProcess([...args, ...lora, "--output", output]);
  assert.is(error, undefined, String(error));
  const told = (await readYaml(join(output, "recipe.yaml"))) as { instruct: { lora: object; opens: string[] } };
  assert.equal(told.instruct.lora, { r: 2, alpha: 16, dropout: 0.05, targetModules: ["q_proj"], rsLora: true, dora: true });
  assert.equal(told.instruct.opens, ["projectors.*", "adapters.prefix-tuning.*", "adapters.bottleneck.*"]);
  using model = await AnyMAL.fromPretrained(output, { device: here });
  assert.equal([...model.adapters].map(([name, { kind }]) => [name, kind.name]), [["prefix-tuning", "prefix-tuning"], ["bottleneck", "bottleneck"], ["default", "lora"]]); // biome-ignore format: one line
  assert.equal([model.adapter?.config.dora, model.adapter?.config.rsLora], [true, true]);
  using fresh = await AnyMAL.assemble({
    ...{ llm: world.llm, device: here, quantization: "none" },
    modalities: { image: { encoder: world.clip, projector: { type: "linear", tokens: 2 } } },
    adapters: { "prefix-tuning": { tokens: 3 }, bottleneck: { hidden: 3 } },
  });
  for (const name of ["prefix-tuning", "bottleneck"]) assert.not.equal(await bytes(model, name), await bytes(fresh, name), name);
  const on = ["instruct", "--model", output, "--data", world.path("instruct.json"), "--steps", "2", "--batch", "2", "--json"];
  const again = await inProcess([...on, ...lora.slice(0, 4), "--output", world.path("on")]); // what is left out is as the model has it
  assert.is(again.error, undefined, String(again.error));
  const next = (await readYaml(join(world.path("on"), "recipe.yaml"))) as typeof told;
  assert.equal(next.instruct.lora, told.instruct.lora);
});

test("--adapter without a fresh model, a kind that is none, and options that it has not are told", async () => {
  const model = await inProcess(["instruct", "--model", world.path("x"), "--adapter", "bottleneck", "--data", "x", "--output", "y"]);
  assert.instance(model.error, UsageError);
  assert.match(model.error!.message, /fresh model/);
  const kind = await inProcess([...flags(), "--adapter", "prefix", "--output", world.path("a")]);
  assert.match(kind.error!.message, /"prefix"/);
  const option = await inProcess([...flags(), "--adapter", "prefix-tuning,rows=3", "--output", world.path("b")]);
  assert.match(option.error!.message, /"rows"/);
  const lora = await inProcess([...flags(), "--adapter", "lora", "--output", world.path("c")]);
  assert.match(lora.error!.message, /"lora"; training puts it on/);
});

test.run();
