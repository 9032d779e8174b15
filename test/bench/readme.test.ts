// The README's tables are what `npm run bench -- readme` makes of bench/results.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Figures } from "../../bench/contest.js";
import { efficientBlock } from "../../bench/efficient-page.js";
import { blockIn, blockOf, recordsIn, withBlock } from "../../bench/readme.js";
import type { BenchRecord } from "../../bench/record.js";
import { systemsBlock } from "../../bench/systems-page.js";
import { misfits } from "./schema.js";

const test = suite("bench readme");
const there = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const readme = readFileSync(there("README.md"), "utf8");

test("README.md has what the command gives", () => {
  const block = blockOf(recordsIn(there("bench/results")));
  assert.is(blockIn(readme), block.trim(), "run `npm run bench -- readme`");
  assert.is(withBlock(readme, block), readme);
});

test("docs/efficient-training.md has what the command gives", () => {
  const page = readFileSync(there("docs/efficient-training.md"), "utf8");
  const block = efficientBlock(there("bench/results"));
  assert.is(blockIn(page), block.trim(), "run `npm run bench -- readme`");
  // Each configuration beside the first: how many times as fast, which share of its peak, how far the plan was off.
  assert.match(block, /\| plain \| [\d.]+ \| {2}\| (\d+) \| 100 % \| \d+ \([+−]\d+\.\d %\) \| \d+ \|/);
});

test("docs/systems.md has what the command gives", () => {
  const page = readFileSync(there("docs/systems.md"), "utf8");
  const block = systemsBlock(there("bench/results"));
  assert.is(blockIn(page), block, "run `npm run bench -- readme`");
  assert.match(block, /\| otter \| \d \| [\d.]+ \| [\d.]+ \| [\d.]+ \| [\d.]+ \| \d+ \| shots0 [\d.]+, shots2 [\d.]+, /);
});

test("a system's newest record counts, and its margin is over the better control", () => {
  const folder = mkdtempSync(join(tmpdir(), "anymal-page-"));
  try {
    const one = (exact: number) => ({ exact, blank: 0.25, shuffled: 0.125, trainedParameters: 7, seeds: 2 });
    const write = (name: string, date: string, systems: object) =>
      writeFileSync(join(folder, name), JSON.stringify({ date, machine: "m", systems }));
    write("systems-a.json", "2026-11-30", { llava: one(0.75) });
    write("systems-b.json", "2026-11-29", { llava: one(0.5), pink: { ...one(1), more: { boxes: 0.5 } } });
    assert.equal(systemsBlock(folder).split("\n").slice(2), [
      "| llava | 2 | 75.0 | 25.0 | 12.5 | 50.0 | 7 |  |",
      "| pink | 2 | 100.0 | 25.0 | 12.5 | 75.0 | 7 | boxes 50.0 |",
    ]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("results that are kept are of the schema", () => {
  const schema = JSON.parse(readFileSync(there("bench/schema.json"), "utf8"));
  for (const record of recordsIn(there("bench/results"))) assert.equal(misfits(record, schema), []);
});

const row = (name: string, share: number | null, ratio?: number): Figures => ({
  ...{
    case: name,
    level: "amx",
    unit: "us",
    median: 10,
    min: 9,
    max: 11,
    samples: 5,
    share,
    of: share === null ? null : "memory bandwidth",
    more: {},
  },
  rival: ratio === undefined ? null : { name: "PyTorch, bf16", version: "2", median: 10 * ratio, min: 1, max: 90, ratio },
});
const record = (suite: string, rows: readonly Figures[]): BenchRecord => ({
  ...{
    schema: 1,
    suite,
    machine: { cpu: "A CPU", cores: 2, memoryGiB: 8, node: "20" },
    level: "amx",
    threads: 2,
    commit: "abc",
    date: "2026-01-02T03:04:05Z",
  },
  peaks: { amx: { f32: 4e11, bf16: suite === "linear" ? 5e12 : 4.5e12, bandwidth: 25.24e9 } },
  ...{ command: "", seconds: 1, clock: "wall", load: { before: 0.1, after: 2 }, rows },
});

test("a few rows are told each, of many the median and the worst, and none is left out of the shares", () => {
  const many = [0.9, 0.2, 0.7, 0.8, 0.6].map((share, i) => row(`bf16, down, ${i} rows`, share, 2 * share));
  const block = blockOf([
    record("decode", [row("nf4, 1 row", 0.5, 1.25)]),
    record("linear", [...many, row("int8, down", 0.3), row("bf16, down, 1 rows, LoRA forward", 0.1)]),
  ]);
  assert.match(block, "A CPU, 2 cores, 2 threads, 2026-01-02, commit abc; load before at most 0.1");
  assert.match(block, "amx: 400 GFLOP/s in f32, 4500 to 5000 in bf16, 25.2 GB/s.");
  assert.match(block, "| decode: nf4, 1 row | amx | 10 us | 12.5 us (PyTorch, bf16 2) | 1.25 |");
  assert.match(block, "| linear: bf16, down, 2 rows (median of 5) | amx | 10 us | 14 us (PyTorch, bf16 2) | 1.40 |");
  assert.match(block, "| linear: bf16, down, 1 rows (worst) | amx | 10 us | 4 us (PyTorch, bf16 2) | 0.40 |");
  assert.match(block, "| linear: bf16 | amx | memory bandwidth | 5 | 70 % | 20 % (down, 1 rows) |");
  assert.match(block, "| linear: int8 | amx | memory bandwidth | 1 | 30 % | 30 % |");
  assert.match(block, "| linear: bf16 with LoRA | amx | memory bandwidth | 1 | 10 % | 10 % |");
  assert.not.match(block, "down, 3 rows");
});

test("what is not between the marks stays", () => {
  const [marked, other] = ["a\n<!-- made by npm run bench -- readme -->\nold\n<!-- made until here -->\nb\n", "no marks"];
  const made = withBlock(marked, "new");
  assert.is(made, marked.replace("old", "new"));
  assert.is(blockIn(made), "new");
  assert.throws(() => withBlock(other, "new"), /expected the marks/);
});

test.run();
