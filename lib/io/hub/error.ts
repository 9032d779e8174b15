// What is wrong with a model of the hub, or with getting it, and what to do about it.
import { AnymalError } from "../../core/errors.js";

/**
 * E_HUB_ID: neither a folder nor an id. E_HUB_NOT_FOUND, E_HUB_REVISION: no such model, no such revision of it. E_HUB_ACCESS: gated or private.
 * E_HUB_FILES: nothing in it that can be read here. E_HUB_OFFLINE: not in the cache, and the hub is not to be asked or cannot be reached.
 * E_HUB_NETWORK: the hub or the way there failed, again and again. E_HUB_HASH: bytes that are not those of the hub.
 * E_HUB_HOSTILE: an answer that would write outside of the cache. E_HUB_DISK: the cache cannot be written to.
 */
export type HubCode =
  | "E_HUB_ID"
  | "E_HUB_NOT_FOUND"
  | "E_HUB_REVISION"
  | "E_HUB_ACCESS"
  | "E_HUB_FILES"
  | "E_HUB_OFFLINE"
  | "E_HUB_NETWORK"
  | "E_HUB_HASH"
  | "E_HUB_HOSTILE"
  | "E_HUB_DISK";

/** E_HUB_…: a model that could not be had. The code says why: no such name, no access, no connection, no room. */
export class HubError extends AnymalError {
  override readonly name = "HubError";
  declare readonly code: HubCode;
  constructor(
    code: HubCode,
    /** The model, or a file of it. */
    readonly what: string,
    readonly expected: string,
    readonly got: string,
    readonly remedy: string,
    options?: ErrorOptions,
  ) {
    super(code, `${what}: expected ${expected}, got ${got}; ${remedy}`, options);
  }
}

const DISK: Readonly<Record<string, string>> = {
  ENOSPC: "free some space, or point HF_HUB_CACHE to another disk",
  EDQUOT: "free some of your quota, or point HF_HUB_CACHE to another disk",
  EACCES: "make it writable, or point HF_HUB_CACHE elsewhere",
  EPERM: "make it writable, or point HF_HUB_CACHE elsewhere",
  ENOTDIR: "point HF_HUB_CACHE to a folder",
  EEXIST: "point HF_HUB_CACHE to a folder",
  EROFS: "point HF_HUB_CACHE to a disk that can be written to",
};

/** An error of the file system in the words of this file; any other as it is. */
export function diskError(what: string, folder: string, cause: unknown): unknown {
  const code = (cause as NodeJS.ErrnoException | undefined)?.code ?? "";
  const remedy = Object.hasOwn(DISK, code) ? DISK[code] : undefined;
  if (remedy === undefined) return cause;
  return new HubError("E_HUB_DISK", what, `to write into ${folder}`, `${code}: ${(cause as Error).message}`, remedy, { cause });
}
