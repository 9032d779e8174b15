// origin.json and start/: what a run began from and under which circumstances, so that it can be run again and what is different then is known. A run
// that was gone on with has an entry for each sitting.
import { createHash } from "node:crypto";
import { existsSync, statSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { basename, join, relative, resolve, sep } from "node:path";
import { fingerprint } from "../../anymal/fingerprint.js";
import { buildId } from "../../core/build-id.js";
import { isObject } from "../../core/checks.js";
import type { Device } from "../../core/device.js";
import { expected } from "../../core/errors.js";
import { parseShallow } from "../../core/json.js";
import { readPlain } from "../../core/plain-file.js";
import { writeWhole } from "../../io/whole-file.js";

export const ORIGIN = "origin.json";
export const START = "start";
/** Bytes. */
const LARGEST = 64 * 2 ** 20;

/** A file of rows. Of a large one the fingerprint is of its size and of parts all over it; the rows that a step read are in its line of the log. */
export interface DataFile {
  path: string;
  fingerprint: string;
}

/** What a run is told when it is opened. */
export interface OriginParts {
  /** Fingerprints; none where a stage has no language model. */
  llm?: string;
  encoders: Readonly<Record<string, string>>;
  data: readonly DataFile[];
  /** As it describes itself, its threads aside: they change no bit. */
  device: string;
}

export interface Sitting extends OriginParts {
  /** Steps that were made before it. */
  step: number;
  /** Of the package, and of its addon's bytes. */
  version: string;
  addon: string;
  /** Where paths of the recipe begin. */
  cwd: string;
  recipe: unknown;
  /** Of the files in start/. */
  start?: string;
}
/** None without a first sitting. */
export interface RunOrigin {
  sittings: readonly [Sitting, ...Sitting[]];
}

interface Named {
  source: { fingerprint: string };
}
/** What a stage trains on: a model, or one that is yet without a language model. */
interface Ground {
  llmSource?: Named["source"];
  encoders: ReadonlyMap<string, Named>;
  device: Device;
}

/** `then`: what the files were called when a run was made, if it is one that is replayed. */
export async function originOf(ground: Ground, files: readonly string[], then: readonly DataFile[] = []): Promise<OriginParts> {
  const data: DataFile[] = [];
  for (const path of files.map((file) => resolve(file)))
    if (statSync(path, { throwIfNoEntry: false })?.isFile())
      data.push({ path, fingerprint: await fingerprint(path, basename(then[data.length]?.path ?? path)) });
  const encoders = Object.fromEntries(Array.from(ground.encoders, ([modality, { source }]) => [modality, source.fingerprint]));
  const llm = ground.llmSource && { llm: ground.llmSource.fingerprint };
  return { ...llm, encoders, data, device: deviceName(ground.device) };
}

const deviceName = (device: Device): string => device.describe().replace(/, \d+ threads?$/, "");

/** Writes the sitting that begins after `step` steps behind those before it. */
export async function noteSitting(folder: string, step: number, recipe: object, parts: OriginParts): Promise<void> {
  const before = step && existsSync(join(folder, ORIGIN)) ? (await readOrigin(folder)).sittings : [];
  const start = existsSync(join(folder, START)) ? await folderHash(join(folder, START)) : undefined;
  const sitting = { step, ...buildId(), cwd: process.cwd(), ...parts, recipe, ...(start && { start }) };
  // One that ended before it was saved is made, and told, again.
  const sittings = [...before.filter((one) => one.step < step), sitting];
  await writeWhole(join(folder, ORIGIN), `${JSON.stringify({ sittings }, null, 2)}\n`);
}

/** Rejects with E_FILE where the run has none, or one that is damaged. */
export async function readOrigin(folder: string): Promise<RunOrigin> {
  const path = join(folder, ORIGIN);
  const remedy = "pass the folder of a run that representMedia(), align() or instruct() wrote; those of older versions have none";
  if (!existsSync(path)) throw expected("E_FILE", folder, `the folder of a run, with ${ORIGIN} and ${START}/`, "none", remedy);
  const text = (await readPlain(path, { most: LARGEST, linksInside: true })).toString();
  let value: unknown;
  try {
    value = parseShallow(text);
  } catch {
    value = undefined;
  }
  const sittings = isObject(value) && Array.isArray(value.sittings) ? value.sittings : [];
  if (!sittings.length || !sittings.every(isSitting))
    throw expected("E_FILE", path, "the sittings of a run", "a file that was damaged", "put it back from a copy");
  return { sittings } as unknown as RunOrigin;
}

function isSitting(value: unknown): value is Sitting {
  if (!isObject(value)) return false;
  const { step, version, addon, cwd, llm, encoders, data, device, recipe, start } = value;
  const isFile = (one: unknown) => isObject(one) && typeof one.path === "string" && typeof one.fingerprint === "string";
  return (
    Number.isSafeInteger(step) &&
    [version, addon, cwd, llm ?? "", device, start ?? ""].every((text) => typeof text === "string") &&
    isObject(encoders) &&
    Array.isArray(data) &&
    data.every(isFile) &&
    isObject(recipe)
  );
}

/** Of the names and contents of all files in it. */
export async function folderHash(folder: string): Promise<string> {
  const hash = createHash("sha256");
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  for (const path of files.sort()) hash.update(`${relative(folder, path).split(sep).join("/")}\0${await fingerprint(path)}\0`);
  return hash.digest("hex");
}
