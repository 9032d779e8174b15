// Data that are made ready ahead of the steps: as far as memory allows, without a change of what a step sees or of when an error is told.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Batches } from "../../lib/data/batches.js";
import { FeatureCache } from "../../lib/data/feature-cache.js";
import type { Row } from "../../lib/data/row.js";
import { heldRows } from "../../lib/data/sources/source.js";
import { Ahead } from "../../lib/train/ahead.js";
import { align } from "../../lib/train/align.js";
import { FeatureSource } from "../../lib/train/feature-source.js";
import { PromptRows } from "../../lib/train/prompt-rows.js";
import { type Draft, TrainingRows } from "../../lib/train/training-rows.js";
import { captions, colors, type Toy, toy } from "../anymal/toy.js";
import { encodedTogether } from "../recorded.js";
import { ALIGN, all, assembledIn, rejection } from "./stages.js";

const test = suite("ahead");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

/** Rows whose windows hold `bytes` each; every third batch has no good row. */
function rowsOf(bytes: number) {
  const told = { begun: 0, finished: 0, most: 0, signals: [] as AbortSignal[], open: 0 };
  const rows = {
    ...{ length: 100, stepsPerEpoch: 10, skipped: 0, isUsable: true, seek: () => {} },
    begin(signal = new AbortController().signal): Draft<number> {
      told.signals.push(signal);
      told.most = Math.max(told.most, ++told.begun - told.finished);
      ++told.open;
      const ended = new Promise<[]>((resolve, reject) => {
        const stop = () => {
          clearTimeout(timer);
          reject(signal.reason);
        };
        const timer = setTimeout(() => {
          signal.removeEventListener("abort", stop);
          resolve([]);
        }, 1);
        signal.addEventListener("abort", stop);
      });
      ended.then(
        () => --told.open,
        () => --told.open,
      );
      return { rows: ended };
    },
    async finish({ rows }: Draft<number>) {
      await rows;
      return { ready: ++told.finished % 3 ? [0] : [], media: 0, kept: 0, bytes, digest: "" };
    },
  };
  return { rows, told };
}

test("windows are begun as far ahead as memory and the steps that are left allow", async () => {
  for (const [bytes, most] of [
    [4, 8],
    [64 << 20, 4],
    [300 << 20, 2], // until it is known how large they are
  ] as const) {
    const { rows, told } = rowsOf(bytes);
    const ahead = new Ahead(rows, 20);
    for (let step = 0; step < 20; ++step) {
      const { batches } = await ahead.next(step);
      assert.is(batches, step + 1 + Math.floor(step / 2), "batches without a good row count as used");
      const own = Math.max(1, Math.min(8, Math.floor((256 << 20) / bytes)));
      assert.is(told.begun - told.finished, Math.min(own, 20 - step - 1), "as many are under way, and none that no step is there for");
    }
    assert.is(told.most, most, `${bytes} bytes`);
    assert.is(told.begun, told.finished);
    await ahead.end();
  }
});

test("what is under way ends with the run, and with its signal's reason where it has one", async () => {
  for (const isAborted of [false, true]) {
    const { rows, told } = rowsOf(4);
    const ahead = new Ahead(rows, 20);
    const stop = new AbortController();
    const reason = new Error("enough");
    await ahead.next(0, stop.signal);
    assert.ok(told.open > 0);
    if (isAborted) {
      stop.abort(reason);
      assert.is(await rejection(() => ahead.next(1, stop.signal)), reason);
    }
    await ahead.end();
    assert.is(told.open, 0);
    assert.ok(told.signals.every(({ aborted }) => aborted));
  }
});

