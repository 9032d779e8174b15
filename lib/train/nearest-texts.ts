// Which text is nearest: what two towers know without a language model (CLIP's zero-shot classification, arXiv 2103.00020, section 3.1).
import { noGrad } from "../core/autograd.js";
import { expected } from "../core/errors.js";
import { scope } from "../core/scope.js";
import type { EncoderInput } from "../media/part.js";
import { argmax, linear } from "../ops/index.js";
import { mediaRows, type Towers, textRows } from "./towers.js";

/**
 * For each of N media, as the encoder's processor makes them, the place among `captions` (rows of ids, as the text tower takes them) of the one whose
 * embedding has the largest cosine to its own; of equal ones the first. Towers are asked as they are: put them into train(false) where they have dropout.
 * Rejects with E_VALUE without captions.
 */
export async function nearestTexts(
  { encoder, text }: Towers,
  media: EncoderInput,
  captions: readonly ArrayLike<number>[],
): Promise<number[]> {
  if (!captions.length) throw expected("E_VALUE", "nearestTexts", "at least one caption", "none");
  const nearest = noGrad(() => scope(() => argmax(linear(mediaRows(encoder, media), textRows(text, captions)))));
  try {
    return Array.from(await nearest.data());
  } finally {
    nearest.dispose();
  }
}
