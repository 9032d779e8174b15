// Stage 2 on a model that has an adapter: it goes on with the one that is there, where that is the one that was asked for.
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { LoraConfig } from "../../lib/adapters/lora-config.js";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { type InstructOptions, instruct } from "../../lib/train/instruct.js";
import { captions, type Toy, toy } from "../anymal/toy.js";
import { all, rejection } from "./stages.js";

const test = suite("an adapter that is there");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

async function adapted(config: Partial<LoraConfig>): Promise<AnyMAL> {
  const model = await AnyMAL.assemble(world.options({ modalities: { image: world.options().modalities.image! } }));
  model.addAdapter(config);
  return model;
}
const OWN = { r: 2, alpha: 6, dropout: 0.25, targetModules: ["q_proj", "v_proj"] };

test("what is not asked for is the adapter's, in the run's recipe too", async () => {
  const asked: InstructOptions["lora"][] = [
    undefined,
    {},
    { r: 2 },
    { dropout: 0.25, alpha: 6 },
    { targetModules: ["v_proj", "q_proj"] },
    { targetModules: ".*_attn\\.[qv]_proj|.*attention\\.[qv]_proj" },
  ];
  for (const [i, lora] of asked.entries()) {
    using model = await adapted(OWN);
    const { adapter } = model;
    const output = world.path(`run-${i}`);
    const steps = await all(instruct(model, { data: captions(), batch: 2, steps: 1, output, ...(lora && { lora }) }));
    assert.is(steps.length, 1);
    assert.is(model.adapter, adapter);
    const recipe = readFileSync(`${output}/recipe.yaml`, "utf8");
    assert.match(recipe, /r: 2\n\s+alpha: 6\n\s+dropout: 0.25\n/);
    if (i === 0) assert.match(recipe, /targetModules:\n\s+- q_proj\n\s+- v_proj\n/);
  }
});

test("an adapter of another kind is refused, with what it is and what was asked for", async () => {
  using model = await adapted(OWN);
  const refused: [NonNullable<InstructOptions["lora"]>, RegExp][] = [
    [{ r: 4 }, /expected r 2, that of the adapter that the model has, got r 4; take this,/],
    [{ r: 4, alpha: 16 }, /expected r 2 and alpha 6, those of .*, got r 4 and alpha 16; take these,/],
    [{ dropout: 0 }, /expected dropout 0.25, .*, got dropout 0;/],
    [{ targetModules: "all-linear" }, /expected targetModules \["q_proj","v_proj"\], .*, got targetModules "all-linear";/],
    [{ targetModules: ["q_proj"] }, /got targetModules \["q_proj"\];/],
    [{ targetModules: ["q_proj", "v_proj", "o_proj"] }, /got targetModules/],
  ];
  for (const [lora, message] of refused) {
    const error = await rejection(() => all(instruct(model, { data: captions(), batch: 2, steps: 1, lora })));
    assert.is(error.code, "E_LORA");
    assert.match(error.message, message);
  }
});

test("all linear layers, by that word or by their names, are the same layers", async () => {
  using model = await adapted({ r: 2, alpha: 6 });
  const names = [...new Set([...model.adapter!.layers.keys()].map((path) => path.split(".").at(-1)!))];
  const lora = { r: 2, alpha: 6, dropout: 0, targetModules: names };
  assert.is((await all(instruct(model, { data: captions(), batch: 2, steps: 1, lora }))).length, 1);
});

test.run();
