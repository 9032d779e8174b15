// How many answers are exactly right, in all and per kind of question. Case, blanks and a mark at the end do not count.
import { expected } from "../core/errors.js";

export interface GivenAnswer {
  answer: string;
  /** The right one, or all that are. */
  correct: string | readonly string[];
  /** What was asked for: "colour", "count", … */
  kind?: string;
}
export interface ExactScore {
  right: number;
  count: number;
  /** right / count. */
  exact: number;
}
export interface ExactScores extends ExactScore {
  /** In the order in which the kinds come; answers without one are in none. */
  kinds: Record<string, ExactScore>;
}

/** Without blanks around it, in lower case, blanks in one piece, without marks at the end. */
export function normalizeAnswer(text: string): string {
  return text
    .normalize("NFC")
    .toLowerCase()
    .replace(/\s+/gu, " ")
    .trim()
    .replace(/[\s.,;:!?]+$/u, "");
}

/** An answer of nothing but marks is no answer. */
export function isExact({ answer, correct }: Pick<GivenAnswer, "answer" | "correct">): boolean {
  const given = normalizeAnswer(answer);
  return given !== "" && [correct].flat().some((right) => normalizeAnswer(right) === given);
}

/** Shares of exact answers, in all and by kind. Throws E_VALUE without answers. */
export function scoreExact(answers: readonly GivenAnswer[]): ExactScores {
  if (!answers.length) throw expected("E_VALUE", "scoreExact", "at least one answer", "none");
  const kinds = new Map<string, GivenAnswer[]>();
  for (const given of answers) {
    if (given.kind === undefined) continue;
    const own = kinds.get(given.kind);
    if (own) own.push(given);
    else kinds.set(given.kind, [given]);
  }
  return { ...scoreOf(answers), kinds: Object.fromEntries(Array.from(kinds, ([kind, own]) => [kind, scoreOf(own)])) };
}

function scoreOf(answers: readonly GivenAnswer[]): ExactScore {
  const right = answers.filter(isExact).length;
  return { right, count: answers.length, exact: right / answers.length };
}
