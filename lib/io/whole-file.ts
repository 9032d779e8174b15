// Files and folders that appear whole or not at all: under a temporary name first, on the disk, then renamed. A process that is killed in between
// leaves the temporary one, which says by its name who was writing; the next writer of the same thing removes it when that process is gone.
import { createHash } from "node:crypto";
import { type FileHandle, open, readdir, rename, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { onFile } from "../core/file-error.js";

/** A process number means something on its own machine only, and folders may be shared. */
const HOST = createHash("sha256").update(hostname()).digest("hex").slice(0, 8);
const TEMPORARY = /^\.?(?<name>.+?)\.(?<pid>\d+)(?:@(?<host>[0-9a-f]{8}))?(?:\.[0-9a-z]{6,})?\.tmp$/;

/** Beside `path`, so that a rename brings it there: .NAME.PID@HOST.RANDOM.tmp */
export function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path)}.${process.pid}@${HOST}.${Math.random().toString(36).slice(2)}.tmp`);
}

/** What a path is to be called in the end: that is what its user asked for. */
function finalName(path: string): string {
  const named = path.replace(/(^|[\\/])\.([^\\/]+?)\.\d+@[0-9a-f]{8}\.[0-9a-z]+\.tmp(?=[\\/]|$)/g, "$1$2");
  return named === path ? path : finalName(named); // a temporary file's own temporary one
}

/** Removes what processes that are gone left under temporary names of `names` in the folder. What cannot be removed stays: it is only in the way. */
export async function clearRubbish(folder: string, names: (name: string) => boolean): Promise<void> {
  for (const entry of await readdir(folder).catch(() => [])) {
    const { name = "", pid = "", host = HOST } = TEMPORARY.exec(entry)?.groups ?? {};
    if (!pid || !names(name) || host !== HOST || isAlive(Number(pid))) continue;
    await rm(join(folder, entry), { recursive: true, force: true }).catch(() => undefined);
  }
}

/** Is there a process of that number on this machine? */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Writes a file, which must not be there, and waits until it is on the disk. When it cannot be written it is not there. */
export async function writeNew(path: string, write: (file: FileHandle) => Promise<void>): Promise<void> {
  await onFile("to be written", finalName(path), async () => {
    const file = await open(path, "wx");
    try {
      await write(file);
      await file.sync();
      await file.close();
    } catch (error) {
      await file.close().catch(() => undefined);
      await rm(path, { force: true }).catch(() => undefined);
      throw error;
    }
  });
}

/** Writes `path` whole. On the disk when it resolves. Rejects with E_FILE where the system refuses; then what was there is there still. */
export async function writeWhole(path: string, content: string | ((file: FileHandle) => Promise<void>)): Promise<void> {
  const [folder, own] = [dirname(path), basename(path)];
  await clearRubbish(folder, (name) => name === own);
  const temporary = temporaryName(path);
  try {
    await writeNew(temporary, typeof content === "string" ? (file) => file.writeFile(content) : content);
    await onFile("to be written", finalName(path), () => rename(temporary, path));
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
  await syncFolder(folder);
}

/** A rename is on the disk only once its folder is. Some systems cannot open a folder; there it stays as safe as it is. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r").catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}
