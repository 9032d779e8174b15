// Models by name: a local folder as it is, or `org/name` of the Hugging Face hub through the cache that Python uses too.
import { existsSync } from "node:fs";
import { mkdir, readdir, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { warn } from "../core/notice.js";
import { checkOptions, optionNames } from "../core/options.js";
import { ModelCache } from "./hub/cache.js";
import { fetchFile } from "./hub/download.js";
import { diskError, HubError } from "./hub/error.js";
import { askedNames, type FileSet, missingIn, wantedFiles } from "./hub/files.js";
import { type Listing, listFiles } from "./hub/listing.js";
import { type HubId, isCommit, parseId, type Repository } from "./hub/names.js";
import { type HubSettings, hubSettings } from "./hub/settings.js";

export { type HubCode, HubError } from "./hub/error.js";
export type { FileSet } from "./hub/files.js";
export { type HubSettings, hubSettings } from "./hub/settings.js";

export interface DownloadProgress {
  /** The hub's id. */
  model: string;
  /** The file that has grown, with its bytes so far and, where the hub tells, in all. */
  file: string;
  fileBytes: number;
  fileTotal: number | undefined;
  /** Of all files that are fetched now. */
  bytes: number;
  total: number | undefined;
}

export interface ResolveOptions {
  /** A branch, a tag, a commit, or refs/pr/N. Default: what stands behind an @ of the id, or main. */
  revision?: string | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: DownloadProgress) => void) | undefined;
  /** Default "model": all that is read here, weights once and as safetensors. */
  files?: FileSet | undefined;
  /** Makes no request: the model is a local folder or whole in the cache, or E_HUB_OFFLINE. As HF_HUB_OFFLINE=1, for one call. Default false. */
  localFilesOnly?: boolean | undefined;
  /** Instead of what the environment says. */
  hub?: Partial<HubSettings> | undefined;
}

/** What the caller of locateModel wants to know of, and no user. */
export interface Locating extends ResolveOptions {
  /** Called before the first request, with the hub's address; not where everything is there. */
  onRequest?: (endpoint: string) => void;
  /** Default "model". */
  repository?: Repository;
}

const RESOLVE_OPTIONS = optionNames<ResolveOptions>({
  revision: true,
  signal: true,
  onProgress: true,
  files: true,
  localFilesOnly: true,
  hub: true,
});
/** What huggingface_hub takes here. */
const OTHERS = {
  cacheDir: "did you mean hub: { cache }?",
  token: "did you mean hub: { token }?",
  allowPatterns: 'did you mean "files"?',
};

export interface Located {
  folder: string;
  /** undefined for a local folder. */
  hub: { id: string; commit: string } | undefined;
}

/**
 * The folder of a model: `folderOrId` itself where it exists, otherwise the snapshot of the hub's model of that id, fetched as far as it is not in the
 * cache. With HF_HUB_OFFLINE or localFilesOnly no request is made; when the hub cannot be reached, a snapshot of the asked revision is used, with a warning.
 * Throws HubError (docs/errors.md), and the signal's reason when aborted: what has arrived is kept then.
 */
export async function resolveModel(folderOrId: string, options: ResolveOptions = {}): Promise<string> {
  checkOptions("resolveModel", options, RESOLVE_OPTIONS, { others: OTHERS });
  return (await locateModel(folderOrId, options)).folder;
}

/** As resolveModel, and which commit of which model it is. */
export async function locateModel(folderOrId: string, options: Locating = {}): Promise<Located> {
  options.signal?.throwIfAborted();
  if (existsSync(folderOrId)) return { folder: folderOrId, hub: undefined };
  const asked = parseId(folderOrId, options.revision);
  const { repository = "model" } = options;
  const [there, what] = repository === "model" ? ["folder", "model"] : ["file", "data set"];
  if (!asked)
    throw new HubError("E_HUB_ID", folderOrId, `a ${there}, or a ${what} of the hub as org/name`, `no such ${there}`, "check the path");
  const settings = hubSettings(process.env, options.hub);
  const cache = new ModelCache(settings.cache, asked.id, settings.symlinks, repository);
  const { files = "model", signal, localFilesOnly = false } = options;
  const kept = cache.commitOf(asked.revision);
  const missing = kept === undefined ? "nothing of that revision" : missingIn(cache.snapshot(kept), files);
  const cached = missing === undefined && kept !== undefined ? at(cache, kept) : undefined;
  if (settings.offline || localFilesOnly) return cached ?? refuse(asked, cache, missing ?? "", localFilesOnly);
  // What stands behind a commit does not change.
  if (cached && isCommit(asked.revision) && cache.isWhole(asked.revision, askedNames(files))) return cached;
  options.onRequest?.(settings.endpoint);
  let listing: Listing;
  try {
    // Who has an answer at hand does not wait for a hub that is away.
    const patience = cached ? { ...settings, timeoutMs: Math.min(settings.timeoutMs, 10_000) } : settings;
    listing = await listFiles(patience, asked, { signal, repository, ...(cached && { attempts: 1 }) });
  } catch (error) {
    if (!cached || !(error instanceof HubError) || !["E_HUB_NETWORK", "E_HUB_ACCESS"].includes(error.code)) throw error;
    warnOnce(asked.id, error);
    return cached;
  }
  await fill(cache, settings, asked, listing, options);
  return at(cache, listing.commit);
}

