// What commands do that make one model folder out of another.
import { copyFileSync, existsSync, readdirSync, statSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { onFile, onFileSync } from "../core/file-error.js";
import { checkLinks } from "../core/plain-file.js";
import { TOKENIZER_FILES } from "../io/model-files.js";
import type { Json } from "../models/config.js";
import { UsageError } from "./output.js";

/** Tokenizer and generation settings: a folder is of no use without them, and no weight depends on them. */
const BESIDE = [...TOKENIZER_FILES, "generation_config.json"];

export function copyBeside(from: string, to: string): string[] {
  const there = BESIDE.filter((name) => existsSync(join(from, name)));
  for (const name of there) {
    checkLinks(from, join(from, name)); // a copy would take another file of this machine along
    onFileSync("to be written", join(to, name), () => copyFileSync(join(from, name), join(to, name)));
  }
  return there;
}

/** Refused before anything is loaded: nothing that is there already is written over. */
export function checkFresh(command: string, folder: string): void {
  if (!existsSync(folder)) return;
  let held: string[];
  try {
    held = readdirSync(folder);
  } catch {
    throw new UsageError(command, `${folder} is no folder: name another one to write to`);
  }
  if (held.length) throw new UsageError(command, `${resolve(folder)} holds ${held[0]} already: name a new or an empty folder`);
}

/** The config.json of a model that is about to be written anew: one GGUF file has none, which is said before hours of loading. */
export async function configOf(command: string, model: string, next: string): Promise<Json> {
  if (statSync(model, { throwIfNoEntry: false })?.isFile())
    throw new UsageError(command, `${model} is one file, and a folder in Hugging Face layout is needed: ${next}`);
  return (await import("../models/config.js")).readConfig(model);
}

export const makeFolder = (folder: string) => onFile("to be written", folder, () => mkdir(folder, { recursive: true }));

/** 1000 to the step, as disks and Hugging Face count. */
export function sizeText(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    ++unit;
  }
  return `${unit === 0 || value >= 99.5 ? Math.round(value) : value.toPrecision(value >= 9.95 ? 3 : 2)} ${units[unit]}`;
}
