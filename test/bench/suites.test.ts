// Each suite in small: its record is of the form that bench/schema.json describes, and says what was asked. How fast it was is nobody's business here.
import { readdirSync, readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { now, setClock } from "../../bench/clock.js";
import { contest, figuresOf, inTurns } from "../../bench/contest.js";
import type { BenchRecord } from "../../bench/record.js";
import { runSuite } from "../../bench/run-suite.js";
import type { SuiteOptions } from "../../bench/suite.js";
import { misfits } from "./schema.js";

const test = suite("bench suites");
const folder = new URL("../../bench/", import.meta.url);
const schema = JSON.parse(readFileSync(new URL("schema.json", folder), "utf8"));

/** One turn over the tiny sizes; the peaks, which take seconds to measure, are given. */
const small = (more: Partial<SuiteOptions>): SuiteOptions => ({
  ...{ device: "cpu", threads: 2, filter: "", size: "tiny", levels: [undefined], turns: 1, rivals: undefined, seeds: [0], effort: 0.001 },
  peaks: async () => ({ f32: 1e11, bf16: 2e11, bandwidth: 1e10 }),
  say: () => {},
  ...more,
});

/** Of each suite: what makes it short, and which cases have to be there. */
const CASES: Record<string, { options: Partial<SuiteOptions>; cases: readonly string[] }> = {
  attention: { options: { filter: "bf16, 4 heads over 2, D 64" }, cases: ["forward", "backward", "decode"] },
  busy: { options: { filter: "product" }, cases: ["product, nf4, 256 to 704, 192 rows"] },
  data: {
    options: {},
    cases: ["first step, jsonl", "first step, csv", "shard, tar", "shard, parquet", "first epoch", "second epoch", "the cache's folder"],
  },
  decode: { options: { filter: "nf4" }, cases: ["nf4, 1 row", "nf4, 8 rows"] },
  demo: { options: {}, cases: ["1 seed, effort 0.001"] },
  efficient: { options: { filter: "packing" }, cases: ["plain", "packing", "for memory"] },
  encode: { options: { filter: "f32" }, cases: ["CLIP", "CLAP", "IMU2CLIP"] },
  linear: {
    options: { filter: "k, v 256 to 128, 64 rows" },
    cases: ["nf4 nested", "int8", "bf16", "f32", "LoRA forward", "LoRA dX dA dB"],
  },
  memory: { options: { filter: "rms_norm, bf16" }, cases: ["rms_norm, bf16"] },
  paths: { options: {}, cases: [] },
  prefill: { options: {}, cases: ["192 tokens"] },
  resampler: { options: {}, cases: ["batch 2, forward", "forward and backward"] },
  "train-step": { options: { filter: "bf16, 1 x" }, cases: ["stage 1, nf4, bf16", "stage 2, nf4, bf16"] },
};

test("every suite is tried here", () => {
  const there = readdirSync(new URL("suites", folder)).map((file) => file.replace(/\.ts$/, ""));
  assert.equal(there.sort(), Object.keys(CASES).sort());
  assert.equal(schema.properties.suite.enum, Object.keys(CASES).sort());
});

for (const [name, { options, cases }] of Object.entries(CASES)) {
  test(`${name}: a record of the schema, with what was asked for`, async () => {
    const kept: number[] = [];
    const record = await runSuite(name, small(options), "npm run bench", ({ rows }) => kept.push(rows.length));
    const read: BenchRecord = JSON.parse(JSON.stringify(record));
    assert.equal(misfits(read, schema), []);
    assert.equal(kept.at(-1), read.rows.length);
    assert.is(read.suite, name);
    assert.is(read.threads, name === "demo" ? read.rows[0]?.more.threads : 2);
    for (const part of cases)
      assert.ok(
        read.rows.some((row) => row.case.includes(part)),
        `${name}: no case of ${part}`,
      );
    for (const row of read.rows) {
      assert.is(row.samples, 1);
      assert.ok(row.median > 0 && row.min <= row.median && row.median <= row.max);
      assert.is(row.level, read.level);
    }
  });
}

test("the schema's own test sees what does not fit", async () => {
  const fits = { ...(await runSuite("prefill", small({}), "")) };
  assert.equal(misfits(JSON.parse(JSON.stringify(fits)), schema), []);
  const { rows: _, ...without } = fits;
  assert.equal(misfits(without, schema), ["$: no rows"]);
  assert.equal(misfits({ ...fits, schema: 2, threads: 1.5 }, schema), ["$.schema: 2", "$.threads: number"]);
  assert.equal(misfits({ ...fits, rows: [{ ...fits.rows[0], unit: "s", other: 1 }] }, schema), ["$.rows[0].unit: s", "$.rows[0]: other"]);
});

test("seconds of all threads are told on wish, without shares where there are several and nothing was measured", async () => {
  setClock("cpu");
  try {
    const { peaks: _, ...unmeasured } = small({});
    const record = await runSuite("prefill", unmeasured, "");
    assert.equal(misfits(JSON.parse(JSON.stringify(record)), schema), []);
    assert.is(record.clock, "cpu");
    assert.equal(
      record.rows.map(({ share, of }) => [share, of]),
      [[null, null]],
    );
    const { rows } = await runSuite("prefill", small({}), "");
    assert.ok(rows.every(({ share, of }) => share !== null && share > 0 && of === "bf16 register peak"));
    const { user, system } = process.cpuUsage();
    const then = now();
    assert.ok(then >= (user + system) / 1e6 && then <= process.cpuUsage().user / 1e6 + process.cpuUsage().system / 1e6);
  } finally {
    setClock("wall");
  }
});

test("sides take turns, and the first turn does not count", async () => {
  const order: string[] = [];
  const side = (name: string) => ({ name, version: "1", sample: async () => order.push(name) });
  const seconds = await inTurns([side("ours"), side("a"), side("b")], 2);
  assert.equal(order, ["ours", "a", "b", "ours", "a", "b", "ours", "a", "b"]);
  assert.equal(seconds, [
    [4, 7],
    [5, 8],
    [6, 9],
  ]);
});

test("a ratio is the median over the turns, of a group the fastest counts, and a rate is best where it is most", async () => {
  const told = {
    case: "x",
    level: "any",
    unit: "tokens/s",
    of: (seconds: number) => 10 / seconds,
    limit: { name: "memory bandwidth", seconds: 0.5 },
  };
  const side = (name: string) => ({ name, version: "1", sample: async () => 0 });
  const group = [
    { side: side("one thread"), seconds: [8, 4, 6] },
    { side: side("two threads"), seconds: [3, 2, 2] },
  ];
  const [row, ...others] = figuresOf(told, [1, 2, 4], [group]);
  assert.equal(others, []);
  assert.equal(row?.rival, { name: "two threads", version: "1", median: 5, min: 3.333, max: 5, ratio: 1 });
  assert.equal([row?.median, row?.min, row?.max, row?.samples, row?.share], [5, 2.5, 10, 3, 0.25]);
  const both = await contest(told, async () => 1, [[side("a")], [side("b")]], 1);
  assert.equal(
    both.map(({ rival }) => rival?.name),
    ["a", "b"],
  );
});

test.run();
