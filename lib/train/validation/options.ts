// How a training looks at itself: which rows are held out, how often they are asked, and what follows from the answers.
import { checkKeys, is, isObject, RecipeError, type Schema } from "../schema.js";

export const METRICS = ["exact", "ciderD", "bleu4", "rougeL", "loss"] as const;
/** exact: share of answers that are right to the letter; the captions' scores against the row's own answer; loss: of the answer, token by token. */
export type MetricName = (typeof METRICS)[number];

export interface ValidationRecipe {
  /** Steps between two looks; there is one before the first step and one at the end in any case. Default: a tenth of the steps. */
  every: number;
  /** Rows that are asked at most, from all over the data. Default 64. */
  rows: number;
  /** What tells better from worse. Default: exact in stage 2, and where all right answers are of one word; else ciderD. */
  metric?: MetricName;
  /** Looks on end without a better score after which training ends. Default: it never does. */
  patience?: number;
  /** Of an answer. Default 32. */
  maxNewTokens: number;
}
export type ValidationInput<Data> = Partial<ValidationRecipe> & { data: Data };

export const VALIDATION_KEYS: Schema = {
  data: {
    wanted: "files, or rows",
    fits: (v) => is.text.fits(v) || (Array.isArray(v) && v.every((one) => is.text.fits(one) || isObject(one))),
  },
  every: is.integer(1),
  rows: is.integer(2),
  metric: is.oneOf(...METRICS),
  patience: is.integer(1),
  maxNewTokens: is.integer(1),
};

/** Complete but for the metric, which follows from the rows; `steps` of the training. Throws E_RECIPE. */
export function validationRecipe<Data>(
  { data, ...given }: ValidationInput<Data>,
  { at, steps }: { at: string; steps: number },
): ValidationRecipe & { data: Data } {
  checkKeys(at, { data, ...given }, VALIDATION_KEYS);
  if (data === undefined) throw new RecipeError(`${at}.data`, "files of rows that are held out", data);
  const asked = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return { every: Math.max(1, Math.round(steps / 10)), rows: 64, maxNewTokens: 32, ...asked, data };
}
