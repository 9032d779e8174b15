// What the README's table is made of: each suite in a process of its own, so that none inherits another's memory, with how long it took.
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { machine, RESULTS } from "./record.js";

/** In the order of worth, with numbers of turns for which the whole course takes about ten minutes on two cores. */
const COURSE: readonly (readonly [suite: string, ...args: string[]])[] = [
  ["decode", "--turns", "5"],
  ["prefill", "--turns", "7"],
  ["train-step", "--turns", "3"],
  ["linear", "--turns", "5"],
  ["attention", "--turns", "5"],
  ["memory", "--turns", "3"],
  ["busy", "--turns", "5"],
  ["encode", "--turns", "3"],
];
const RUN = fileURLToPath(new URL("./run.ts", import.meta.url));

/** "Intel(R) Xeon(R) Processor" with 2 cores: "xeon-2core". */
export function machineName(): string {
  const { cpu, cores } = machine();
  const words = cpu.toLowerCase().replace(/\((r|tm)\)|\b(intel|amd|processor|cpu)\b|@.*/g, " ");
  return `${words.replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "") || "cpu"}-${cores}core`;
}

export async function runAll(values: { [name: string]: string | boolean | undefined }): Promise<void> {
  const folder = String(values["json-dir"] ?? RESULTS);
  mkdirSync(folder, { recursive: true });
  const passed = ["python", "levels", "level", "threads", "size"].flatMap((name) =>
    values[name] ? [`--${name}`, String(values[name])] : [],
  );
  const times: string[] = [];
  // The demo takes minutes a seed: it is run where they are named.
  const demo = values.seeds ? [["demo", "--seeds", String(values.seeds)] as const] : [];
  for (const [suite, ...args] of [...COURSE, ...demo]) {
    const turns = values.turns ? ["--turns", String(values.turns)] : args;
    const start = performance.now();
    const file = join(folder, `${suite}-${machineName()}.json`);
    const run = spawnSync(process.execPath, ["--import", "tsx", RUN, suite, "--rivals", "--json", file, ...turns, ...passed], {
      stdio: "inherit",
    });
    times.push(
      `${suite.padEnd(10)} ${((performance.now() - start) / 60_000).toFixed(1).padStart(5)} min${run.status === 0 ? "" : "  FAILED"}`,
    );
    if (run.status !== 0) process.exitCode = 1;
  }
  console.log(`\n${times.join("\n")}\nnpm run bench -- readme   # writes the README's table from ${folder}`);
}
