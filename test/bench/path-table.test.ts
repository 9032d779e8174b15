// What a bench wrote of a card's kernels as the backend reads it: the table is compiled, and looked up by the function that the backend has.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { fastest, pathCase, pathTable } from "../../bench/path-table.js";
import type { BenchRecord } from "../../bench/record.js";
import { nameOf } from "../../bench/suites/linear.js";

const root = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");

type Stored = "nf4 nested" | "int8";
const row = (storage: Stored, O: number, I: number, rows: number, pass: "forward" | "dX", path: string, median: number) => ({
  ...{ case: pathCase(nameOf(storage, { name: "k, v", I, O }, rows, pass), path), level: "cuda", unit: "us", min: median, max: median },
  ...{ median, samples: 1, share: null, of: null, more: {}, rival: null },
});
const ROWS = [
  row("nf4 nested", 1024, 8192, 1, "forward", "tiles", 9),
  row("nf4 nested", 1024, 8192, 1, "forward", "skinny", 3),
  row("nf4 nested", 1024, 8192, 64, "forward", "panels", 5),
  row("nf4 nested", 1024, 8192, 64, "forward", "tiles", 6),
  row("nf4 nested", 1024, 8192, 64, "dX", "hopper", 8),
  row("nf4 nested", 1024, 8192, 64, "dX", "tiles", 7),
  row("int8", 1024, 8192, 64, "forward", "tiles", 4),
  row("nf4 nested", 8192, 8192, 64, "forward", "hopper", 2),
];
const RECORD = {
  device: "cuda: NVIDIA H200, 143771 MiB, compute capability 9.0, 132 multiprocessors, 50 MiB of L2 cache, driver for CUDA 13.0",
  commit: "abc",
  date: "2026-01-02T03:04:05.000Z",
  rows: ROWS,
} as unknown as BenchRecord;

test("of each shape the fastest, whichever came first", () =>
  assert.equal(
    fastest(ROWS).map(({ pass, format, out, rows, path }) => [pass, format, out, rows, path].join(" ")),
    [
      "forward nf4 1024 1 skinny",
      "forward nf4 1024 64 panels",
      "dx nf4 1024 64 tiles",
      "forward int8 1024 64 tiles",
      "forward nf4 8192 64 hopper",
    ],
  ));

test("a table is a card's", () =>
  assert.throws(() => pathTable({ ...RECORD, device: "cpu: avx2, 2 threads" }), /measured on a card, got .*cpu: avx2/));

/** Pass, format, outputs, inputs and rows, and the place in the table that is nearest. */
const QUERIES: readonly (readonly [string, string, number, number, number, number])[] = [
  ["forward", "nf4", 1024, 8192, 1, 0],
  ["forward", "fp4", 1024, 8192, 2, 0], // as NF4
  ["forward", "nf4", 1024, 8192, 3, -1], // more than twice 1, less than half of 64
  ["forward", "nf4", 1500, 8192, 100, 1],
  ["forward", "nf4", 2049, 8192, 64, -1],
  ["forward", "nf4", 1024, 4095, 64, -1],
  ["forward", "nf4", 4096, 8192, 64, 4],
  ["dx", "nf4", 1024, 8192, 128, 2],
  ["dx", "int8", 1024, 8192, 64, -1],
  ["forward", "int8", 512, 8192, 64, 3],
  ["forward", "nf4", 0, 0, 0, -1],
];

test("compiled, it is looked up by the nearest shape, within a factor of two", () => {
  const folder = mkdtempSync(join(tmpdir(), "anymal-paths-"));
  try {
    mkdirSync(join(folder, "linear"));
    writeFileSync(join(folder, "linear/path_table.cuh"), pathTable(RECORD));
    const calls = QUERIES.map(
      ([pass, format, ...sizes]) => `  ask(Pass::${pass}, QuantFormat::${format}, ${sizes.slice(0, 3).join(", ")});`,
    );
    writeFileSync(
      join(folder, "ask.cc"),
      `#include <cstdio>
#include "linear/path_table.cuh"
using namespace anymal;
using namespace anymal::cuda::gemm;
void ask(Pass p, QuantFormat f, int out, int in, int rows) { std::printf("%d\\n", nearest(kMeasured.data(), kMeasured.size(), p, f, out, in, rows)); }
int main() {
  std::printf("%d %d\\n", kMeasuredCapability, kMeasuredProcessors);
${calls.join("\n")}
}
`,
    );
    // The folder's table comes before the one that is checked in.
    const include = [folder, join(root, "cuda"), join(root, "native")].map((path) => `-I${path}`);
    const built = spawnSync(process.env.CXX ?? "c++", ["-std=c++20", ...include, "-o", join(folder, "ask"), join(folder, "ask.cc")], {
      encoding: "utf8",
    });
    assert.is(built.status, 0, built.stderr);
    const said = spawnSync(join(folder, "ask"), { encoding: "utf8" }).stdout.trim().split("\n");
    assert.equal(said, ["90 132", ...QUERIES.map((query) => String(query[5]))]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
