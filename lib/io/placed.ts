// A folder that takes another's place: whole under a temporary name first, on the disk, then renamed. One of the two is there at any moment.
import { existsSync } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { onFile } from "../core/file-error.js";
import { syncFolder, temporaryName } from "./whole-file.js";

/** `write` fills a new folder. Rejects with E_FILE where the system refuses; then what was at `target` is there still, or beside it as TARGET.old. */
export async function placeFolder(target: string, write: (fresh: string) => Promise<void>): Promise<void> {
  const [fresh, old] = [temporaryName(target), `${target}.old`];
  try {
    await write(fresh);
    await syncFolder(fresh); // all of it is on the disk before the old one goes
    await onFile("to be written", target, async () => {
      if (existsSync(target)) {
        await rm(old, { recursive: true, force: true });
        await rename(target, old);
      }
      await rename(fresh, target);
      await syncFolder(dirname(target));
      await rm(old, { recursive: true, force: true });
    });
  } finally {
    await rm(fresh, { recursive: true, force: true }).catch(() => undefined);
  }
}
