// Whether a process that a test saw started has ended.
import { readFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import * as assert from "uvu/assert";

/** One that has ended is gone too where nobody has asked for its result, be it its parent or a first process that never collects orphans. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return process.platform !== "linux" || !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch (error) {
    if (["ESRCH", "ENOENT"].includes((error as NodeJS.ErrnoException).code ?? "")) return false;
    throw error;
  }
}

/** A process that was killed ends when it gets a processor, which on a busy machine takes a while. Fails on one that goes on for half a minute. */
export async function ends(pid: number): Promise<void> {
  for (const start = performance.now(); isAlive(pid); await setTimeout(10))
    assert.ok(performance.now() - start < 30_000, `process ${pid} runs on`);
}
