// Files of strangers, read whole: regular ones of a size that its kind can have. A pipe would wait for its other end, a device need not end.
import { closeSync, constants, fstatSync, openSync, readFileSync, realpathSync, type Stats, statSync } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import { basename, dirname, sep } from "node:path";
import { FileError, onFile, onFileSync } from "./file-error.js";

/** Should a pipe take the file's place between the look at it and the opening, this does not wait for its other end. Windows has no such flag. */
const FLAGS = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

export interface PlainFileOptions {
  /** Bytes. Files of its kind are far smaller. */
  most: number;
  /** It is part of a folder that somebody else made: a link may not lead out of there. */
  linksInside?: boolean;
}

/** The bytes of a regular file. Rejects with E_FILE where there is none, where it is something else, where it is longer than `most`, and where a link leads out. */
export function readPlain(path: string, { most, linksInside = false }: PlainFileOptions): Promise<Buffer> {
  return onFile("to be read", path, async () => {
    if (linksInside) checkLinks(dirname(path), path);
    const file = await openPlain(path);
    try {
      checkSize(path, (await file.stat()).size, most);
      return await file.readFile();
    } finally {
      await file.close();
    }
  });
}

/** As readPlain, for what is small. */
export function readPlainSync(path: string, { most, linksInside = false }: PlainFileOptions): Buffer {
  return onFileSync("to be read", path, () => {
    if (linksInside) checkLinks(dirname(path), path);
    checkKind(path, statSync(path));
    const file = openSync(path, FLAGS);
    try {
      const found = fstatSync(file);
      checkKind(path, found);
      checkSize(path, found.size, most);
      return readFileSync(file);
    } finally {
      closeSync(file);
    }
  });
}

/** A regular file, opened for reading. Rejects with E_FILE where there is none, and where it is something else. */
export function openPlain(path: string): Promise<FileHandle> {
  return onFile("to be read", path, async () => {
    checkKind(path, await stat(path));
    const file = await open(path, FLAGS);
    try {
      checkKind(path, await file.stat());
      return file;
    } catch (error) {
      await file.close();
      throw error;
    }
  });
}

/**
 * A link in a folder that was unpacked from elsewhere may name any file of this machine, and a message about its content would show it. It may lead to
 * another file of the folder, or into the hub's cache, whose snapshots are links to models--org--name/blobs. Throws E_FILE otherwise, and where there
 * is no such file.
 */
export function checkLinks(folder: string, path: string): void {
  const real = onFileSync("to be read", path, () => realpathSync(path));
  const root = realpathSync(folder);
  if (real.startsWith(root.endsWith(sep) ? root : root + sep)) return;
  const blobs = dirname(real);
  if (basename(blobs) === "blobs" && /^(models|datasets)--/.test(basename(dirname(blobs)))) return;
  throw new FileError(path, "a file of its own folder", "EXLINK", new Error("a link that leads out of it"));
}

function checkKind(path: string, found: Stats): void {
  if (!found.isFile()) throw new FileError(path, "a regular file", "EFTYPE", new Error(kindOf(found)));
}

function checkSize(path: string, size: number, most: number): void {
  if (size > most) throw new FileError(path, `a file of at most ${most} bytes`, "EOVERFLOW", new Error(`${size} bytes`));
}

/** What there is in place of a regular file, in words. */
export function kindOf(found: Stats): string {
  if (found.isDirectory()) return "a folder";
  return found.isFIFO() ? "a pipe" : found.isSocket() ? "a socket" : "a device";
}
