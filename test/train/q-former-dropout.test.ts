// Dropout in a Q-Former that trains: on within a step and nowhere else, the same in a run that goes on, and none where the Q-Former is frozen.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { FirstStage } from "../../lib/anymal/first-stage.js";
import type { QFormerOptions } from "../../lib/models/bridges/q-former.js";
import { align } from "../../lib/train/align.js";
import { representMedia } from "../../lib/train/represent-media.js";
import { captions, type Toy, toy } from "../anymal/toy.js";
import { here } from "../case.js";
import { ALIGN, all, rejection, weights } from "./stages.js";

const test = suite("dropout in Q-Formers");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const SMALL = { type: "q-former", queries: 3, layers: 2, width: 16, normalize: "layernorm" } as const;
const assembled = (more: Partial<QFormerOptions> = {}, system = "blip-2") =>
  AnyMAL.assemble(
    world.options({
      system: system as "blip-2",
      modalities: { image: { encoder: world.clip, projector: { ...SMALL, ...more } as QFormerOptions } },
    }),
  );
const RUN = { ...ALIGN, batch: 4, microBatch: 2, steps: 4, seed: 5 } as const;

test("steps draw, who asks between two of them does not, and a run that goes on is the one that was never stopped", async () => {
  const data = captions(2);
  using whole = await assembled();
  const steps = await all(align(whole, { ...RUN, data }));
  using none = await assembled({ dropout: 0 });
  const still = await all(align(none, { ...RUN, data }));
  assert.ok(steps[0]!.loss !== still[0]!.loss, "nothing was dropped in the first step");

  const output = world.path("stopped");
  {
    using model = await assembled();
    for await (const { step } of align(model, { ...RUN, data, output })) {
      const on = [...model.projector("image").modules(), ...model.llm.modules()].filter(({ training }) => training);
      assert.is(on.length, 0, "dropout is on between two steps");
      if (step === 2) break;
    }
  }
  using again = await assembled();
  const refused = await rejection(() => all(align(again, { ...RUN, data, output, resume: true, microBatch: 4 })));
  assert.is(refused.code, "E_RECIPE");
  assert.match(refused.message, /microBatch/);
  const rest = await all(align(again, { ...RUN, data, output, resume: true }));
  assert.is(rest.at(-1)!.loss, steps.at(-1)!.loss);
  assert.equal(await weights(again), await weights(whole));
  assert.not.equal(await weights(again), await weights(none));
});

test("a frozen Q-Former drops nothing while its layer trains; one that may be resumed in other micro-batches", async () => {
  const data = captions(2);
  const losses = async (more: Partial<QFormerOptions>) => {
    using model = await assembled({ frozen: true, ...more }, "minigpt4");
    const steps = await all(align(model, { ...RUN, data }));
    return steps.map(({ loss }) => loss);
  };
  assert.equal(await losses({}), await losses({ dropout: 0 }));
  const output = world.path("frozen");
  using model = await assembled({ frozen: true }, "minigpt4");
  for await (const { step } of align(model, { ...RUN, data, output })) if (step === 2) break;
  assert.ok((await all(align(model, { ...RUN, data, output, resume: true, microBatch: 4 }))).length);
});

test("the first stage draws too, unless told not to", async () => {
  const first = async (dropout?: number) => {
    const { normalize: _, ...projector } = SMALL;
    using stage = await FirstStage.assemble({
      ...{ encoder: world.clip, words: world.llm, device: here, seed: 2 },
      projector: { ...projector, heads: 2, ...(dropout !== undefined && { dropout }) },
    });
    const steps = await all(representMedia(stage, { data: captions(2), batch: 4, steps: 2, learningRate: 1e-3, seed: 1 }));
    return steps.map(({ loss }) => loss);
  };
  const [usual, same, none] = [await first(), await first(0.1), await first(0)];
  assert.equal(usual, same);
  assert.not.equal(usual, none);
});

test.run();
