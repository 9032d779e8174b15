// Which of an encoder's rows a bridge reads.
import { type Check, is } from "../../core/checks.js";
import type { Modality } from "../../media/part.js";

/**
 * patch: the rows of places; all: the class token too (LLaVA's "default" and "full"). projected: all, each behind the last norm and the projection that make embeds of the class token's (LLaMA-Adapter V2). class: the class token's row of each layer. pooled: one row for the whole medium, before the encoder's projection. embeds: the row that
 * is compared with text, after it, of length 1: what contrastive training has shaped, so attributes that came together can be told apart in it.
 */
export const SELECTS = ["patch", "all", "class", "pooled", "embeds", "projected"] as const;
export type Select = (typeof SELECTS)[number];

/** Does one row stand for the whole medium? */
export const isOneRow = (select: Select): boolean => select === "pooled" || select === "embeds";

/** Of an encoder, what a bridge depends on. */
export interface EncoderShape {
  width: number;
  embedDim: number;
  modality: Modality;
  classTokens: number;
}

/** Which hidden state is read, or which ones: of several the rows stand side by side, or with "class" one below the other. */
export type FeatureLayer = number | readonly number[];
/** More hidden states than any tower has are nobody's. */
const MOST = { layer: 1024, layers: 64 };
const ONE: Check = {
  wanted: `an integer from -${MOST.layer} to ${MOST.layer}`,
  fits: (v) => Number.isInteger(v) && Math.abs(v as number) <= MOST.layer,
};
const SEVERAL: Check = {
  wanted: `a list of 1 to ${MOST.layers} of them`,
  fits: (v) => is.listOf(ONE).fits(v) && (v as unknown[]).length >= 1 && (v as unknown[]).length <= MOST.layers,
};
export const LAYER: Check = is.either(ONE, SEVERAL);

/** d of the features that a bridge reads. */
export function featureWidth(select: Select, { width, embedDim }: Omit<EncoderShape, "classTokens">, layer: FeatureLayer = -1): number {
  if (select === "embeds" || select === "projected") return embedDim;
  return typeof layer === "number" || select === "pooled" || select === "class" ? width : width * layer.length;
}
