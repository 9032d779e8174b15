// Which runs a sweep has: a recipe with some of its values exchanged, one path after the other, or in all combinations.
import { createHash } from "node:crypto";
import { nearest } from "../../core/checks.js";
import { checkKeys, is, isObject, RecipeError } from "../schema.js";

type Keys = Readonly<Record<string, unknown>>;

/** What a sweep is, as a YAML file or an object says it. */
export interface SweepPlan {
  /** The recipe that all runs share, with the sections of any recipe: model, align, instruct, media, system. */
  recipe: Keys;
  /**
   * Paths in the recipe, and the values that each takes: { "model.modalities.image.projector.layers": [1, 2, 6] }. Paths that begin with answer say how the
   * trained model is opened for asking: { "answer.quantization": ["nf4", "none"] } trains once and asks twice.
   */
  vary: Readonly<Record<string, readonly unknown[]>>;
  /** each: a path after the other, all else as in the recipe. grid: all combinations. Default each. */
  mode?: "each" | "grid";
  /** Of each setting a run with each: of fresh weights, of the rows' order and of dropout. Default 0. */
  seeds?: readonly number[];
  /** Conversations that no run has trained on, of one medium and one right answer each. */
  ask: { data: string | readonly string[] /** The first so many. */; limit?: number };
  /** How a trained model is opened for asking. Default: as it was trained. */
  answer?: Answer;
}
export interface Answer {
  quantization?: "nf4" | "fp4" | "int8" | "none";
  dtype?: "f32" | "bf16";
}

/** A recipe with some values exchanged. */
export interface Setting {
  /** In words: "projector.layers: 6"; for a combination all of its values. */
  name: string;
  /** Of each, the path that it varies; of a combination all. */
  group: string;
  /** Path to value. */
  values: Keys;
  recipe: Keys;
  answer: Answer;
  /** Of the recipe: settings that train alike are trained once. */
  key: string;
}

const ANSWER = { quantization: is.oneOf("nf4", "fp4", "int8", "none"), dtype: is.oneOf("f32", "bf16") };
const PLAN = {
  recipe: is.object,
  vary: is.object,
  mode: is.oneOf("each", "grid"),
  seeds: is.listOf(is.integer()),
  ask: is.object,
  answer: is.object,
};

/** Throws E_RECIPE on what is no plan. The recipes that come of it are checked where they are read. */
export function checkPlan(plan: unknown): asserts plan is SweepPlan {
  checkKeys("", plan, PLAN);
  for (const name of ["recipe", "vary", "ask"]) if (!isObject(plan[name])) throw new RecipeError(name, "a mapping", plan[name]);
  checkKeys("ask", plan.ask, { data: is.either(is.text, is.listOf(is.text)), limit: is.integer(1) });
  if (!(plan.ask as Keys).data) throw new RecipeError("ask.data", "a file of questions with their answers", undefined);
  checkKeys("answer", plan.answer ?? {}, ANSWER);
  const vary = plan.vary as Keys;
  if (!Object.keys(vary).length) throw new RecipeError("vary", "a path with values at least", vary);
  for (const [path, values] of Object.entries(vary))
    if (!Array.isArray(values) || !values.length) throw new RecipeError(`vary.${path}`, "a list of values", values);
  if (Array.isArray(plan.seeds) && !plan.seeds.length) throw new RecipeError("seeds", "one seed at least", plan.seeds);
}

/** All settings, in the order of the plan. */
export function settingsOf({ recipe, vary, mode = "each", answer = {} }: SweepPlan): Setting[] {
  const paths = Object.keys(vary);
  const names = shortNames(paths);
  const made = (values: Keys, group: string): Setting => {
    const whole = Object.entries(values).reduce((before: Keys, [path, value]) => exchanged(before, path.split("."), value), {
      recipe,
      answer,
    });
    const own = { recipe: whole.recipe as Keys, answer: whole.answer as Answer };
    checkKeys("answer", own.answer, ANSWER);
    const name = Object.entries(values).map(([path, value]) => `${names.get(path)}: ${told(value)}`);
    return { name: name.join(", "), group, values, ...own, key: keyOf(own.recipe) };
  };
  const within = (path: string) => (path.split(".")[0] === "answer" ? path : `recipe.${path}`);
  const each = (path: string): Keys[] => (vary[path] ?? []).map((value) => ({ [within(path)]: value }));
  for (const path of paths) names.set(within(path), names.get(path) as string);
  if (mode === "each") return paths.flatMap((path) => each(path).map((values) => made(values, names.get(path) as string)));
  const all = paths.reduce((before: Keys[], path) => before.flatMap((one) => each(path).map((more) => ({ ...one, ...more }))), [{}]);
  return all.map((values) => made(values, paths.map((path) => names.get(path)).join(", ")));
}

/** The recipe with a value at a path; a value of undefined or null takes the key out. Throws E_RECIPE where a key on the way holds no mapping. */
function exchanged(value: unknown, [key = "", ...rest]: readonly string[], to: unknown, at = ""): Keys {
  if (!isObject(value)) throw new RecipeError(at || "the recipe", "a mapping, for a path of vary leads through it", value);
  const { [key]: before, ...others } = value;
  const path = at ? `${at}.${key}` : key;
  if (!rest.length) return to === undefined || to === null ? others : { ...others, [key]: to };
  if (before === undefined && at && !Object.hasOwn(value, key)) {
    const near = nearest(key, Object.keys(value));
    if (near !== undefined)
      throw new RecipeError(path.replace(/^recipe\./, "vary: "), "a key of the recipe", "none of that name", `did you mean "${near}"?`);
  }
  return { ...others, [key]: exchanged(before ?? {}, rest, to, path) };
}

const keyOf = (recipe: Keys): string =>
  createHash("sha256")
    .update(JSON.stringify(sorted(recipe)))
    .digest("hex")
    .slice(0, 12);
const sorted = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((key) => [key, sorted(value[key])]),
  );
};

/** The last words of each path that tell it from the others. */
function shortNames(paths: readonly string[]): Map<string, string> {
  const tail = (path: string, words: number) => path.split(".").slice(-words).join(".");
  return new Map(
    paths.map((path) => {
      let words = 2;
      while (words < path.split(".").length && paths.some((other) => other !== path && tail(other, words) === tail(path, words))) ++words;
      return [path, tail(path, words)];
    }),
  );
}

function told(value: unknown): string {
  if (value === null || value === undefined) return "default";
  if (!isObject(value)) return String(value);
  return Object.entries(value)
    .map(([key, entry]) => `${key} ${told(entry)}`)
    .join(" ");
}