const at = (cache: ModelCache, commit: string): Located => ({ folder: cache.snapshot(commit), hub: { id: cache.id, commit } });

function refuse({ id, revision }: HubId, cache: ModelCache, missing: string, forThisCall: boolean): never {
  throw new HubError(
    "E_HUB_OFFLINE",
    revision === "main" ? id : `${id} at ${revision}`,
    `a local folder, or the ${cache.repository} in ${cache.root}`,
    `a cache without it (${missing})`,
    `${forThisCall ? "allow it once to be fetched (without localFilesOnly, --local-files-only)" : "unset HF_HUB_OFFLINE once to fetch it"}, or copy the cache from a machine that has it`,
  );
}

const warned = new Set<string>();
function warnOnce(id: string, { message }: HubError): void {
  if (warned.has(id)) return;
  warned.add(id);
  warn("ANYMAL_HUB_CACHED", `the hub was not reached, the cached snapshot is used (${message})`);
}

async function fill(
  cache: ModelCache,
  settings: HubSettings,
  { id, revision }: HubId,
  { commit, files }: Listing,
  { signal, onProgress, files: set = "model" }: ResolveOptions,
): Promise<void> {
  const names = [...files.keys()];
  const wanted = wantedFiles(id, names, set).filter((name) => !existsSync(cache.entry(commit, name)));
  const sizes = wanted.map((name) => files.get(name));
  const total = sizes.every((size) => size !== undefined) ? sizes.reduce<number>((sum, size) => sum + size!, 0) : undefined;
  if (wanted.length) await checkRoom(cache, id, total ?? 0);
  const there = new Map<string, number>();
  const fetchOne = (name: string, stop: AbortSignal) =>
    fetchFile({
      settings,
      cache,
      commit,
      name,
      signal: stop,
      onBytes(bytes, size) {
        if (there.get(name) === bytes) return;
        there.set(name, bytes);
        let sum = 0;
        for (const some of there.values()) sum += some;
        onProgress?.({ model: id, file: name, fileBytes: bytes, fileTotal: size ?? files.get(name), bytes: sum, total });
      },
    });
  await sideBySide(wanted, settings.parallel, signal, fetchOne);
  try {
    const absent = askedNames(set).filter((name) => !files.has(name));
    await cache.noteAbsent(commit, absent);
    if (!isCommit(revision)) await cache.setCommit(revision, commit); // last: whoever is offline later finds a whole snapshot
  } catch (error) {
    if (wanted.length) throw error; // else a cache that somebody else fills, and that is only read here
  }
}

async function checkRoom(cache: ModelCache, id: string, bytes: number): Promise<void> {
  try {
    await mkdir(cache.root, { recursive: true });
  } catch (cause) {
    throw diskError(id, cache.root, cause);
  }
  const disk = await statfs(cache.root).catch(() => undefined);
  const free = (disk ? disk.bavail * disk.bsize : Infinity) + (await begun(cache));
  if (free >= bytes) return;
  const [wanted, got] = [bytes, free].map((size) => `${(size / 1e9).toFixed(1)} GB`);
  throw new HubError(
    "E_HUB_DISK",
    id,
    `${wanted} of room in ${cache.root}`,
    got!,
    "free some space, or point HF_HUB_CACHE to another disk",
  );
}

/** Bytes of files that an earlier attempt has left half done: they need no room any more. */
async function begun(cache: ModelCache): Promise<number> {
  const folder = cache.blob("");
  const parts = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith(".anymal.incomplete"));
  const sizes = await Promise.all(
    parts.map((name) =>
      stat(join(folder, name)).then(
        ({ size }) => size,
        () => 0,
      ),
    ),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** A few at a time; the first that fails stops the others. */
async function sideBySide<T>(
  all: readonly T[],
  parallel: number,
  signal: AbortSignal | undefined,
  work: (one: T, stop: AbortSignal) => Promise<void>,
): Promise<void> {
  const stop = new AbortController();
  const follow = () => stop.abort(signal?.reason);
  signal?.addEventListener("abort", follow, { once: true });
  const queue = [...all];
  let failure: { error: unknown } | undefined;
  const drain = async () => {
    for (let one = queue.shift(); one !== undefined && !failure && !stop.signal.aborted; one = queue.shift())
      await work(one, stop.signal).catch((error) => {
        failure ??= { error };
        stop.abort(error);
      });
  };
  try {
    await Promise.all(Array.from({ length: Math.max(1, parallel) }, drain));
  } finally {
    signal?.removeEventListener("abort", follow);
  }
  signal?.throwIfAborted();
  if (failure) throw failure.error;
}
