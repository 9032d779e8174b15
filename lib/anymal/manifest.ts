// anymal.json: what a checkpoint folder stands on, how its projections are shaped, and which adapters lie in it.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { isObject, shown } from "../core/checks.js";
import { parseShallow } from "../core/json.js";
import { readPlain } from "../core/plain-file.js";
import type { Quantization } from "../nn/weights.js";
import { CheckpointError, MANIFEST } from "./checkpoint-error.js";
import { checkManifest } from "./manifest-schema.js";
import type { ModalitySetup, PromptFormat } from "./options.js";
import { type AdapterPlace, DEFAULT_ADAPTER } from "./parts.js";
import type { Reference } from "./source.js";

export { MANIFEST } from "./checkpoint-error.js";

const VERSION = 2;
/** Versions that are read. */
const READ: readonly unknown[] = [1, VERSION];
/** Bytes. */
const LARGEST = 2 ** 20;

export interface ModalityEntry extends ModalitySetup {
  /** dtype: what it computed in; older files do not say, and the encoder's own suggests it then. */
  encoder: Reference & { dtype?: "f32" | "bf16" };
  /** Feature statistics and output scale were measured. */
  calibrated: boolean;
}

export interface AdapterEntry {
  name: string;
  kind: string;
  on: AdapterPlace;
  /** Where PEFT's two files lie, from the checkpoint's folder. */
  folder: string;
}

export interface Manifest {
  format: "anymal";
  version: typeof VERSION;
  /** What it was put together as, where it was: "llava-1.5". */
  system?: string;
  llm: Reference & { quantization: Quantization | null; dtype: "f32" | "bf16" };
  prompt: PromptFormat & { template: "chat" | "plain" };
  /** `projector.type` is the kind of the bridge. */
  modalities: Readonly<Record<string, ModalityEntry>>;
  /** Control tokens that the language model's folder lacks, or that train; none in older files. */
  addedTokens?: readonly string[];
  /** In the order in which they are put on. */
  adapters: readonly AdapterEntry[];
  /** Does a file hold weights of the language model that are no longer those of its folder? */
  trained?: boolean;
}

/** The checkpoint within, by the file that it must have; undefined where there is none. */
export const checkpointWith = (folder: string, mark: string): string | undefined =>
  [folder, join(folder, "checkpoint"), join(folder, "checkpoint.old")].find((place) => existsSync(join(place, mark)));

/** The checkpoint within: the folder itself, or `checkpoint` of a training run's folder, by the file that it must have. */
export function checkpointFolder(folder: string, mark = MANIFEST, writers = "save(), align() or instruct()"): string {
  const place = checkpointWith(folder, mark);
  if (place !== undefined) return place;
  throw new CheckpointError(
    folder,
    `${mark}, or a run's folder with checkpoint/${mark}`,
    existsSync(folder) ? "neither" : "no such folder",
    `pass a folder that ${writers} wrote`,
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
  const text = (await readPlain(join(folder, MANIFEST), { most: LARGEST, linksInside: true })).toString();
  let json: unknown;
  try {
    json = parseShallow(text);
  } catch (cause) {
    return fail("JSON", (cause as Error).message);
  }
  const { format, version } = isObject(json) ? json : ({} as Record<string, unknown>);
  if (!isObject(json) || format !== "anymal" || !READ.includes(version))
    return fail(`format "anymal", version ${READ.join(" or ")}`, `${shown(format)}, version ${shown(version)}`);
  checkManifest(json, version as 1 | 2, fail);
  return version === 1 ? ofVersion1(json) : (json as unknown as Manifest);
}

/** One adapter at most, on the language model, and a flag for whether it is there. */
function ofVersion1({ adapter, ...json }: Record<string, unknown>): Manifest {
  const adapters = adapter ? [{ name: DEFAULT_ADAPTER, kind: "lora", on: "llm", folder: "." }] : [];
  return { ...json, version: VERSION, adapters } as unknown as Manifest;
}

export function makeManifest(parts: Omit<Manifest, "format" | "version">): Manifest {
  return { format: "anymal", version: VERSION, ...parts };
}
