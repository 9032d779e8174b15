// anymal.json: what a checkpoint folder stands on (the language model and the encoders, by path and content, or by hub id and commit) and how its
// projections are shaped.
import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { isAbsolute, join, relative, resolve, sep } from "node:path";
import { shown } from "../core/checks.js";
import { AnymalError } from "../core/errors.js";
import { notice } from "../core/notice.js";
import { openPlain, readPlain } from "../core/plain-file.js";
import { isHubId } from "../io/hub/names.js";
import { type Locating, locateModel } from "../io/hub.js";
import type { Modality } from "../media/part.js";
import type { Quantization } from "../nn/weights.js";
import { fingerprint } from "./fingerprint.js";
import { checkManifest } from "./manifest-schema.js";
import type { ModalitySetup, PromptFormat } from "./options.js";

export const MANIFEST = "anymal.json";
const VERSION = 1;
/** Of anymal.json. */
const LONGEST = 1 << 20;

/** A model folder and its content when the checkpoint was trained on it. */
export interface Source {
  folder: string;
  fingerprint: string;
  /** Where it came from, if it is a snapshot of the hub's cache. */
  hub?: { id: string; revision: string } | undefined;
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
type Reference = FolderReference | HubReference;

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

export interface ModalityEntry extends ModalitySetup {
  /** dtype: what it computed in; older files do not say, and the encoder's own suggests it then. */
  encoder: Reference & { dtype?: "f32" | "bf16" };
  /** Feature statistics and output scale were measured. */
  calibrated: boolean;
}

export interface Manifest {
  format: "anymal";
  version: number;
  llm: Reference & { quantization: Quantization | null; dtype: "f32" | "bf16" };
  prompt: PromptFormat & { template: "chat" | "plain" };
  modalities: Partial<Record<Modality, ModalityEntry>>;
  /** adapter_config.json and adapter_model.safetensors belong to it. */
  adapter: boolean;
}

/** A checkpoint folder that cannot be what it says. */
export class CheckpointError extends AnymalError {
  override readonly name = "CheckpointError";
  constructor(
    readonly folder: string,
    readonly expected: string,
    readonly got: string,
    readonly remedy: string,
    options?: ErrorOptions,
  ) {
    super("E_CHECKPOINT", `${folder}: expected ${expected}, got ${got}; ${remedy}`, options);
  }
}

/** By id and commit where the model is the hub's. A path is relative where the model lies near the checkpoint, so that both can be moved together: few steps up, and not by way of the root. */
export function reference({ folder, fingerprint, hub }: Source, checkpoint: string): Reference {
  if (hub) return { ...hub, fingerprint };
  const from = resolve(checkpoint);
  const near = relative(from, folder);
  const up = near.split(sep).filter((part) => part === "..").length;
  const depth = from.split(sep).filter(Boolean).length;
  const far = isAbsolute(near) || up > 4 || up >= depth;
  return { path: far ? folder : near.split(sep).join("/") || ".", fingerprint };
}

/** The checkpoint within: the folder itself, or `checkpoint` of a training run's folder. */
export function checkpointFolder(folder: string): string {
  for (const place of [folder, join(folder, "checkpoint"), join(folder, "checkpoint.old")])
    if (existsSync(join(place, MANIFEST))) return place;
  throw new CheckpointError(
    folder,
    `${MANIFEST}, or a run's folder with checkpoint/${MANIFEST}`,
    existsSync(folder) ? "neither" : "no such folder",
    "pass a folder that save(), align() or instruct() wrote",
  );
}

export async function readManifest(folder: string): Promise<Manifest> {
  const fail = (expected: string, got: string): never => {
    throw new CheckpointError(
      join(folder, MANIFEST),
      expected,
      got,
      "it was changed by hand or written by another version: save the model again",
    );
  };
  const text = (await readPlain(join(folder, MANIFEST), { most: LONGEST, linksInside: true })).toString("utf8");
  let json: Manifest;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    return fail("JSON", (cause as Error).message);
  }
  if (json?.format !== "anymal" || json.version !== VERSION)
    fail(`format "anymal", version ${VERSION}`, `${shown(json?.format)}, version ${shown(json?.version)}`);
  checkManifest(json as unknown as Record<string, unknown>, fail);
  return json;
}

export function makeManifest(parts: Omit<Manifest, "format" | "version">): Manifest {
  return { format: "anymal", version: VERSION, ...parts };
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
