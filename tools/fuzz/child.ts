// The process in which a reader is fuzzed: told what to try by tools/fuzz/main.ts, it says which input it begins and what it finds.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Attempts } from "./attempt.js";
import { inputOf } from "./input.js";
import type { Report } from "./main.js";
import { ProgressFile } from "./progress.js";
import type { Target } from "./target.js";
import { TARGETS } from "./targets/index.js";

interface Order {
  name: string;
  seed: number;
  from: number;
  inputs: number;
  /** From the first input on: starting the process is no part of it. */
  seconds: number;
  /** Where to tell how far it has come. */
  progress: string;
}

const say = (report: Report) => new Promise<void>((resolve) => void process.send?.(report, () => resolve()));

async function work({ name, seed, from, inputs, seconds, progress }: Order, folder: string): Promise<void> {
  const target = TARGETS.find((one) => one.name === name) as Target;
  const attempts = new Attempts(target, join(folder, name));
  const told = new ProgressFile(progress, "r+");
  let accepted = 0;
  const until = Date.now() + 1000 * seconds;
  for (let i = 0; i < inputs && Date.now() < until; ++i) {
    told.write({ begun: from + i, done: i, accepted }); // stands there even if this input brings the process down
    const problem = await attempts.try(inputOf(target, seed, from + i), (taken) => (accepted += Number(taken)));
    if (problem) return say({ failed: from + i, problem });
    told.write({ begun: from + i, done: i + 1, accepted });
  }
}

process.once("message", async (order: Order) => {
  const folder = mkdtempSync(join(tmpdir(), "anymal-fuzz-"));
  try {
    await work(order, folder);
  } finally {
    rmSync(folder, { recursive: true });
    process.disconnect();
  }
});
