// Which scores say something of some rows: those of captions count runs of words, of which an answer of one word has none.
import { type CaptionScores, scoreCaptions } from "../../eval/captions.js";
import { scoreExact } from "../../eval/exact.js";
import type { MetricName } from "./options.js";

const wordsIn = (text: string): number => text.split(/\s+/).filter(Boolean).length;
const mostWords = (texts: readonly string[]): number => texts.reduce((most, text) => Math.max(most, wordsIn(text)), 0);

/** What tells better from worse where nobody has said it, by the right answers. */
export const metricOf = (correct: readonly string[], captions: boolean): MetricName =>
  captions && mostWords(correct) > 1 ? "ciderD" : "exact";

/** The longest run of words that a score counts: where no right answer has so many, it is nothing but smoothing, or another word for exact. */
const LEAST: readonly (readonly [Exclude<MetricName, "exact" | "loss">, words: number, of: (scores: CaptionScores) => number])[] = [
  ["ciderD", 2, ({ ciderD }) => ciderD],
  ["bleu4", 4, ({ bleu }) => bleu[3] ?? 0],
  ["rougeL", 2, ({ rougeL }) => rougeL],
];

/** Of answers and the right ones: exact, those of captions that say something, and `metric` in any case. */
export function scoresOf(answers: readonly string[], correct: readonly string[], metric: MetricName): Record<string, number> {
  const { exact } = scoreExact(answers.map((answer, i) => ({ answer, correct: correct[i] as string })));
  const most = mostWords(correct);
  const wanted = LEAST.filter(([name, words]) => most >= words || name === metric);
  if (!wanted.length) return { exact };
  const scores = scoreCaptions(answers.map((hypothesis, i) => ({ hypothesis, references: [correct[i] as string] })));
  return { exact, ...Object.fromEntries(wanted.map(([name, , of]) => [name, of(scores)])) };
}
