// The options of media as data: the same names and values in scripts, in recipes, in rows of data and on the command line.
import { isObject, nearest, type Schema, shown } from "../core/checks.js";
import { BUILT_IN, type BuiltIn, KINDS, type Kind, type Kinds } from "./kinds/index.js";
import type { MediaPart } from "./part.js";

/** For every medium of a kind, e.g. { imu: { acceleration: "g" } }. */
export type MediaOptions = { -readonly [P in Extract<MediaPart, { modality: BuiltIn }> as P["modality"]]?: P["options"] } & {
  [own: string]: object | undefined;
};

export const MEDIA_OPTIONS = Object.fromEntries(Object.entries<Kind>(KINDS).map(([name, { options }]) => [name, options])) as {
  readonly [K in keyof typeof KINDS]: Schema;
};

export interface OptionProblem {
  /** "imu.acceleration" */
  at: string;
  expected: string;
  /** What stands there. */
  value: unknown;
  got: string;
  remedy: string;
}

/** What is wrong with the options of one medium, or undefined. */
export function optionProblem({ name: modality, options: schema }: Kind, options: unknown): OptionProblem | undefined {
  const remedy = "see the options of the medium";
  if (!isObject(options)) return { at: modality, expected: "a mapping of options", value: options, got: shown(options), remedy };
  for (const [name, value] of Object.entries(options)) {
    const at = `${modality}.${name}`;
    const check = Object.hasOwn(schema, name) ? schema[name] : undefined;
    if (check && (value === undefined || check.fits(value))) continue;
    if (check) return { at, expected: check.wanted, value, got: shown(value), remedy: "correct the value" };
    const near = nearest(name, Object.keys(schema));
    const known = `known are ${Object.keys(schema).join(", ")}`;
    return {
      at,
      expected: "a known option",
      value: "an unknown one",
      got: "an unknown one",
      remedy: near ? `did you mean "${near}"?` : known,
    };
  }
  return undefined;
}

/** What is wrong with the options of all kinds of media, or undefined. */
export function mediaOptionsProblem(options: unknown, kinds: Kinds = BUILT_IN): OptionProblem | undefined {
  const names = [...kinds.keys()].join(", ");
  if (!isObject(options))
    return { at: "media", expected: `a mapping of ${names}`, value: options, got: shown(options), remedy: "name the kind first" };
  for (const [modality, own] of Object.entries(options)) {
    const kind = kinds.get(modality);
    if (!kind)
      return { at: modality, expected: `one of ${names}`, value: "another kind", got: "another kind", remedy: "name the kind first" };
    const problem = own === undefined ? undefined : optionProblem(kind, own);
    if (problem) return problem;
  }
  return undefined;
}

/** The second goes before the first; columns that only the first names stay. */
export function mergedOptions(first: MediaOptions = {}, second: MediaOptions = {}): MediaOptions {
  const merged: Record<string, unknown> = { ...first };
  for (const [modality, own] of Object.entries(second as Record<string, { columns?: object }>)) {
    const before = merged[modality] as { columns?: object } | undefined;
    const both = before?.columns && own.columns ? { columns: { ...before.columns, ...own.columns } } : {};
    merged[modality] = { ...before, ...own, ...both };
  }
  return merged as MediaOptions;
}
