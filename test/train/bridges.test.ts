// Each kind of bridge learns the toy's captions, is saved, and answers the same from the folder.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { BRIDGE_NAMES, type BridgeOptions } from "../../lib/models/bridges/index.js";
import { align } from "../../lib/train/align.js";
import { captions, square, type Toy, toy } from "../anymal/toy.js";
import { here } from "../case.js";
import { ALIGN, all, weights } from "./stages.js";

const test = suite("bridges in training");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const ASKED: Readonly<Record<(typeof BRIDGE_NAMES)[number], BridgeOptions>> = {
  resampler: { type: "resampler", layers: 1, tokens: 2 },
  linear: { type: "linear" },
  mlp: { type: "mlp" },
  "concat-linear": { type: "concat-linear", patches: 2 },
  "clip-pool": { type: "clip-pool", temporal: 2 },
  "q-former": { type: "q-former", width: 16, layers: 2, queries: 3 },
  "query-vit": { type: "query-vit", width: 16, heads: 2, layers: 1, queries: 3 },
};
const ROWS = { resampler: 2, linear: 4, mlp: 4, "concat-linear": 2, "clip-pool": 6, "q-former": 3, "query-vit": 3 };

for (const name of BRIDGE_NAMES)
  test(`${name}: aligned, saved, read back`, async () => {
    const modalities = { image: { encoder: world.clip, projector: ASKED[name] } };
    using model = await AnyMAL.assemble(world.options({ modalities }));
    const [one] = await model.features([square("red")]);
    assert.is(model.projector("image").rows(one!.shape), ROWS[name]);
    const start = await weights(model);
    const steps = await all(align(model, { ...ALIGN, data: captions(), steps: 60 }));
    const [first, last] = [steps[0]!, steps.at(-1)!];
    assert.ok(last.loss < 0.6 * first.loss, `loss went from ${first.loss} to ${last.loss}`);
    const moved = await weights(model);
    assert.equal(
      [...moved].filter(([key, bytes]) => String(bytes) === String(start.get(key))).map(([key]) => key),
      [],
    );
    const folder = world.path(name);
    await model.save(folder);
    using again = await AnyMAL.fromPretrained(folder, { device: here });
    assert.equal(await weights(again), moved);
    assert.equal(again.encoder("image").setup, model.encoder("image").setup);
    const ask = (from: AnyMAL) => from.generateAll([["see ", square("red")]], { maxNewTokens: 4 });
    assert.equal(await ask(again), await ask(model));
  });

test.run();
