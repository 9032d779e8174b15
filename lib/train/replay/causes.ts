// What is not as it was when a run was made: said of each thing that can change a step's numbers, the likeliest first.

import { buildId } from "../../core/build-id.js";
import { isObject, shown } from "../../core/checks.js";
import type { DataFile, OriginParts, RunOrigin, Sitting } from "./origin.js";

/** recipe.yaml, the rows, the weights to begin from or below, the device or its dispatch level, the package or its addon. */
export type CauseKind = "recipe" | "data" | "weights" | "device" | "version";
export interface ReplayCause {
  kind: CauseKind;
  /** A sentence. */
  text: string;
}
/** In what a step, or the weights after it, is not what the run has logged. */
export type ReplayedValue = "rows" | "learning rate" | "loss" | "gradient norm" | "weights";

/** The circumstances of a replay, as a sitting has them. */
export interface Now extends OriginParts {
  recipe: unknown;
  /** Undefined where another model was given to begin from. */
  start?: string;
}

export function causesOf({ sittings }: RunOrigin, now: Now): ReplayCause[] {
  const all = sittings.flatMap((then, i) => differing(then, now, i === sittings.length - 1));
  const texts = new Set<string>();
  return all.filter(({ text }) => !texts.has(text) && texts.add(text));
}

/** recipe.yaml is as the last sitting wrote it. */
function differing(then: Sitting, now: Now, last: boolean): ReplayCause[] {
  const causes: ReplayCause[] = [];
  const say = (kind: CauseKind, text: string) => causes.push({ kind, text });
  const change = changed(plain(then.recipe), plain(now.recipe));
  if (change && last) say("recipe", `recipe.yaml was changed: ${change}`);
  else if (change) say("recipe", `the run went on with another recipe: ${change}`);
  for (const text of otherFiles(then.data, now.data)) say("data", text);
  if (then.start && now.start && then.start !== now.start) say("weights", "the weights in start/ are not those that the run began from");
  if (then.llm !== now.llm) say("weights", "the language model is not the one that the run was made with");
  for (const [modality, own] of Object.entries(then.encoders))
    if (now.encoders[modality] !== own) say("weights", `the encoder of ${modality} is not the one that the run was made with`);
  if (then.device !== now.device) say("device", `the run was made on "${then.device}", this is "${now.device}"`);
  const { version, addon } = buildId();
  if (then.version !== version) say("version", `the run was made by anymal ${then.version}, this is ${version}`);
  else if (then.addon !== addon)
    say("version", `the addon of anymal ${version} is another build than the run's: ${then.addon} then, ${addon} now`);
  return causes;
}

function otherFiles(then: readonly DataFile[], now: readonly DataFile[]): string[] {
  if (then.length !== now.length) return [`the rows were in ${then.length} files, and are in ${now.length}`];
  return then.flatMap(({ path, fingerprint }, i) =>
    now[i]?.fingerprint === fingerprint ? [] : [`${now[i]?.path ?? path} is not what the run has read`],
  );
}

const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

/** The first key that differs, in words. */
function changed(then: unknown, now: unknown, at = ""): string | undefined {
  if (then === now) return undefined;
  const both = [then, now];
  if (both.every(isObject) || both.every(Array.isArray)) {
    const [a, b] = both as Record<string, unknown>[] as [Record<string, unknown>, Record<string, unknown>];
    for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
      const change = changed(a[key], b[key], at ? `${at}.${key}` : key);
      if (change !== undefined) return change;
    }
    return undefined;
  }
  return `${at} was ${said(then)}, is ${said(now)}`;
}
const said = (value: unknown): string => (value === undefined ? "not there" : shown(value));

/** Which of them change a value first. */
const LIKELY: Record<ReplayedValue, readonly CauseKind[]> = {
  rows: ["data", "recipe", "weights", "version", "device"],
  "learning rate": ["recipe", "version", "data", "weights", "device"],
  loss: ["recipe", "weights", "device", "version", "data"],
  "gradient norm": ["recipe", "weights", "device", "version", "data"],
  weights: ["weights", "recipe", "device", "version", "data"],
};

/** The likeliest first. */
export function likeliest(causes: readonly ReplayCause[], what: ReplayedValue): ReplayCause[] {
  const rank = ({ kind }: ReplayCause) => LIKELY[what].indexOf(kind);
  return causes.toSorted((a, b) => rank(a) - rank(b));
}
