// Rows as training takes them: bad ones named or left out whatever the batch, media encoded together.
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AssembleOptions } from "../../lib/anymal/options.js";
import type { Row } from "../../lib/data/row.js";
import { align } from "../../lib/train/align.js";
import { captions, square, type Toy, toy } from "../anymal/toy.js";
import { encodedTogether } from "../recorded.js";
import { ALIGN, all, assembledIn, rejection, weights } from "./stages.js";

const test = suite("training rows");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const assembled = (more: Partial<AssembleOptions> = {}) => assembledIn(world, more);

test("bad rows are named: thrown at once, or left out and told", async () => {
  using model = await assembled();
  const context = model.llm.config.maxPositions;
  const bad: Row[] = [
    {
      where: "rows:1",
      turns: [
        { role: "user", content: ["no picture"] },
        { role: "assistant", content: ["red"] },
      ],
    },
    {
      where: "rows:2",
      turns: [
        { role: "user", content: [{ modality: "image", source: "/nowhere.png", options: {} }] },
        { role: "assistant", content: ["red"] },
      ],
    },
    {
      where: "rows:3",
      turns: [
        { role: "user", content: [{ modality: "image", source: new Uint8Array([1, 2, 3]), options: {} }] },
        { role: "assistant", content: ["red"] },
      ],
    },
    {
      where: "rows:4",
      turns: [
        { role: "user", content: ["long ".repeat(context), square("red")] },
        { role: "assistant", content: ["red"] },
      ],
    },
    {
      where: "rows:5",
      turns: [
        { role: "user", content: [square("red"), { modality: "audio", source: "x.wav", options: {} }] },
        { role: "assistant", content: ["red"] },
      ],
    },
  ];
  const patterns = [
    /rows:1: .*medium of image/,
    /rows:2: .*no such file/,
    /rows:3: .*picture/,
    new RegExp(`rows:4: .*within ${context} positions`),
    /rows:5: .*media of image, got audio/,
  ];
  for (const [i, row] of bad.entries()) {
    const error = await rejection(() => all(align(model, { ...ALIGN, data: [row], steps: 1 })));
    assert.match(error.message, patterns[i]!);
  }
  const told: string[] = [];
  const options = {
    ...ALIGN,
    data: [...bad, ...captions()],
    steps: 6,
    onBadRow: "skip",
    onProblem: (error: Error) => told.push(error.message),
  } as const;
  const steps = await all(align(model, options));
  assert.is(steps.at(-1)!.skippedRows, 5);
  assert.is(told.length, 5);
  for (const pattern of patterns)
    assert.ok(
      told.some((message) => pattern.test(message)),
      `${pattern}: ${told}`,
    );
  const none = await rejection(() => all(align(model, { ...ALIGN, data: [], steps: 1 })));
  assert.is(none.code, "E_DATA");
});

test("a batch whose rows are all bad is left out: a run at any batch goes on with the good rows, also after a stop", async () => {
  const cut: Row = {
    where: "rows:cut",
    turns: [
      { role: "user", content: [{ modality: "image", source: new Uint8Array([0x89, 0x50, 0x4e, 0x47, 1]), options: {} }] },
      { role: "assistant", content: ["red"] },
    ],
  };
  const data = [...captions().slice(0, 2), cut, ...captions().slice(2)];
  for (const batch of [1, 2, 4]) {
    using model = await assembled();
    const told: string[] = [];
    const options = {
      ...ALIGN,
      batch,
      microBatch: 1,
      data,
      steps: 12,
      saveEvery: 100,
      onBadRow: "skip",
      onProblem: (e: Error) => told.push(e.message),
    } as const;
    const steps = await all(align(model, options));
    assert.is(steps.length, 12);
    assert.is(told.length, 1, `batch ${batch}: ${told}`);
    assert.match(told[0]!, /rows:cut/);
    assert.ok(steps.every(({ scoredTokens }) => scoredTokens > 0));
    if (batch > 1) continue;
    assert.ok(steps.at(-1)!.epoch > 12 / 5, "the batches that were left out count as seen");
    // Stopped behind the batch that was left out, a run goes on as the unbroken one did.
    for (const stopAt of [4, 7]) {
      using other = await assembled();
      const output = join(world.folder, `left-out-${stopAt}`);
      const stop = new AbortController();
      for await (const { step } of align(other, { ...options, output, signal: stop.signal })) if (step === stopAt) stop.abort();
      using again = await assembled();
      await all(align(again, { ...options, output, resume: true }));
      assert.equal(await weights(again), await weights(model), `stopped at ${stopAt}`);
    }
  }
  using model = await assembled();
  const none = await rejection(() =>
    all(align(model, { ...ALIGN, batch: 1, microBatch: 1, data: [cut, cut], steps: 6, onBadRow: "skip", onProblem: () => {} })),
  );
  assert.is(none.code, "E_DATA");
  assert.match(none.message, /at least one usable row, got none of 2/);
});

test("calibration encodes a step's rows together", async () => {
  using model = await assembled();
  const { encoder } = model.encoder("image");
  const sizes = encodedTogether(encoder);
  await all(align(model, { ...ALIGN, data: captions(), steps: 1 }));
  assert.equal(sizes, [4]); // and the step takes them from the cache
});

test.run();
