// What a checkpoint stands on and does not hold: the language model and the encoders, by path and content, or by hub id and commit.
import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { isAbsolute, join, relative, resolve, sep } from "node:path";
import { shown } from "../core/checks.js";
import { notice } from "../core/notice.js";
import { openPlain } from "../core/plain-file.js";
import { isHubId } from "../io/hub/names.js";
import { type Locating, locateModel } from "../io/hub.js";
import { CheckpointError, MANIFEST } from "./checkpoint-error.js";
import { fingerprint } from "./fingerprint.js";

/** A model folder and its content when the checkpoint was trained on it. */
export interface Source {
  folder: string;
  fingerprint: string;
  /** Where it came from, if it is a snapshot of the hub's cache. */
  hub?: { id: string; revision: string } | undefined;
  /** The key of an encoder of the user's own, which lies in no folder. */
  own?: string;
}
interface FolderReference {
  path: string;
  fingerprint: string;
}
interface HubReference {
  id: string;
  /** The commit. */
  revision: string;
  fingerprint: string;
}
interface OwnReference {
  own: string;
  fingerprint: string;
}
export type Reference = FolderReference | HubReference | OwnReference;

export type Fetching = Pick<Locating, "signal" | "onProgress" | "localFilesOnly">;

/** A folder, or a model of the hub by its id. Throws HubError where there is neither. */
export async function openSource(
  folderOrId: string,
  { signal, onProgress, localFilesOnly, onRequest }: Fetching & Pick<Locating, "onRequest"> = {},
): Promise<Source> {
  const { folder, hub } = await locateModel(folderOrId, { signal, onProgress, localFilesOnly, ...(onRequest && { onRequest }) });
  const source = { folder: resolve(folder), fingerprint: await fingerprint(folder) };
  return hub ? { ...source, hub: { id: hub.id, revision: hub.commit } } : source;
}

/** Where a tokenizer lies: a folder, or what a model of the hub has of one. Its weights are not fetched. */
export async function tokenizerFolder(folderOrId: string, { signal, onProgress, localFilesOnly }: Fetching = {}): Promise<string> {
  return (await locateModel(folderOrId, { files: "tokenizer", signal, onProgress, localFilesOnly })).folder;
}

/** By id and commit where the model is the hub's. A path is relative where the model lies near the checkpoint, so that both can be moved together: few steps up, and not by way of the root. */
export function reference({ folder, fingerprint, hub, own }: Source, checkpoint: string): Reference {
  if (own !== undefined) return { own, fingerprint };
  if (hub) return { ...hub, fingerprint };
  const from = resolve(checkpoint);
  const near = relative(from, folder);
  const up = near.split(sep).filter((part) => part === "..").length;
  const depth = from.split(sep).filter(Boolean).length;
  const far = isAbsolute(near) || up > 4 || up >= depth;
  return { path: far ? folder : near.split(sep).join("/") || ".", fingerprint };
}

/**
 * Where a referred-to model lies now, fetched if it is the hub's. Another content is refused; only the language model may be swapped knowingly (`moved`): trained against 4 bits,
 * the full-precision one answers. A checkpoint may come from anybody and name any path: what is there is looked at only where it is a model, and
 * nothing of it is told but whether it fits.
 */
export async function locate(
  checkpoint: string,
  what: string,
  reference: Reference,
  moved: string | undefined,
  { mayDiffer = false, ...fetching }: Fetching & { mayDiffer?: boolean } = {},
): Promise<Source> {
  const wanted = reference.fingerprint;
  if (moved === undefined && "path" in reference) return openNamed(checkpoint, what, reference);
  const named = reference as HubReference;
  const source = await (moved !== undefined
    ? openSource(moved, fetching)
    : openSource(hubName(checkpoint, named), { ...fetching, onRequest: (endpoint) => tell(checkpoint, what, named, endpoint) }));
  // Python may have put more files into the same snapshot; a commit is what it is.
  const same = "id" in reference && source.hub?.id === reference.id && source.hub.revision === reference.revision;
  if (same) return { ...source, fingerprint: wanted };
  if (source.fingerprint !== wanted && !(mayDiffer && moved !== undefined))
    throw new CheckpointError(
      checkpoint,
      `${what} as it was trained on`,
      `a model with other contents in ${source.folder}`,
      "use the model it was trained on, or train again",
    );
  return source;
}

/** Before a request that nobody but the checkpoint asks for. */
function tell(checkpoint: string, what: string, { id, revision }: HubReference, endpoint: string): void {
  const no = "localFilesOnly, --local-files-only or HF_HUB_OFFLINE=1 say no to it";
  notice("ANYMAL_HUB_NAMED", `${checkpoint} names ${id}@${revision} as ${what}: ${endpoint} is asked for it (${no})`);
}

/** What a checkpoint names by its path. Of whatever else is there, and of nothing, the message is the same. */
async function openNamed(checkpoint: string, what: string, { path, fingerprint: wanted }: FolderReference): Promise<Source> {
  const place = resolve(checkpoint, path);
  // Another machine's share would be sent this user's name and a proof of the password.
  const share = process.platform === "win32" && /^[\\/]{2}/.test(path);
  if (!share && (await isModel(place).catch(() => false))) {
    const found = await openSource(place).catch(() => undefined);
    if (found?.fingerprint === wanted) return found;
  }
  throw new CheckpointError(
    checkpoint,
    `${what} as it was trained on in ${place}`,
    "no such model there",
    "put it there, or pass where it is now to fromPretrained(); one that was changed since does not fit",
  );
}

/** A folder with a model's configuration, or a file that begins as GGUF does. */
async function isModel(place: string): Promise<boolean> {
  if ((await stat(place)).isDirectory()) return CONFIGS.some((name) => existsSync(join(place, name)));
  const file = await openPlain(place);
  try {
    const { buffer } = await file.read(Buffer.alloc(4), 0, 4, 0);
    return buffer.toString("latin1") === "GGUF";
  } finally {
    await file.close();
  }
}
const CONFIGS = ["config.json", "open_clip_config.json"];

/** A local folder of the same name is not what the checkpoint means, but what the fingerprint lets pass. */
function hubName(checkpoint: string, { id, revision }: HubReference): string {
  if (isHubId(id)) return `${id}@${revision}`;
  throw new CheckpointError(join(checkpoint, MANIFEST), "an id of the hub as org/name", shown(id), "save the model again");
}
