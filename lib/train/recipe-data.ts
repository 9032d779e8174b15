// What a recipe says of the data of a stage: files, sets in shares of their own, names of columns.
import { type DataPart, PART_KEYS } from "../data/mixture.js";
import { checkKeys, is, isObject, RecipeError, type Schema } from "./schema.js";

/** A set of files in a share of its own, as a file can say it. */
export type RecipePart = Omit<DataPart, "from"> & { from: string | string[] };
export interface RecipeData {
  data?: string | RecipePart | (string | RecipePart)[];
  /** Shares of the kinds of media, by their names. */
  modalityWeights?: Record<string, number>;
  /** Names of columns where the data has others: ours, then theirs. */
  columns?: Record<string, string>;
}

export const DATA_KEYS = {
  data: is.either(is.text, is.object, is.listOf(is.either(is.text, is.object))),
  modalityWeights: {
    wanted: "a mapping of kinds of media to numbers above 0, as { image: 3, imu: 1 }",
    fits: (v: unknown) => isObject(v) && Object.values(v).every(PART_KEYS.weight.fits),
  },
  columns: PART_KEYS.columns,
} as const satisfies Schema & Record<keyof RecipeData, unknown>;

/** Throws E_RECIPE where a set of the data has an unknown key, or none of files. */
export function checkParts(at: string, data: unknown): void {
  for (const [i, part] of [data ?? []].flat().entries()) {
    if (!isObject(part)) continue;
    const place = Array.isArray(data) ? `${at}[${i}]` : at;
    checkKeys(place, part, PART_KEYS);
    if (!part.from) throw new RecipeError(`${place}.from`, PART_KEYS.from.wanted, part.from);
  }
}

/** Its files, of all sets. */
export const filesOf = (data: RecipeData["data"]): string[] =>
  [data ?? []].flat().flatMap((one) => (typeof one === "string" ? [one] : [one.from].flat()));
