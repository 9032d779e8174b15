// Which texts are a hub's: ids, revisions, commits, names of entries and etags. Whatever becomes part of a path is checked here first.
import { HubError } from "./error.js";

export interface HubId {
  id: string;
  /** A branch, a tag, a commit, or refs/pr/N. */
  revision: string;
}
/** What a repository holds; the hub keeps data sets apart. */
export type Repository = "model" | "dataset";

/** `org/name`, or `name` of the oldest models, as huggingface_hub checks them. */
const ID = /^(?:[\w.-]{1,96}\/)?[\w.-]{1,96}$/;
const COMMIT = /^[0-9a-f]{40}$/;

export const isHubId = (text: string): boolean =>
  ID.test(text) && !/--|\.\.|\.git$/.test(text) && text.split("/").every((part) => /^\w/.test(part) && /\w$/.test(part));

/** `org/name` or `org/name@revision`; undefined for what can only be a path. */
export function parseId(text: string, revision?: string): HubId | undefined {
  const at = text.indexOf("@");
  const id = at < 0 ? text : text.slice(0, at);
  if (!isHubId(id)) return undefined;
  return { id, revision: checkRevision(id, revision ?? (at < 0 ? "main" : text.slice(at + 1))) };
}

function checkRevision(id: string, revision: string): string {
  if (/^[\w][\w./+-]*$/.test(revision) && isPlainPath(revision)) return revision;
  throw new HubError(
    "E_HUB_REVISION",
    id,
    "a revision: a branch, a tag, a commit or refs/pr/N",
    JSON.stringify(revision),
    "look it up under the model's files",
  );
}

export const isCommit = (text: unknown): text is string => typeof text === "string" && COMMIT.test(text);

/** Stays below the folder that it is put into, on every system. */
function isPlainPath(path: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return !/[\\:\x00-\x1f]/.test(path) && path.split("/").every((part) => part !== "" && part !== "." && part !== "..");
}

/** The name of a file in a repository, which may lie in folders of it. */
export function entryName(id: string, name: unknown): string {
  if (typeof name === "string" && name.length <= 1024 && isPlainPath(name)) return name;
  throw new HubError(
    "E_HUB_HOSTILE",
    id,
    "names of files below the model's folder",
    JSON.stringify(name)?.slice(0, 200) ?? "none",
    "do not use this repository, or check HF_ENDPOINT",
  );
}

/** Names a blob of the cache: the sha256 of a large file, the git hash of a small one. */
export function etagName(what: string, header: string | null): string {
  const etag = (header ?? "").replace(/^W\//, "").replace(/^"(.*)"$/, "$1");
  if (/^[\w-]{1,128}$/.test(etag)) return etag;
  throw new HubError("E_HUB_HOSTILE", what, "an ETag that names the content", JSON.stringify(header), "check that HF_ENDPOINT is a hub");
}
