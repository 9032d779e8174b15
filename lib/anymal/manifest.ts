// anymal.json: what a checkpoint folder stands on (the language model and the encoders, by path and content, or by hub id and commit) and how its
// projections are shaped.
import { existsSync } from "node:fs";
import { isAbsolute, join, relative, resolve, sep } from "node:path";
import { shown } from "../core/checks.js";
import { AnymalError } from "../core/errors.js";
import { parseShallow } from "../core/json.js";
import { readPlain } from "../core/plain-file.js";
import { isHubId } from "../io/hub/names.js";
import { locateModel, type ResolveOptions } from "../io/hub.js";
import type { Modality } from "../media/part.js";
import type { Quantization } from "../nn/weights.js";
import { fingerprint } from "./fingerprint.js";
import { checkManifest } from "./manifest-schema.js";
import type { ModalitySetup, PromptFormat } from "./options.js";

export const MANIFEST = "anymal.json";
const VERSION = 1;
/** Bytes. */
const LARGEST = 2 ** 20;

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

export type Fetching = Pick<ResolveOptions, "signal" | "onProgress">;

/** A folder, or a model of the hub by its id. Throws HubError where there is neither. */
export async function openSource(folderOrId: string, { signal, onProgress }: Fetching = {}): Promise<Source> {
  const { folder, hub } = await locateModel(folderOrId, { signal, onProgress });
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
  const text = (await readPlain(join(folder, MANIFEST), { most: LARGEST })).toString();
  let json: Manifest;
  try {
    json = parseShallow(text) as Manifest;
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
 * the full-precision one answers.
 */
export async function locate(
  checkpoint: string,
  what: string,
  reference: Reference,
  moved: string | undefined,
  { mayDiffer = false, ...fetching }: Fetching & { mayDiffer?: boolean } = {},
): Promise<Source> {
  const wanted = reference.fingerprint;
  const folder = "id" in reference || moved !== undefined ? undefined : resolve(checkpoint, reference.path);
  if (folder !== undefined && !existsSync(folder))
    throw new CheckpointError(
      checkpoint,
      `${what} in ${folder}`,
      "no such folder",
      "put it there, or pass where it is now to fromPretrained()",
    );
  const source = await openSource(folder ?? moved ?? hubName(checkpoint, reference as HubReference), fetching);
  // Python may have put more files into the same snapshot; a commit is what it is.
  const same = "id" in reference && source.hub?.id === reference.id && source.hub.revision === reference.revision;
  if (same) return { ...source, fingerprint: wanted };
  if (source.fingerprint !== wanted && !(mayDiffer && moved !== undefined))
    throw new CheckpointError(
      checkpoint,
      `${what} as it was trained on (${wanted})`,
      `${source.folder} with other contents (${source.fingerprint})`,
      "use the model it was trained on, or train again",
    );
  return source;
}

/** A local folder of the same name is not what the checkpoint means, but what the fingerprint lets pass. */
function hubName(checkpoint: string, { id, revision }: HubReference): string {
  if (isHubId(id)) return `${id}@${revision}`;
  throw new CheckpointError(join(checkpoint, MANIFEST), "an id of the hub as org/name", shown(id), "save the model again");
}
