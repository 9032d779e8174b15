// <image>, <video>, <audio> and <imu> in the text of conversations: where the row's media stand.
import type { Modality } from "../media/part.js";

const MARK = /<(image|video|audio|imu)>/;

/** The first mark in a text, for a message. */
export const hasMark = (text: string): string | undefined => MARK.exec(text)?.[0];

/** A text in pieces: strings, and the modalities of the marks between them. */
export function splitAtMarks(text: string): (string | { modality: Modality })[] {
  return text
    .split(new RegExp(MARK, "g"))
    .map((piece, i) => (i % 2 ? { modality: piece as Modality } : piece))
    .filter((piece) => piece !== "");
}
