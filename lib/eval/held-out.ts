// Questions about media, each with one right answer: asked with the medium, with a blank one, and with another question's. What is left of the first score
// without the medium was known from the question.
import type { AnyMAL } from "../anymal/anymal.js";
import { checkOptions, optionNames } from "../core/options.js";
import { mediaOf, type Row, type Turn } from "../data/row.js";
import type { MediaPart } from "../media/part.js";
import { blank, derange } from "./controls.js";
import { type ExactScores, scoreExact } from "./exact.js";

/** What stands before the last turn, and that turn's text. */
export interface Asked {
  turns: Turn[];
  answer: string;
}
export const askedIn = ({ turns }: Row): Asked => ({ turns: turns.slice(0, -1), answer: textOf(turns.at(-1) as Turn) });
export const textOf = ({ content }: Turn): string => content.filter((part) => typeof part === "string").join(" ");

export interface HeldOutOptions {
  /** What kind of question each row asks. */
  kinds: readonly string[];
  /** Of the shuffle. Default 0. */
  seed?: number;
  /** Prompts together. Default 64. */
  batch?: number;
  signal?: AbortSignal;
}
const OPTIONS = optionNames<HeldOutOptions>({ kinds: true, seed: true, batch: true, signal: true });
export interface HeldOutScores {
  /** Shares of exact answers. */
  exact: number;
  blank: number;
  shuffled: number;
  /** Exact answers by kind of question. */
  kinds: Record<string, number>;
}

/** Rows of one medium each, whose last turn is the right answer. */
export async function askHeldOut(model: AnyMAL, rows: readonly Row[], options: HeldOutOptions): Promise<HeldOutScores> {
  checkOptions("askHeldOut", options, OPTIONS);
  const { kinds, seed = 0, batch = 64, signal } = options;
  const questions = rows.map(askedIn);
  const media = questions.map((row) => mediaOf(row)[0] as MediaPart);
  const ask = async (shown: readonly MediaPart[]): Promise<ExactScores> => {
    const prompts = questions.map(({ turns }, i) => withMedia(turns, shown[i] as MediaPart));
    const answers = await model.generateAll(prompts, { maxNewTokens: 32, batch, ...(signal && { signal }) });
    return scoreExact(answers.map((answer, i) => ({ answer, correct: questions[i]!.answer, kind: kinds[i]! })));
  };
  const seen = await ask(media);
  return {
    exact: seen.exact,
    blank: (await ask(await Promise.all(media.map((part) => blank(part, { ...(signal && { signal }) }))))).exact,
    shuffled: (await ask(derange(media.length, { seed }).map((other) => media[other] as MediaPart))).exact,
    kinds: Object.fromEntries(Object.entries(seen.kinds).map(([kind, { exact }]) => [kind, exact])),
  };
}

function withMedia(turns: readonly Turn[], medium: MediaPart): Turn[] {
  return turns.map((turn) => ({ ...turn, content: turn.content.map((part) => (typeof part === "string" ? part : medium)) }));
}
