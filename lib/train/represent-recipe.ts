// How BLIP-2's first stage is trained: the numbers of any stage, but for those that a loss over a whole batch has no use for.
import type { Modality } from "../media/part.js";
import { systemOf } from "../systems/index.js";
import { numbersFor, type Stage } from "../systems/system.js";
import { completed, TRAINING, type TrainingRecipe } from "./recipe.js";
import { checkParts, DATA_KEYS, type RecipeData } from "./recipe-data.js";
import { checkKeys, is, RecipeError, type Schema } from "./schema.js";

const NONE = ["microBatch", "gradientCheckpointing", "packing", "groupByLength", "opens", "disjoint", "groups", "validation"] as const;
/** Options of the first stage; what is left out is as LAVIS has it. A batch goes through the Q-Former whole: each pair of it is the others' wrong one. */
export type RepresentRecipe = Omit<TrainingRecipe, (typeof NONE)[number]>;

const KEYS: Schema = Object.fromEntries(Object.entries(TRAINING).filter(([key]) => !(NONE as readonly string[]).includes(key)));

/** What a recipe says under `represent`, beside the numbers. */
export interface RepresentSection extends RecipeData {
  recipe: RepresentRecipe;
  modality: Modality;
  /** The folder of the tokenizer of captions. */
  words?: string;
  embedDim?: number;
}
const BESIDE: Schema = { modality: is.text, words: is.text, embedDim: is.integer(1), ...DATA_KEYS };

/** Throws E_RECIPE. */
export function representSection(value: Record<string, unknown>): RepresentSection {
  checkKeys("represent", value, { ...KEYS, ...BESIDE });
  const { modality = "image", words, embedDim, data, modalityWeights, columns, ...rest } = value;
  checkParts("represent.data", data);
  const beside = { words, embedDim, data, modalityWeights, columns } as Partial<RepresentSection>;
  return { recipe: representRecipe(rest), modality: modality as Modality, ...beside };
}

/** Complete. Throws E_RECIPE. */
export function representRecipe(options: Partial<RepresentRecipe> = {}, at = "represent"): RepresentRecipe {
  checkKeys(at, options, KEYS);
  const { numbers } = systemOf("blip-2").stages.represent as Stage;
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const whole = completed({ ...numbersFor(numbers, options), betas: [0.9, 0.98], ...given }, at);
  if (whole.batch < 2)
    throw new RecipeError(`${at}.batch`, "at least two pairs, of which each is the other's wrong one", whole.batch, "raise it");
  const { microBatch: _, gradientCheckpointing: _g, packing: _p, groupByLength: _l, opens: _o, disjoint: _d, ...rest } = whole;
  const { groups: _r, validation: _v, ...recipe } = rest;
  return recipe;
}
