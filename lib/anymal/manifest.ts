// anymal.json: what a checkpoint folder stands on (the language model and the encoders, by path and content) and how its projections are shaped.
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { isAbsolute, join, relative, resolve, sep } from "node:path";
import { AnymalError } from "../core/errors.js";
import type { Modality } from "../media/part.js";
import type { Quantization } from "../nn/weights.js";
import { fingerprint } from "./fingerprint.js";
import { MODALITIES, type ModalitySetup, type PromptFormat } from "./options.js";

export const MANIFEST = "anymal.json";
const VERSION = 1;

/** A model folder and its content when the checkpoint was trained on it. */
export interface Source {
  folder: string;
  fingerprint: string;
}
interface Reference {
  path: string;
  fingerprint: string;
}

export interface ModalityEntry extends ModalitySetup {
  encoder: Reference;
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

/** Relative where the model lies near the checkpoint, so that both can be moved together: few steps up, and not by way of the root. */
export function reference({ folder, fingerprint }: Source, checkpoint: string): Reference {
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
  let json: Manifest;
  try {
    json = JSON.parse(await readFile(join(folder, MANIFEST), "utf8"));
  } catch (cause) {
    return fail("JSON", (cause as Error).message);
  }
  if (json?.format !== "anymal" || json.version !== VERSION)
    fail(`format "anymal", version ${VERSION}`, `${JSON.stringify(json?.format)}, version ${json?.version}`);
  const isReference = (value?: Partial<Reference>) => typeof value?.path === "string" && typeof value.fingerprint === "string";
  if (!isReference(json.llm)) fail("llm with path and fingerprint", JSON.stringify(json.llm));
  if (typeof json.modalities !== "object" || json.modalities === null) fail("modalities", JSON.stringify(json.modalities));
  for (const [modality, entry] of Object.entries(json.modalities)) {
    if (!(MODALITIES as readonly string[]).includes(modality)) fail(`modalities among ${MODALITIES.join(", ")}`, modality);
    if (!isReference(entry?.encoder) || typeof entry.projector !== "object")
      fail(`encoder and projector of ${modality}`, JSON.stringify(entry));
  }
  return json;
}

export function makeManifest(parts: Omit<Manifest, "format" | "version">): Manifest {
  return { format: "anymal", version: VERSION, ...parts };
}

/**
 * Where a referred-to model lies now. Another content is refused; only the language model may be swapped knowingly (`moved`): trained against 4 bits,
 * the full-precision one answers.
 */
export async function locate(
  checkpoint: string,
  what: string,
  { path, fingerprint: wanted }: Reference,
  moved: string | undefined,
  { mayDiffer = false } = {},
): Promise<Source> {
  const folder = moved === undefined ? resolve(checkpoint, path) : resolve(moved);
  if (!existsSync(folder))
    throw new CheckpointError(
      checkpoint,
      `${what} in ${folder}`,
      "no such folder",
      "put it there, or pass where it is now to fromPretrained()",
    );
  const found = await fingerprint(folder);
  if (found !== wanted && !(mayDiffer && moved !== undefined))
    throw new CheckpointError(
      checkpoint,
      `${what} as it was trained on (${wanted})`,
      `${folder} with other contents (${found})`,
      "use the model it was trained on, or train again",
    );
  return { folder, fingerprint: found };
}
