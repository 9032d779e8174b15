// One process at a time fetches a blob; the others wait for it instead of fetching the same bytes again. A lock is a file that its owner touches
// now and then: Node has no locks of the system's. Nothing depends on it but time: blobs are checked by their hash and renamed into place.
import { mkdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isAlive } from "../whole-file.js";

const TOUCHED_MS = 5_000;
/** As long untouched, its owner is gone. */
const ABANDONED_MS = 60_000;
const LOOK_MS = 100;

/** Runs `work` with the lock, as soon as nobody else has it. */
export async function withLock<T>(path: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  const mark = JSON.stringify({ pid: process.pid, host: hostname(), mark: Math.random() });
  await mkdir(dirname(path), { recursive: true });
  while (!(await taken(path, mark))) {
    if (await isAbandoned(path)) await rm(path, { force: true });
    else await sleep(LOOK_MS, undefined, { signal }).catch(() => signal?.throwIfAborted());
  }
  const touch = setInterval(() => utimes(path, new Date(), new Date()).catch(() => undefined), TOUCHED_MS);
  touch.unref();
  try {
    return await work();
  } finally {
    clearInterval(touch);
    if ((await readFile(path, "utf8").catch(() => "")) === mark) await rm(path, { force: true });
  }
}

async function taken(path: string, mark: string): Promise<boolean> {
  try {
    await writeFile(path, mark, { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

async function isAbandoned(path: string): Promise<boolean> {
  const status = await stat(path).catch(() => undefined);
  if (!status) return false; // released just now
  if (Date.now() - status.mtimeMs > ABANDONED_MS) return true;
  try {
    const { pid, host } = JSON.parse(await readFile(path, "utf8")) as { pid: number; host: string };
    return host === hostname() && !isAlive(pid);
  } catch {
    return false; // being written, or being removed
  }
}
