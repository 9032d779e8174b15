// One file of the hub into the cache. What has arrived stays in blobs/<etag>.anymal.incomplete, from where the next attempt goes on, in this process
// or another; it becomes a blob when its hash is the hub's.
import { createHash } from "node:crypto";
import { constants, existsSync } from "node:fs";
import { type FileHandle, mkdir, open, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { ModelCache } from "./cache.js";
import { diskError, HubError } from "./error.js";
import { withLock } from "./lock.js";
import { etagName } from "./names.js";
import { ask, bodyOf, drop, pause, unreachable } from "./request.js";
import type { HubSettings } from "./settings.js";

export interface FileJob {
  settings: HubSettings;
  cache: ModelCache;
  commit: string;
  name: string;
  signal: AbortSignal | undefined;
  /** How many bytes are there now, of how many. */
  onBytes(bytes: number, size: number | undefined): void;
}

interface Remote {
  what: string;
  url: string;
  etag: string;
  size: number | undefined;
}

/** Where a server does not say how long a file is, it is a small one. */
const UNTOLD = 256 << 20;
const CHUNK = 1 << 20;

export const partOf = (cache: ModelCache, etag: string): string => `${cache.blob(etag)}.anymal.incomplete`;

/** Throws HubError; on an abort, what has arrived stays for the next time. */
export async function fetchFile(job: FileJob): Promise<void> {
  const { cache, commit, name, signal } = job;
  const entry = cache.entry(commit, name);
  if (existsSync(entry)) return;
  const remote = await lookUp(job);
  const { etag, size } = remote;
  try {
    await mkdir(dirname(cache.blob(etag)), { recursive: true });
    await withLock(join(cache.locks, `${etag}.anymal.lock`), signal, async () => {
      if (existsSync(entry)) return; // another process was faster
      const fresh = !existsSync(cache.blob(etag));
      if (fresh) await download(job, remote);
      await cache.link(commit, name, etag, { fresh });
    });
  } catch (error) {
    throw diskError(remote.what, cache.root, error);
  }
  if (size !== undefined) job.onBytes(size, size);
}

async function lookUp({ settings, cache, commit, name, signal }: FileJob): Promise<Remote> {
  const what = `${cache.id} ${name}`;
  const place = cache.repository === "dataset" ? `datasets/${cache.id}` : cache.id;
  const url = `${settings.endpoint}/${place}/resolve/${commit}/${name.split("/").map(encodeURIComponent).join("/")}`;
  const answer = await ask({ settings, what, url, method: "HEAD", signal });
  drop(answer);
  const { headers, status } = answer.response;
  if (headers.get("x-repo-commit") !== commit)
    throw unreachable(what, `X-Repo-Commit ${headers.get("x-repo-commit")} for ${commit}, which is not a hub's answer`, 1);
  const length = headers.get("x-linked-size") ?? (status < 300 ? headers.get("content-length") : null);
  const size = length !== null && /^\d{1,15}$/.test(length) ? Number(length) : undefined;
  return { what, url, etag: etagName(what, headers.get("x-linked-etag") ?? headers.get("etag")), size };
}

async function download(job: FileJob, remote: Remote): Promise<void> {
  const part = partOf(job.cache, remote.etag);
  const file = await open(part, constants.O_RDWR | constants.O_CREAT, 0o666);
  try {
    for (let wrong = 0; ; ++wrong) {
      const size = await receive(job, remote, file);
      if (await isRight(file, remote.etag, size)) break;
      await file.truncate(0);
      if (wrong >= 1)
        throw new HubError(
          "E_HUB_HASH",
          remote.what,
          `content with the hash ${remote.etag}`,
          "other bytes, twice",
          "try again; if it stays, a proxy or mirror alters files: check HF_ENDPOINT",
        );
    }
    await file.datasync();
  } finally {
    await file.close();
  }
  await rename(part, job.cache.blob(remote.etag));
}

/** Until all bytes are there; how many they are. Attempts are counted anew whenever some came. */
async function receive(job: FileJob, remote: Remote, file: FileHandle): Promise<number> {
  const { settings, signal } = job;
  let at = (await file.stat()).size;
  if (remote.size !== undefined && at > remote.size) at = 0;
  for (let attempt = 1; ; ++attempt) {
    if (at > 0 && at === remote.size) return at; // cut between the last byte and the renaming
    const from = at;
    const { end, failed } = await receiveSome(job, remote, file, at);
    at = end;
    if (failed === undefined) {
      await file.truncate(at);
      return at;
    }
    if (at > from) attempt = 1;
    if (attempt >= settings.attempts) throw unreachable(remote.what, failed, attempt);
    await pause(settings, attempt, 0, signal);
  }
}

/** Goes on from `at`. `failed`: why the body ended early. */
async function receiveSome(
  { settings, signal, onBytes }: FileJob,
  { what, url, size }: Remote,
  file: FileHandle,
  at: number,
): Promise<{ end: number; failed?: string }> {
  const answer = await ask({ settings, what, url, signal, headers: at > 0 ? { range: `bytes=${at}-` } : {} });
  const { response } = answer;
  let end = at;
  try {
    if (response.status !== 206)
      end = 0; // the server does not know ranges, and sends all
    else if (!response.headers.get("content-range")?.startsWith(`bytes ${at}-`)) return { end: 0, failed: "another range than asked for" };
    for await (const chunk of bodyOf(answer)) {
      if (end + chunk.length > (size ?? UNTOLD))
        throw new HubError("E_HUB_HASH", what, `${size ?? `at most ${UNTOLD}`} bytes`, "more", "try again, or check HF_ENDPOINT");
      // By position: two who write the same content, should a lock fail, do not hurt each other.
      for (let done = 0; done < chunk.length; ) done += (await file.write(chunk, done, chunk.length - done, end + done)).bytesWritten;
      end += chunk.length;
      onBytes(end, size);
    }
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof HubError || (error as NodeJS.ErrnoException).syscall === "write") throw error;
    return { end, failed: `a connection that ended after ${end} bytes` };
  } finally {
    drop(answer);
  }
  return size === undefined || end === size ? { end } : { end, failed: `${end} of ${size} bytes` };
}

/** Read again from the disk: what is checked is what will be used. An etag that is no hash says nothing. */
async function isRight(file: FileHandle, etag: string, size: number): Promise<boolean> {
  const kind = /^[0-9a-f]{64}$/.test(etag) ? "sha256" : /^[0-9a-f]{40}$/.test(etag) ? "sha1" : undefined;
  if (!kind) return true;
  const hash = createHash(kind);
  if (kind === "sha1") hash.update(`blob ${size}\0`);
  const buffer = new Uint8Array(CHUNK);
  for (let at = 0; at < size; ) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(CHUNK, size - at), at);
    if (bytesRead === 0) return false;
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
  return hash.digest("hex") === etag;
}
