// What recipe.yaml says of a training: what a file can say of its options.
import type { DataPart, ModalityWeights, TrainingData } from "../data/mixture.js";
import type { Row } from "../data/row.js";
import type { MediaOptions } from "../media/media-options.js";
import type { TrainingRecipe } from "./recipe.js";
import type { RecipeData } from "./recipe-data.js";

/** As recipe.yaml says it: rows that are there cannot be written. */
export function toldRecipe<R extends TrainingRecipe>({ validation, ...recipe }: R): object {
  if (!validation) return recipe;
  const { data, ...rest } = validation;
  return { ...recipe, validation: { ...described(data, undefined), ...rest } };
}

/** As recipe.yaml says it: functions cannot be written. */
export function toldMedia(media: MediaOptions | undefined): { media?: object } {
  const kinds = Object.entries(media ?? {}).map(([modality, options]) => {
    const data = Object.entries(options ?? {}).filter(([, value]) => value !== undefined && typeof value !== "function");
    return [modality, Object.fromEntries(data)] as const;
  });
  const said = kinds.filter(([, options]) => Object.keys(options).length);
  return said.length ? { media: Object.fromEntries(said) } : {};
}

/** The data as recipe.yaml names it, an id of the hub as `pinned` has it; rows in memory have no name. */
export function described(
  data: TrainingData,
  modalityWeights: ModalityWeights | undefined,
  pinned: (from: string) => string = (from) => from,
): Omit<RecipeData, "columns"> {
  const weights = modalityWeights && { modalityWeights: { ...modalityWeights } };
  const parts = ([data].flat() as readonly (string | Row | DataPart)[]).map((one) => {
    if (typeof one === "string") return pinned(one);
    if (!("from" in one)) return one;
    const { from } = one;
    if (typeof from === "string") return { ...one, from: pinned(from) };
    return { ...one, from: from.map((file: string | Row) => (typeof file === "string" ? pinned(file) : file)) };
  });
  const named = parts.every(
    (one) => typeof one === "string" || ("from" in one && [one.from].flat().every((file) => typeof file === "string")),
  );
  if (!named || !parts.length) return { ...weights };
  return { data: (Array.isArray(data) ? parts : parts[0]) as RecipeData["data"], ...weights };
}
