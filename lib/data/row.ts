// What training and evaluation read: conversations whose turns mix text and media, whichever file they came from.
import { AnymalError } from "../core/errors.js";
import type { MediaPart } from "../media/part.js";

export type Content = readonly (string | MediaPart)[];
export type Role = "system" | "user" | "assistant";
export interface Turn {
  readonly role: Role;
  readonly content: Content;
  /** How much each token of an answer counts in the loss. Default 1; at 0 it is read, and not learned. */
  readonly weight?: number;
}
export interface Row {
  /** For messages: "captions.jsonl:17". */
  readonly where: string;
  readonly turns: readonly Turn[];
}

/** Media in reading order: number n is the prompt's `{ media: n }`. */
export function mediaOf({ turns }: Pick<Row, "turns">): MediaPart[] {
  return turns.flatMap(({ content }) => content).filter((part): part is MediaPart => typeof part !== "string");
}

/** E_ROW: one row is wrong, the others may be fine. E_DATA: the file as a whole cannot be used. */
export class DataError extends AnymalError {
  override readonly name = "DataError";
  /** Which of the row's columns is wrong, where it is one. */
  readonly column: string | undefined;
  constructor(
    code: "E_ROW" | "E_DATA",
    readonly file: string,
    /** Where in the file, counted from 1: the line of JSONL or CSV, the n-th entry of a JSON list. */
    readonly row: number | undefined,
    readonly expected: string,
    readonly got: string,
    readonly remedy: string,
    options?: ErrorOptions & { column?: string | undefined },
  ) {
    super(code, `${whereOf(file, row)}: expected ${expected}, got ${got}; ${remedy}`, options);
    this.column = options?.column;
  }
}

export const whereOf = (file: string, row: number | undefined): string => (row === undefined ? file : `${file}:${row}`);
