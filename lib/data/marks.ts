// <image>, <video>, <audio> and <imu> in the text of conversations: where the row's media stand.
import { BUILT_IN, type Kinds } from "../media/kinds/index.js";
import type { Modality } from "../media/part.js";

const marks = new WeakMap<Kinds, RegExp>();

/** With the name as its group. Names are letters, digits and _. */
function markOf(kinds: Kinds): RegExp {
  const known = marks.get(kinds) ?? new RegExp(`<(${[...kinds.keys()].join("|")})>`);
  marks.set(kinds, known);
  return known;
}

/** The first mark in a text, for a message. */
export const hasMark = (text: string, kinds: Kinds = BUILT_IN): string | undefined => markOf(kinds).exec(text)?.[0];

/** A text in pieces: strings, and the modalities of the marks between them. */
export function splitAtMarks(text: string, kinds: Kinds = BUILT_IN): (string | { modality: Modality })[] {
  return text
    .split(markOf(kinds))
    .map((piece, i) => (i % 2 ? { modality: piece as Modality } : piece))
    .filter((piece) => piece !== "");
}
