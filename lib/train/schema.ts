// Options checked in words: an unknown key names the nearest known one, a wrong value says what was meant.
import { isObject, nearest, type Schema, shown } from "../core/checks.js";
import { AnymalError } from "../core/errors.js";

export { type Check, is, isObject, nearest, type Schema } from "../core/checks.js";

/** E_RECIPE: an option of a recipe that is unknown or out of its range. `at` says which. */
export class RecipeError extends AnymalError {
  override readonly name = "RecipeError";
  constructor(
    /** Which option, as a path: "align.image.batch". */
    readonly at: string,
    readonly expected: string,
    readonly got: unknown,
    readonly remedy = "",
  ) {
    super("E_RECIPE", `recipe: expected ${at} to be ${expected}, got ${shown(got)}${remedy && `; ${remedy}`}`);
  }
}

/** Throws E_RECIPE on the first key that is unknown or holds something unfit. Keys that hold undefined count as absent. */
export function checkKeys(at: string, value: unknown, schema: Schema): asserts value is Record<string, unknown> {
  if (!isObject(value)) throw new RecipeError(at || "the recipe", "a mapping", value);
  for (const [key, entry] of Object.entries(value)) {
    if (entry === undefined) continue;
    const path = at ? `${at}.${key}` : key;
    const check = Object.hasOwn(schema, key) ? schema[key] : undefined;
    if (!check) {
      const near = nearest(key, Object.keys(schema));
      const known = Object.keys(schema).join(", ");
      throw new RecipeError(path, "a known option", "an unknown one", near ? `did you mean "${near}"?` : `known are ${known}`);
    }
    if (!check.fits(entry)) throw new RecipeError(path, check.wanted, entry);
  }
}
