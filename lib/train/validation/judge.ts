// What became better, and when it is enough: told from the scores so far, which the run's folder keeps, so that a run that goes on judges as before.
import { is, isObject } from "../../core/checks.js";
import type { MetricName } from "./options.js";

/** As validation.jsonl keeps one look. */
export interface Look {
  step: number;
  epoch: number;
  scores: Record<string, number>;
  /** Better than all before it, the one before the first step aside. */
  best: boolean;
  seconds: number;
  /** To the rows that samples.json shows, in its order. */
  answers: string[];
}

export const VALIDATION = "validation.jsonl";

/** Of a line that somebody may have changed. */
export function isLook(line: unknown): line is Look {
  if (!isObject(line)) return false;
  const { step, epoch, scores, answers } = line;
  const numbers = isObject(scores) && Object.values(scores).every((score) => typeof score === "number" || score === null);
  return (
    is.integer(0).fits(step) &&
    is.number(0).fits(epoch) &&
    numbers &&
    Array.isArray(answers) &&
    answers.every((one) => typeof one === "string")
  );
}

export class Judge {
  #best: { step: number; score: number } | undefined;
  #stale = 0;
  /** The step of the last look. */
  seen: number | undefined;

  constructor(
    private readonly metric: MetricName,
    private readonly patience = Infinity,
  ) {}

  get best(): { step: number; score: number } | undefined {
    return this.#best;
  }
  /** Has it not become better for long enough? */
  get enough(): boolean {
    return this.#stale >= this.patience;
  }

  /** Takes a look's scores in. Returns whether they are the best. What no training has made is nothing to keep; a score that is no number is no better. */
  take({ step, scores }: Pick<Look, "step" | "scores">): boolean {
    this.seen = step;
    if (!step) return false;
    const score = scores[this.metric] ?? Number.NaN; // of a line of JSON, null
    const better = !Number.isNaN(score) && (!this.#best || (this.metric === "loss" ? score < this.#best.score : score > this.#best.score));
    this.#stale = better ? 0 : this.#stale + 1;
    if (better) this.#best = { step, score };
    return better;
  }
}
