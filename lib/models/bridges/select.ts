// Which of an encoder's rows a bridge reads.
import type { Modality } from "../../media/part.js";

/**
 * patch: the rows of places. all: the class token too. pooled: one row for the whole medium, before the encoder's projection. embeds: the row that
 * is compared with text, after it, of length 1: what contrastive training has shaped, so attributes that came together can be told apart in it.
 */
export const SELECTS = ["patch", "all", "pooled", "embeds"] as const;
export type Select = (typeof SELECTS)[number];

/** Does one row stand for the whole medium? */
export const isOneRow = (select: Select): boolean => select === "pooled" || select === "embeds";

/** Of an encoder, what a bridge depends on. */
export interface EncoderShape {
  width: number;
  embedDim: number;
  modality: Modality;
}

/** d of the features that a bridge reads. */
export const featureWidth = (select: Select, { width, embedDim }: EncoderShape): number => (select === "embeds" ? embedDim : width);
