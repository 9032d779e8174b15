// A folder that one process at a time writes to. The lock is a file in it that says who holds it; making it is exclusive (O_EXCL), on network folders
// too. Its holder touches it now and then. On the holder's own machine what counts is whether that process lives; elsewhere, whether it touches.
import { readFileSync } from "node:fs";
import { rm, stat, utimes } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { AnymalError } from "../core/errors.js";
import { FileError } from "../core/file-error.js";
import { parseShallow } from "../core/json.js";
import { readPlain } from "../core/plain-file.js";
import { clearRubbish, isAlive, temporaryName, writeNew } from "./whole-file.js";

const NAME = ".run.lock";
/** Held while an abandoned lock is replaced, so that one process at a time does so. */
const TAKEOVER = ".run.lock.takeover";
const TOUCHED_MS = 5_000;
/** As long untouched, a holder on another machine is gone. */
const ABANDONED_MS = 120_000;
/** A lock whose words are not there yet is being written. */
const WRITING = { looks: 20, everyMs: 50 };

interface Holder {
  pid: number;
  host: string;
  /** When the process began, as its system tells it: a number may be given to another process. */
  process?: string;
  /** ISO 8601. */
  since: string;
  /** What it does. */
  what: string;
  mark: string;
}

/** Somebody else holds the folder. */
export class BusyError extends AnymalError {
  override readonly name = "BusyError";
  constructor(
    readonly what: string,
    /** Who has it, and since when. */
    readonly holder: string,
    remedy: string,
  ) {
    super("E_BUSY", `${what}: expected nobody else to use it, got ${holder}; ${remedy}`);
  }
}

const mine = new Set<string>();

export class FolderLock {
  readonly #path: string;
  readonly #mark: string;
  readonly #touch: NodeJS.Timeout;

  private constructor(
    readonly folder: string,
    mark: string,
  ) {
    this.#path = join(folder, NAME);
    this.#mark = mark;
    mine.add(mark);
    this.#touch = setInterval(() => utimes(this.#path, new Date(), new Date()).catch(() => undefined), TOUCHED_MS);
    this.#touch.unref();
  }

  /** Takes the folder, which must exist. Rejects with E_BUSY, which names the holder; takes over what a process that is gone has left. */
  static async take(folder: string, what: string): Promise<FolderLock> {
    const mark = Math.random().toString(36).slice(2);
    const began = startOf(process.pid);
    const holder: Holder = {
      pid: process.pid,
      host: hostname(),
      ...(began && { process: began }),
      since: new Date().toISOString(),
      what,
      mark,
    };
    const [path, text] = [join(folder, NAME), `${JSON.stringify(holder)}\n`];
    await clearRubbish(folder, (name) => name === "clock");
    if (!(await made(path, text))) await takeOver(folder, path, text);
    return new FolderLock(folder, mark);
  }

  /** Rejects with E_BUSY where another process has taken the folder: one that could not see this one alive. */
  async check(): Promise<void> {
    const now = await readHolder(this.#path);
    if (!now || now.mark === this.#mark) return;
    throw new BusyError(
      this.folder,
      described(now),
      "this run stood still for so long that it was taken for dead; that one goes on with it",
    );
  }

  async release(): Promise<void> {
    clearInterval(this.#touch);
    mine.delete(this.#mark);
    const now = await readHolder(this.#path);
    if (now === null || now?.mark === this.#mark) await rm(this.#path, { force: true }).catch(() => undefined);
  }
}

/** False where it is there already. */
async function made(path: string, text: string): Promise<boolean> {
  try {
    await writeNew(path, (file) => file.writeFile(text));
    return true;
  } catch (error) {
    if ((error as { system?: string }).system === "EEXIST") return false;
    throw error;
  }
}

async function takeOver(folder: string, path: string, text: string): Promise<void> {
  await refuse(folder, path);
  const guard = join(folder, TAKEOVER);
  while (!(await made(guard, text))) {
    await refuse(folder, guard);
    await rm(guard, { force: true });
  }
  try {
    await refuse(folder, path); // another one may have replaced it meanwhile
    await rm(path, { force: true });
    if (!(await made(path, text))) await refuse(folder, path, true);
  } finally {
    await rm(guard, { force: true }).catch(() => undefined);
  }
}

/** Throws where somebody alive holds the lock. */
async function refuse(folder: string, path: string, always = false): Promise<void> {
  let holder = await readHolder(path);
  for (let looked = 0; holder === null && looked < WRITING.looks; ++looked) {
    await sleep(WRITING.everyMs);
    holder = await readHolder(path);
  }
  if (!holder || (!always && (await isGone(folder, path, holder)))) return;
  throw new BusyError(
    folder,
    described(holder),
    `wait for it or end it, or name another folder; if there is no such process, remove ${path}`,
  );
}

/** Bytes of a lock. */
const LARGEST = 2 ** 16;

/** undefined: no lock; null: one that says nothing. */
async function readHolder(path: string): Promise<Holder | null | undefined> {
  try {
    const holder = parseShallow((await readPlain(path, { most: LARGEST })).toString()) as Holder;
    const { pid, host, process: began, since, what, mark } = holder ?? {};
    const texts = [host, since, what, mark, began ?? ""].every((text) => typeof text === "string");
    return Number.isSafeInteger(pid) && pid > 0 && texts ? holder : null;
  } catch (error) {
    return error instanceof FileError && error.system === "ENOENT" ? undefined : null;
  }
}

async function isGone(folder: string, path: string, { pid, host, process: began, mark }: Holder): Promise<boolean> {
  if (host !== hostname()) return isUntouched(folder, path);
  if (!isAlive(pid)) return true;
  if (began !== undefined && startOf(pid) !== undefined && startOf(pid) !== began) return true;
  return pid === process.pid && !mine.has(mark) && (await isUntouched(folder, path)); // a thread of this process that was ended
}

/** By the clock of the disk, which may be another machine's. */
async function isUntouched(folder: string, path: string): Promise<boolean> {
  const clock = temporaryName(join(folder, "clock"));
  try {
    await writeNew(clock, async () => {});
    const [now, touched] = await Promise.all([stat(clock), stat(path)]);
    return now.mtimeMs - touched.mtimeMs > ABANDONED_MS;
  } catch {
    return false;
  } finally {
    await rm(clock, { force: true }).catch(() => undefined);
  }
}

const described = ({ what, pid, host, since }: Holder): string => `${what} of process ${pid} on ${host}, since ${since}`;

/** Of a process of this machine, what no other one has; undefined where the system does not tell. */
function startOf(pid: number): string | undefined {
  try {
    const line = readFileSync(`/proc/${pid}/stat`, "utf8");
    const ticks = line.slice(line.lastIndexOf(")") + 2).split(" ")[19]; // the name in front may hold anything
    return `${readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()}:${ticks}`;
  } catch {
    return undefined;
  }
}