test("a bad row is told when its step comes, not when it is met", async () => {
  const good = captions(3);
  const nowhere = { modality: "image", source: "/nowhere.png", options: {} } as const;
  const [, answer] = good[0]!.turns;
  const data: Row[] = [...good, { where: "rows:bad", turns: [{ role: "user", content: [nowhere] }, answer!] }];
  for (const seed of [1, 2, 3]) {
    const batches = new Batches(data.length, { batchSize: 1, seed, last: "drop" });
    let before = 0;
    while (batches.next()[0] !== data.length - 1) ++before;
    using model = await assembledIn(world);
    let steps = 0;
    const output = join(world.folder, `bad-${seed}`);
    const options = { ...ALIGN, batch: 1, microBatch: 1, seed, data, output, steps: data.length, saveEvery: 1 };
    const error = await rejection(async () => {
      for await (const { step } of align(model, options)) steps = step;
    });
    assert.match(error.message, /^rows:bad: .*nowhere\.png/);
    assert.is(steps, before);
  }
});

test("a medium that several rows show is encoded once, with the others of its step", async () => {
  using model = await assembledIn(world);
  const cache = new FeatureCache({ memoryBytes: 2 ** 20 });
  const source = new FeatureSource(model, cache);
  const { encoder } = model.encoder("image");
  const sizes = encodedTogether(encoder);
  const rows = [...captions(), ...captions()].map(({ turns }) => turns[0]!.content.filter((part) => typeof part !== "string"));
  const [first, second] = await Promise.all([source.media(rows), source.media(rows)]);
  assert.equal(sizes, [colors.length]);
  assert.is(cache.counts.made, colors.length);
  const keptOf = (made: typeof first) => made.map((one) => (one.status === "fulfilled" ? one.value.kept : -1));
  assert.equal(keptOf(first), [...colors.map(() => 0), ...colors.map(() => 1)]);
  assert.equal(keptOf(second), rows.map(() => 1)); // biome-ignore format: one line
  const good = captions()[0]!.turns[0]!.content.filter((part) => typeof part !== "string");
  const bad = { modality: "image", source: new Uint8Array([1, 2, 3]), options: {} } as const;
  const mixed = await source.media([good, [bad], [...good, bad]]);
  assert.equal(mixed.map(({ status }) => status), ["fulfilled", "rejected", "rejected"]); // biome-ignore format: one line
});

test("reports and the log tell how many features were kept, and how long a step waited", async () => {
  using model = await assembledIn(world);
  await all(align(model, { ...ALIGN, data: captions(), steps: 1 })); // measures features
  const data = captions(2);
  const output = world.path("kept");
  const steps = await all(align(model, { ...ALIGN, data, batch: 4, steps: 6, output, logEvery: 1 }));
  const shown = steps.map(({ media, mediaKept }) => [media, mediaKept]);
  const kept = shown.slice(0, 2).reduce((n, [, k]) => n + k!, 0);
  assert.is(kept, 2 * 4 - colors.length, "the first epoch makes each picture once");
  assert.equal(shown.slice(2), [1, 2, 3, 4].map(() => [4, 4])); // biome-ignore format: one line
  assert.ok(steps.every(({ secondsWaited }) => secondsWaited >= 0));
  const lines = readFileSync(join(output, "log.jsonl"), "utf8").trim().split("\n");
  const logged = lines.map((line) => JSON.parse(line));
  assert.equal(
    logged.map(({ media, feature_hit_rate, data_wait }) => [media, feature_hit_rate, data_wait]),
    steps.map(({ media, mediaKept, secondsWaited }) => [media, mediaKept / media, secondsWaited]),
  );
});

test("rows are the same however far ahead they are begun", async () => {
  using model = await assembledIn(world);
  const make = () =>
    new TrainingRows(
      new PromptRows(model, { maxLength: model.llm.config.maxPositions }),
      heldRows(captions(3)),
      new FeatureSource(model, new FeatureCache({ memoryBytes: 2 ** 20 })),
      { seed: 4, batch: 3, onBadRow: "throw" },
    );
  const [rows, ahead] = [make(), new Ahead(make(), 10)];
  const order = new Batches(3 * colors.length, { batchSize: 3, seed: 4, last: "drop" });
  for (let step = 0; step < 10; ++step) {
    const { ready } = await rows.finish(rows.begin());
    assert.equal(ready.map(({ where }) => where), order.next().map((i) => captions(3)[i]!.where)); // biome-ignore format: one line
    assert.equal((await ahead.next(step)).ready, ready);
  }
});

test.run();
