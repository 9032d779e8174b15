// A model is asked while it trains, between two pieces of a step: the answer knows nothing of dropout, and the training nothing of the asking.
import { setImmediate } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { noGrad } from "../../lib/core/autograd.js";
import { nextRandom } from "../../lib/core/random.js";
import { scope } from "../../lib/core/scope.js";
import { slice } from "../../lib/core/turns.js";
import { instruct } from "../../lib/train/instruct.js";
import { square, type Toy, toy } from "../anymal/toy.js";
import { random } from "../harness.js";

const test = suite("a model that is asked while it trains");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const data = (["red", "blue"] as const).map((color) => ({
  where: color,
  turns: [
    { role: "user" as const, content: [square(color), "which one?"] },
    { role: "assistant" as const, content: [color] },
  ],
}));

/** Trains a step with dropout, in the smallest pieces; `meanwhile` runs between them. The losses and norms, to the bit. */
async function trained(gradientCheckpointing: boolean, meanwhile: (model: AnyMAL) => Promise<void>): Promise<number[]> {
  using model = await AnyMAL.assemble(world.options({ modalities: { image: world.options().modalities.image! } }));
  const adapter = model.addAdapter({ r: 2, alpha: 64, dropout: 0.5 });
  const draw = random(7);
  for (const [, { loraB }] of adapter.layers) loraB.write(Float32Array.from({ length: loraB.size }, () => 0.5 * draw()));
  model.llm.gradientCheckpointing = gradientCheckpointing;
  let running = true;
  const before = slice.ms;
  slice.ms = 0;
  try {
    const asking = (async () => {
      for (; running; await setImmediate()) await meanwhile(model);
    })();
    asking.catch(() => undefined); // told below
    const numbers: number[] = [];
    // No step changes anything, so the answer has to stay what it was.
    const options = { data, batch: 2, microBatch: 1, steps: 4, learningRate: 0, lora: { r: 2, alpha: 64, dropout: 0.5 } };
    for await (const { loss, gradNorm } of instruct(model, options)) numbers.push(loss, gradNorm);
    running = false;
    await asking;
    return numbers;
  } finally {
    running = false;
    slice.ms = before;
  }
}

async function logits(model: AnyMAL): Promise<Float32Array> {
  using output = noGrad(() => scope(() => model.llm.forward({ inputIds: [[3, 4, 5]] }).logits!));
  return (await output.data()) as Float32Array;
}

for (const gradientCheckpointing of [false, true])
  test(`${gradientCheckpointing ? "with layers run again" : "plain"}: the same answer at any time, the same training`, async () => {
    let [asked, drawn] = [0, 0];
    const plain = await trained(gradientCheckpointing, async () => undefined);
    let first: Float32Array | undefined;
    const disturbed = await trained(gradientCheckpointing, async (model) => {
      const now = await logits(model);
      first ??= now;
      assert.equal(now, first);
      ++asked;
      for (let i = 0; i < 3; ++i) drawn = nextRandom().offset; // as who trains something else would
    });
    assert.ok(asked > 4 && drawn > 10, `${asked} times in 4 steps`); // within steps, not only between them
    assert.equal(disturbed, plain);
    assert.ok(plain.every(Number.isFinite) && plain[0] !== plain[2], `dropout makes two steps differ: ${plain}`);
  });

test.run();
