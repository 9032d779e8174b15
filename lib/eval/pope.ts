// POPE (arXiv 2305.10355): is an object in the picture? Answers are read as LLaVA's eval_pope.py reads them.
import { expected } from "../core/errors.js";
import { countYesNo, ratio, type YesNo, type YesNoScore } from "./yes-no.js";

export interface PopeAnswer {
  text: string;
  label: YesNo;
}
export interface PopeScore extends YesNoScore {
  accuracy: number;
  f1: number;
  /** How many of the answers say yes. */
  yesRatio: number;
}

/** "No", "no" or "not" as a word of the first sentence means no, anything else yes. */
export function parsePope(text: string): YesNo {
  const words = (text.split(".")[0] as string).replaceAll(",", "").split(" ");
  return words.some((word) => word === "No" || word === "not" || word === "no") ? "no" : "yes";
}

/** Accuracy, precision, recall, F1, and the share of "yes". Throws E_VALUE without answers. */
export function scorePope(answers: readonly PopeAnswer[]): PopeScore {
  if (!answers.length) throw expected("E_VALUE", "scorePope", "at least one answer", "none");
  const counts = countYesNo(answers.map(({ text, label }) => ({ given: parsePope(text), right: label })));
  const { truePositives, falsePositives, trueNegatives, precision, recall } = counts;
  return {
    ...counts,
    accuracy: (truePositives + trueNegatives) / answers.length,
    f1: ratio(2 * precision * recall, precision + recall),
    yesRatio: (truePositives + falsePositives) / answers.length,
  };
}
