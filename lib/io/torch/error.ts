// What is wrong with a file of torch.save, and how names from such files are shown.
import { AnymalError } from "../../core/errors.js";

/** E_PICKLE: a file of torch.save that is damaged, or asks for more than tensors. */
export class PickleError extends AnymalError {
  override readonly name = "PickleError";
  constructor(
    readonly file: string,
    readonly expected: string,
    readonly got: string,
    advice = "the file is damaged or was not written by torch.save: fetch it again",
  ) {
    super("E_PICKLE", `${file}: expected ${expected}, got ${got}; ${advice}`);
  }
}

const LONGEST = 80;

/** A text of a foreign file as messages show it: in quotes, short, and without characters that a terminal would obey. */
export function quoted(text: string): string {
  const shown = text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
  const plain = (c: string): string => `\\u${(c.codePointAt(0) as number).toString(16).padStart(4, "0")}`;
  return JSON.stringify(shown).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, plain);
}
