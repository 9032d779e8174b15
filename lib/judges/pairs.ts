// Answers side by side, for people to judge who do not know whose is whose.
import { createHash } from "node:crypto";
import { expected } from "../core/errors.js";
import { Draw } from "../data/draw.js";
import type { FoundMedium } from "../eval/run/items.js";
import type { Prediction, Predictions } from "../eval/run/predictions.js";

/** One question with two answers, as a sheet shows it. */
export interface JudgedPair {
  id: string;
  question: string;
  media: readonly FoundMedium[];
  left: string;
  right: string;
}
/** Which side is whose: not part of the sheet. */
export interface JudgeKey {
  anymalJudges: 1;
  /** Of the pairs: verdicts name it. */
  sheet: string;
  task: string;
  /** Names of the two. */
  a: string;
  b: string;
  /** By pair: the side on which a's answer stands. */
  sides: Record<string, "left" | "right">;
}
export interface JudgedPairs {
  pairs: JudgedPair[];
  key: JudgeKey;
}

/** What right answers of the data set are called as a side. */
export const PEOPLE = "people";

export interface PairOptions {
  /** At most so many pairs, drawn. Default 100. */
  count?: number | undefined;
  seed?: number | undefined;
}

/** Pairs of answers to the same questions; without `b` the data set's own right answers are the other side. Throws E_DATA where they have none in common. */
export function pairsOf(a: Predictions, b: Predictions | undefined, { count = 100, seed = 0 }: PairOptions = {}): JudgedPairs {
  if (b && (b.head.task !== a.head.task || b.head.split !== a.head.split))
    throw expected("E_DATA", "pairs", `answers to ${a.head.task} twice`, b.head.task, "name two predictions.jsonl of one task");
  const own = (lines: readonly Prediction[]) => lines.filter(({ shown, problem }) => shown === "own" && problem === undefined);
  const others = b && new Map(own(b.lines).map((line) => [line.id, line]));
  const both = own(a.lines).flatMap((line): [Prediction, string][] => {
    const other = others?.get(line.id);
    if (others && other && JSON.stringify(other.doc) !== JSON.stringify(line.doc)) return [];
    const answer = others ? other?.answer : line.target;
    return answer === undefined ? [] : [[line, answer]];
  });
  if (!both.length) throw expected("E_DATA", "pairs", "questions that both have answered", "none", "see that both are of the same data");
  const draw = new Draw(seed, "judges");
  const chosen = draw.shuffled(both).slice(0, count);
  const sides: JudgeKey["sides"] = {};
  const pairs = chosen.map(([line, answer]): JudgedPair => {
    const side = draw.chance(0.5) ? "left" : "right";
    sides[line.id] = side;
    const [left, right] = side === "left" ? [line.answer, answer] : [answer, line.answer];
    return { id: line.id, question: questionOf(line), media: line.input_media, left, right };
  });
  const sheet = createHash("sha256").update(JSON.stringify(pairs)).digest("hex").slice(0, 16);
  return { pairs, key: { anymalJudges: 1, sheet, task: a.head.task, a: a.head.model, b: b?.head.model ?? PEOPLE, sides } };
}

/** What was asked, as the data set words it; where that is no question, what the model was told. */
function questionOf({ doc, input }: Prediction): string {
  const { question } = doc as { question?: unknown };
  return typeof question === "string" && question ? question : input.replace(/<\w+>/g, "").trim();
}
