// report.html of a run, from what its folder holds.
import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { isObject } from "../../core/checks.js";
import { expected } from "../../core/errors.js";
import { readPlain } from "../../core/plain-file.js";
import { writeWhole } from "../../io/whole-file.js";
import { LARGEST } from "../../io/yaml.js";
import { JsonLines } from "../run-log/json-lines.js";
import { LOG } from "../run-log/log.js";
import { isLook, VALIDATION } from "../validation/judge.js";
import { page } from "./page.js";
import { readSamples } from "./samples.js";

export const REPORT = "report.html";

/**
 * Writes report.html into the folder of a run of representMedia(), align() or instruct(), from its logs: curves, validation, samples; one file that needs no network.
 * Returns its path. Rejects with E_FILE where the folder holds no run, or cannot be written.
 */
export async function writeReport(run: string): Promise<string> {
  const folder = resolve(run);
  const recipe = join(folder, "recipe.yaml");
  if (!existsSync(recipe))
    throw expected("E_FILE", folder, "the folder of a run, with recipe.yaml and log.jsonl", "none", "pass what --output named");
  const steps = (await new JsonLines(folder, LOG, "step").read()).filter(isObject).map(numbersOf);
  const looks = (await new JsonLines(folder, VALIDATION, "step").read()).filter(isLook);
  const text = (await readPlain(recipe, { most: LARGEST, linksInside: true })).toString();
  const path = join(folder, REPORT);
  await writeWhole(path, page({ name: basename(folder), recipe: text, steps, looks, samples: await readSamples(folder) }));
  return path;
}

const numbersOf = (line: Record<string, unknown>): Record<string, number> =>
  Object.fromEntries(Object.entries(line).filter((entry): entry is [string, number] => typeof entry[1] === "number"));
