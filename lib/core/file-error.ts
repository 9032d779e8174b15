// What the file system refuses, in the words of this library: which file, what was wanted of it, and what to do.
import { AnymalError } from "./errors.js";

/** What to do, by the system's code, or by one in its manner where the refusal is this library's. */
const REMEDIES: Readonly<Record<string, string>> = {
  EACCES: "give this user the right to it, or name another place",
  EBUSY: "close the program that uses it, and try again",
  EDQUOT: "free some of your quota, or name a folder on another disk",
  EEXIST: "name another place, or see that no other process writes there",
  EFTYPE: "name a file; folders, pipes and devices are not read",
  EFBIG: "the disk takes no file of this size: name a folder on another one, or write smaller shards",
  EIO: "the disk failed: look at the system's log, and name a folder on another one",
  EISDIR: "it is a folder: name a file",
  ELOOP: "links lead in a circle: name the place itself",
  EMFILE: "close some files, or allow more (ulimit -n)",
  ENAMETOOLONG: "shorten the path",
  ENFILE: "close some files, or allow the system more (fs.file-max)",
  ENOENT: "it, or a folder above it, is not there or was removed meanwhile: check the path",
  ENOSPC: "free some space, or name a folder on another disk",
  ENOTDIR: "a part of the path is a file: name a folder",
  ENOTEMPTY: "something was written there meanwhile: see that no other process uses the folder",
  EOVERFLOW: "files of its kind are far smaller: see that it is the right one, or fetch it again",
  EPERM: "give this user the right to it, or name another place",
  EROFS: "name a folder on a disk that can be written to",
  ESTALE: "the network folder has moved on: mount it again",
  ETIMEDOUT: "the network folder does not answer: see that it is reachable",
  EXLINK: "put the file itself there if you trust it",
  EXDEV: "name a place on the same disk",
};

/** An error of the file system; `cause` is the system's own. */
export class FileError extends AnymalError {
  override readonly name = "FileError";
  /** "ENOSPC: no space left on device". */
  readonly got: string;
  /** What to do. */
  readonly remedy: string;
  constructor(
    readonly path: string,
    /** "to be written", "to be read". */
    readonly expected: string,
    /** The system's code, such as ENOSPC. */
    readonly system: string,
    cause: unknown,
  ) {
    const [got, remedy] = [reasonOf(cause), REMEDIES[system] ?? "check the path, the rights and the disk"];
    super("E_FILE", `${path}: expected ${expected}, got ${got}; ${remedy}`, { cause });
    this.got = got;
    this.remedy = remedy;
  }
}

/** "ENOSPC: no space left on device" of "ENOSPC: no space left on device, write". */
const reasonOf = (cause: unknown): string => ((cause as Error).message.split(", ")[0] as string).replace(/^(E[A-Z0-9]+): \1: /, "$1: ");

/** An error of the file system as E_FILE; any other as it is. */
export function fileError(expected: string, path: string, cause: unknown): unknown {
  const { code, syscall } = (cause ?? {}) as NodeJS.ErrnoException;
  if (cause instanceof AnymalError || typeof code !== "string") return cause;
  if (syscall === undefined && !/^ERR_FS_/.test(code)) return cause;
  return new FileError(path, expected, code, cause);
}

/** Runs `work` on the file or folder `path`; what the system refuses is thrown as E_FILE. */
export async function onFile<T>(expected: "to be read" | "to be written", path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw fileError(expected, path, cause);
  }
}
export function onFileSync<T>(expected: "to be read" | "to be written", path: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    throw fileError(expected, path, cause);
  }
}
