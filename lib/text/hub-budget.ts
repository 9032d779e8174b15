// What the steps of a tokenizer may make of one text, all together: each may double it, and a file may name a hundred.
import { TokenizerError } from "./tokenizer-error.js";

/** Characters: published tokenizers make ten of one. */
const FREE = 1 << 20;
const OF_ONE = 256;

let left = 0;

/** Begins a text of that length. Steps run to their end without waiting, so one count is enough. */
export function beginText(length: number): void {
  left = FREE + OF_ONE * length;
}

function spend(characters: number): void {
  left -= characters + 1;
  if (left < 0) throw new TokenizerError(`expected steps that make no more than ${OF_ONE} characters of one, got some that make more`);
}

/** A step of the package: it, and what it makes, count. */
export function countStep(step: Record<string, unknown>): void {
  for (const name of ["normalize", "pre_tokenize_text", "decode_chain"]) {
    const work = step[name];
    if (typeof work !== "function") continue;
    step[name] = (...given: unknown[]) => {
      const made = work.apply(step, given) as string | string[];
      spend(typeof made === "string" ? made.length : made.reduce((sum, { length }) => sum + length + 1, 0));
      return made;
    };
  }
}
