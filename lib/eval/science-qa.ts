// ScienceQA (arXiv 2209.09513): multiple choice, read as LLaVA's eval_science_qa.py reads it.
import { expected } from "../core/errors.js";

export interface ChoiceAnswer {
  /** What the model said; null where it said nothing, which is wrong, and counts as a question without a picture. */
  text: string | null;
  /** Index of the right choice. */
  answer: number;
  choices: number;
  image?: boolean;
}
export interface ChoiceScore {
  right: number;
  count: number;
  accuracy: number;
  /** Of the questions with a picture; undefined where there is none. */
  imageAccuracy: number | undefined;
}

const LETTERS = ["A", "B", "C", "D", "E"];

/** The letter: alone, before ". ", or in the one "The answer is X" that has a character behind it. */
export function parseChoice(text: string | null): string | undefined {
  if (text === null) return undefined;
  const [first] = text;
  if (first !== undefined && LETTERS.includes(first) && (text.length === 1 || text.slice(1, 3) === ". ")) return first;
  const found = [...text.matchAll(/The answer is ([A-Z])./g)];
  return found.length === 1 ? (found[0]?.[1] as string) : undefined;
}

/** The choice meant; -1 where none is, or one that there is not. */
export function choiceIndex(text: string | null, choices: number): number {
  const index = LETTERS.indexOf(parseChoice(text) ?? "");
  return index < choices ? index : -1;
}

/** Shares of right choices, in all and of those with a picture. Throws E_VALUE without answers. */
export function scoreChoices(answers: readonly ChoiceAnswer[]): ChoiceScore {
  if (!answers.length) throw expected("E_VALUE", "scoreChoices", "at least one answer", "none");
  const isRight = ({ text, answer, choices }: ChoiceAnswer) => choiceIndex(text, choices) === answer;
  const seen = answers.filter(({ image, text }) => image && text !== null);
  const right = answers.filter(isRight).length;
  return {
    right,
    count: answers.length,
    accuracy: right / answers.length,
    imageAccuracy: seen.length ? seen.filter(isRight).length / seen.length : undefined,
  };
}
