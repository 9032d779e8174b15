// The cache on disk, laid out as huggingface_hub does, so that Python and this library use each other's files:
//   models--org--name/blobs/<etag>                      contents, named by sha256 (large files) or git hash (small ones)
//   models--org--name/refs/<revision>                   the commit that a branch or tag stood for when it was last asked for
//   models--org--name/snapshots/<commit>/<file>         links to blobs
//   models--org--name/.no_exist/<commit>/<file>         files that were asked for and are not in that commit
import { existsSync, readFileSync } from "node:fs";
import { copyFile, mkdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { diskError } from "./error.js";
import { type HubId, isCommit, type Repository } from "./names.js";

export class ModelCache {
  readonly folder: string;
  readonly locks: string;
  constructor(
    readonly root: string,
    readonly id: string,
    private readonly symlinks: boolean,
    readonly repository: Repository = "model",
  ) {
    const name = `${repository}s--${id.replaceAll("/", "--")}`;
    this.folder = join(root, name);
    this.locks = join(root, ".locks", name);
  }

  blob(etag: string): string {
    return join(this.folder, "blobs", etag);
  }
  snapshot(commit: string): string {
    return join(this.folder, "snapshots", commit);
  }
  entry(commit: string, name: string): string {
    return join(this.snapshot(commit), ...name.split("/"));
  }

  /** The commit that a revision stood for; undefined where the cache has never seen it. */
  commitOf(revision: HubId["revision"]): string | undefined {
    if (isCommit(revision)) return revision;
    try {
      const commit = readFileSync(this.#ref(revision), "utf8").trim();
      return isCommit(commit) ? commit : undefined;
    } catch {
      return undefined;
    }
  }

  async setCommit(revision: string, commit: string): Promise<void> {
    if (isCommit(revision)) return;
    const path = this.#ref(revision);
    if ((await readFile(path, "utf8").catch(() => "")) === commit) return;
    await this.#write(path, (temporary) => writeFile(temporary, commit));
  }

  /** Makes `name` of the commit show the blob. `fresh`: no other entry shows it yet, so that it may be moved where links are not possible. */
  async link(commit: string, name: string, etag: string, { fresh }: { fresh: boolean }): Promise<void> {
    const path = this.entry(commit, name);
    const blob = this.blob(etag);
    await this.#write(path, async (temporary) => {
      if (this.symlinks) {
        try {
          return await symlink(relative(dirname(path), blob), temporary, "file");
        } catch (error) {
          // Windows without developer mode, or a file system without links
          if (!["EPERM", "EACCES", "ENOSYS", "ENOTSUP", "EOPNOTSUPP"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
        }
      }
      if (fresh) await rename(blob, temporary);
      else await copyFile(blob, temporary);
    });
  }

  /** Python looks here before it asks the hub for a file that many models lack. */
  async noteAbsent(commit: string, names: readonly string[]): Promise<void> {
    for (const name of names) {
      const path = this.#absent(commit, name);
      if (!existsSync(path)) await this.#write(path, (temporary) => writeFile(temporary, ""));
    }
  }

  /** Is each of the names there, or known not to be in the commit? Then the hub has nothing to tell. */
  isWhole(commit: string, names: readonly string[]): boolean {
    const known = (name: string) => existsSync(this.entry(commit, name)) || existsSync(this.#absent(commit, name));
    return names.length > 0 && names.every(known);
  }

  #absent(commit: string, name: string): string {
    return join(this.folder, ".no_exist", commit, ...name.split("/"));
  }
  #ref(revision: string): string {
    return join(this.folder, "refs", ...revision.split("/"));
  }

  /** Under a name of its own first: other processes see all of a file or none. */
  async #write(path: string, make: (temporary: string) => Promise<void>): Promise<void> {
    const temporary = `${path}.${process.pid}.${Math.random().toString(36).slice(2)}.tmp`;
    try {
      await mkdir(dirname(path), { recursive: true });
      await make(temporary);
      await rename(temporary, path);
    } catch (cause) {
      throw diskError(this.id, this.root, cause);
    } finally {
      await rm(temporary, { force: true });
    }
  }
}
