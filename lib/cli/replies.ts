// What `anymal generate` gives back to a prompt: an answer, several of them, or how probable answers are that were given.
import { type Command, Option } from "commander";
import type { AnswerOptions, AnyMAL } from "../anymal/anymal.js";
import type { PromptInput } from "../anymal/prompt.js";
import type { AnswerScore } from "../anymal/score.js";
import type { Answer } from "../generate/text.js";
import { type AnswerFlags, answerOptions } from "./answer-flags.js";
import { integer, list, UsageError } from "./output.js";

export interface ReplyFlags extends AnswerFlags {
  numBeams?: number;
  lengthPenalty?: number;
  earlyStopping?: "true" | "false" | "never";
  numReturnSequences?: number;
  score?: string[];
}
export type Reply = { answer: string } | { answers: Answer[] } | { scores: AnswerScore[] };

export function replyFlags(command: Command): Command {
  return command
    .option("--num-beams <n>", "beam search: so many beginnings are followed, the most probable answer wins", integer(1))
    .option("--length-penalty <x>", "of beams: above 0 longer answers gain, below 0 shorter ones (default: 1)", anyNumber)
    .addOption(
      new Option(
        "--early-stopping <when>",
        "of beams: ends with the first whole answers, by their present length, or when none can be better",
      )
        .choices(["true", "false", "never"])
        .default(undefined, "false"),
    )
    .option("--num-return-sequences <n>", "so many answers to each prompt: the best of the beams, or draws", integer(1))
    .option("--score <answer>", "writes nothing, and says how probable this answer is; may come several times", list);
}

function anyNumber(text: string): number {
  const value = Number(text);
  if (!text.trim() || !Number.isFinite(value))
    throw new UsageError("anymal generate", `--length-penalty: expected a number, got "${text}"`);
  return value;
}

/** Is one answer written, which may be shown while it is? */
export const isOneAnswer = ({ score, numReturnSequences = 1 }: ReplyFlags): boolean => !score && numReturnSequences === 1;

export function replyOptions(flags: ReplyFlags): AnswerOptions {
  const { numBeams, lengthPenalty, earlyStopping, numReturnSequences } = flags;
  const early = earlyStopping === undefined || earlyStopping === "never" ? earlyStopping : earlyStopping === "true";
  return { ...answerOptions(flags), numBeams, lengthPenalty, earlyStopping: early, numReturnSequences };
}

/** To all prompts together. */
export async function replies(model: AnyMAL, prompts: readonly PromptInput[], flags: ReplyFlags, options: AnswerOptions): Promise<Reply[]> {
  const asked = { ...options, batch: prompts.length };
  if (flags.score) {
    const { signal, splitSpecialTokens } = asked;
    const scores = await model.scoreAnswers(prompts, flags.score, { batch: prompts.length, signal, splitSpecialTokens });
    return scores.map((own) => ({ scores: own }));
  }
  if (isOneAnswer(flags)) return (await model.generateAll(prompts, asked)).map((answer) => ({ answer }));
  return (await model.answers(prompts, asked)).map((answers) => ({ answers }));
}

/** For people, a line for each answer. */
export function replyText(reply: Reply): string {
  if ("answer" in reply) return reply.answer;
  if ("answers" in reply)
    return reply.answers.map(({ text, score }) => (score === undefined ? text : `${score.toFixed(4)}  ${text}`)).join("\n");
  const shares = sharesOf(reply.scores.map(({ logProb }) => logProb));
  return reply.scores
    .map(({ text, logProb }, i) => `${logProb.toFixed(4)}  ${((shares[i] as number) * 100).toFixed(2)} %  ${text}`)
    .join("\n");
}

/** What each is of the probability of all of them. */
function sharesOf(logProbs: readonly number[]): number[] {
  const most = Math.max(...logProbs);
  const parts = logProbs.map((v) => Math.exp(v - most));
  const all = parts.reduce((a, b) => a + b, 0);
  return parts.map((part) => part / all);
}
