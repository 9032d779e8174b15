// One line of JSON for each thing that is told, in a file of the run's folder.
import { existsSync } from "node:fs";
import { appendFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { onFile } from "../../core/file-error.js";
import { parseShallow } from "../../core/json.js";
import { readPlain } from "../../core/plain-file.js";
import { writeWhole } from "../../io/whole-file.js";
import { isObject } from "../schema.js";

/** Bytes: a line has some 200. */
const LARGEST = 256 * 2 ** 20;

export class JsonLines {
  readonly path: string;

  /** `stepKey`: what a line calls the step that it tells of. */
  constructor(
    folder: string,
    name: string,
    private readonly stepKey: string,
  ) {
    this.path = join(folder, name);
  }

  /** Keeps the lines up to `step`; none of a run that begins. */
  async keepTo(step: number): Promise<void> {
    const { path } = this;
    if (!step) return onFile("to be written", path, () => rm(path, { force: true }));
    if (!existsSync(path)) return;
    const lines = (await this.#lines()).filter((line) => stepIn(line, this.stepKey) <= step);
    await writeWhole(path, lines.map((line) => `${line}\n`).join(""));
  }

  async append(line: object): Promise<void> {
    await onFile("to be written", this.path, () => appendFile(this.path, `${JSON.stringify(line)}\n`));
  }

  /** The lines that are whole. */
  async read(): Promise<unknown[]> {
    if (!existsSync(this.path)) return [];
    return (await this.#lines()).map(parsed).filter(isObject);
  }

  async #lines(): Promise<string[]> {
    return (await readPlain(this.path, { most: LARGEST, linksInside: true })).toString().split("\n").filter(Boolean);
  }
}

function parsed(line: string): unknown {
  try {
    return parseShallow(line);
  } catch {
    return undefined; // one that was cut off
  }
}

function stepIn(line: string, key: string): number {
  const value = parsed(line);
  return isObject(value) && typeof value[key] === "number" ? (value[key] as number) : Infinity;
}
