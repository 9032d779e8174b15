// A stage that does not fit says what held how much, and its three settings let it go on in the same memory or less.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { openDevice } from "../../lib/core/device.js";
import { AnymalError } from "../../lib/core/errors.js";
import { align } from "../../lib/train/align.js";
import { TrainingMemoryError } from "../../lib/train/out-of-memory.js";
import { captions, type Toy, toy } from "../anymal/toy.js";
import { ALIGN, all, rejection } from "./stages.js";

const test = suite("out of memory");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const rows = captions(8);
const RUN = { ...ALIGN, data: rows, steps: 2, batch: rows.length, microBatch: rows.length };

/** The stage on a device that may hold so much; its peak. */
async function inside(memoryLimit: number | undefined, more: object = {}): Promise<number> {
  const device = await openDevice("cpu", { threads: 1, ...(memoryLimit !== undefined && { memoryLimit }) });
  try {
    const { image } = world.options().modalities;
    using model = await AnyMAL.assemble(world.options({ device, modalities: { image: image! } }));
    await all(align(model, { ...RUN, ...more }));
    return device.memory().bytesPeak;
  } finally {
    await device.close();
  }
}

test("a typed error with the parts and three settings", async () => {
  const needed = await inside(undefined);
  const limit = Math.round(needed * 0.6);
  const error = await rejection(() => inside(limit));
  assert.ok(error instanceof TrainingMemoryError && error instanceof AnymalError);
  assert.is(error.code, "E_OUT_OF_MEMORY");
  const { weights, trained, activations, scratch, peak, limit: told } = error.breakdown;
  assert.is(told, limit);
  assert.is(weights + trained + activations + scratch, peak);
  assert.ok(peak <= limit && weights > 0 && trained > 0 && activations > 0);
  assert.is(error.settings.length, 3);
  assert.ok(error.settings.some(({ key }) => key === "microBatch"));
  for (const { key } of error.settings) assert.match(error.message, key);
  assert.match(error.message, /align image: out of memory/);
  assert.ok(error.cause instanceof Error && /out of memory on/.test(error.cause.message));
});

test("smaller micro-batches are what it says they are", async () => {
  const needed = await inside(undefined);
  const less = await inside(undefined, { microBatch: 4 });
  assert.ok(less < needed);
  assert.is(await inside(Math.round(needed * 1.5), { microBatch: 4 }), less, "the same steps fit");
});

test("other errors come as they are", async () => {
  const error = await rejection(() => inside(undefined, { data: [] }));
  assert.is(error.code, "E_DATA");
});

test.run();
