// Whether a process that a test saw started still runs.
import { readFileSync } from "node:fs";

/** One that has ended is gone too where nobody has asked for its result, be it its parent or a first process that never collects orphans. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return process.platform !== "linux" || !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch (error) {
    if (["ESRCH", "ENOENT"].includes((error as NodeJS.ErrnoException).code ?? "")) return false;
    throw error;
  }
}
