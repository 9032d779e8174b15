// cuda/linear/path_table.cuh: the fastest kernels by shape, of the rows that the suite "paths" measured on a card.
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { BenchRecord } from "./record.js";

export const PATHS = ["tiles", "skinny", "panels", "hopper"] as const;
const FILE = fileURLToPath(new URL("../cuda/linear/path_table.cuh", import.meta.url));

export const pathCase = (name: string, path: string): string => `${name}, ${path}`;

interface Choice {
  pass: "forward" | "dx";
  format: "nf4" | "int8";
  out: number;
  in: number;
  rows: number;
  path: string;
  median: number;
}

function choiceOf({ case: name, median }: { case: string; median: number }): Choice {
  const found = /^(nf4 nested|int8), .* (\d+) to (\d+), (\d+) rows, (forward|dX), (\w+)$/.exec(name);
  if (!found) throw new Error(`a row of the suite "paths" with the case "${name}"`);
  const [, storage, I, O, rows, pass, path] = found as unknown as string[];
  const format = storage === "int8" ? "int8" : "nf4";
  return {
    pass: pass === "dX" ? "dx" : "forward",
    format,
    out: Number(O),
    in: Number(I),
    rows: Number(rows),
    path: path as string,
    median,
  };
}

/** The fastest of each shape, in the order in which they were measured. */
export function fastest(rows: BenchRecord["rows"]): Choice[] {
  const best = new Map<string, Choice>();
  for (const choice of rows.map(choiceOf)) {
    const key = [choice.pass, choice.format, choice.out, choice.in, choice.rows].join();
    const before = best.get(key);
    if (!before || choice.median < before.median) best.set(key, choice);
  }
  return [...best.values()];
}

export function pathTable({ rows, device = "", commit, date }: BenchRecord): string {
  const card = /^cuda: (.*?), .*compute capability (\d+)\.(\d+), (\d+) multiprocessors/.exec(device);
  if (!card) throw new Error(`expected rows that were measured on a card, got those of "${device}"`);
  const [, name, major, minor, processors] = card as unknown as string[];
  const lines = fastest(rows).map(
    ({ pass, format, out, in: I, rows, path }) => `    {Pass::${pass}, QuantFormat::${format}, ${out}, ${I}, ${rows}, Path::${path}},`,
  );
  return `// Written by \`npm run bench -- paths --write\`: the kernels that were fastest on ${name}, by shape; ${commit}, ${date.slice(0, 10)}.
#pragma once
#include <array>

#include "linear/measured.cuh"

namespace anymal::cuda::gemm {

// Compute capability, times ten, and multiprocessors of the card; others go by the computed limits.
inline constexpr int kMeasuredCapability = ${Number(major) * 10 + Number(minor)}, kMeasuredProcessors = ${processors};
// clang-format off
inline constexpr std::array<Measured, ${lines.length}> kMeasured{{
${lines.join("\n")}
}};
// clang-format on

}  // namespace anymal::cuda::gemm
`;
}

export function writePathTable(record: BenchRecord, file = FILE): void {
  writeFileSync(file, pathTable(record));
  console.log(`${file}: build the module again (npm run build:cuda)`);
}
