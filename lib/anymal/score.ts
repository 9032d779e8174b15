// How probable a model holds answers: texts as training would write them, scored behind the prompt that asks for them.
import { expected } from "../core/errors.js";
import { optionNames } from "../core/options.js";
import { Turns } from "../core/turns.js";
import type { Turn } from "../data/row.js";
import { checkGeneration } from "../generate/generate.js";
import { GenerationError } from "../generate/logits.js";
import { type ContinuationScore, nextLogProbs, scoreContinuations } from "../generate/score.js";
import { IGNORE, type PromptPart } from "../text/prompt.js";
import type { FeatureOptions } from "./anymal.js";
import { type Asked, encodedPrompts, encoding, prepared, release } from "./prepare.js";
import { conversationOf, type EncodedPrompt, encodePrompt, type PromptInput } from "./prompt.js";

/** Of nextLogProbs(). */
export interface NextTokenOptions extends FeatureOptions {
  /** How many prompts are read together. Default 32. */
  batch?: number | undefined;
}
/** Of scoreAnswers(). */
export interface AnswerScoreOptions extends NextTokenOptions {
  /** Is the token that ends an answer part of each: the one that the format writes, or the tokenizer's end of a text? Default false. */
  end?: boolean | undefined;
}
const NEXT = optionNames<NextTokenOptions>({ batch: true, signal: true, memory: true, splitSpecialTokens: true });
const SCORING = [...NEXT, "end"];

/** Of one answer, natural logarithms. */
export interface AnswerScore extends ContinuationScore {
  text: string;
}

export async function scoreAnswers(
  model: Asked,
  prompts: readonly PromptInput[],
  answers: readonly string[] | readonly (readonly string[])[],
  options: AnswerScoreOptions,
): Promise<AnswerScore[][]> {
  const { batch, end = false, ...reading } = checked(options, SCORING);
  const lists = listsOf(prompts, answers);
  const scores: AnswerScore[][] = [];
  for await (const [encoded, from] of inBatches(model, prompts, batch, reading)) {
    const turns = new Turns();
    const ids: number[][][] = [];
    for (const [i, one] of encoded.entries()) {
      const own: number[][] = [];
      for (const text of lists[from + i] as readonly string[]) {
        own.push(answerIds(model, prompts[from + i] as PromptInput, one, text, { ...reading, end }));
        await turns.next();
      }
      ids.push(own);
    }
    const ready = await prepared(model, encoded, reading);
    try {
      const made = await scoreContinuations(model.llm, ready, ids, { signal: reading.signal });
      for (const [i, own] of made.entries())
        scores.push(own.map((score, n) => ({ text: (lists[from + i] as readonly string[])[n] as string, ...score })));
    } finally {
      release(ready);
    }
  }
  return scores;
}

export async function nextTokens(
  model: Asked,
  prompts: readonly PromptInput[],
  tokens: readonly (string | number)[],
  options: NextTokenOptions,
): Promise<number[][]> {
  const { batch, ...reading } = checked(options, NEXT);
  const scores: number[][] = [];
  let ids: number[] | undefined;
  for await (const [encoded, from] of inBatches(model, prompts, batch, reading)) {
    // A text is the same token behind each prompt of one format.
    ids ??= tokens.map((token) =>
      typeof token === "number" ? token : onlyId(model, prompts[from] as PromptInput, encoded[0] as EncodedPrompt, token, reading),
    );
    const ready = await prepared(model, encoded, reading);
    try {
      scores.push(...(await nextLogProbs(model.llm, ready, ids, { signal: reading.signal })));
    } finally {
      release(ready);
    }
  }
  return scores;
}

function checked<T extends NextTokenOptions>(options: T, known: readonly string[]): T & { batch: number } {
  checkGeneration(options, known);
  const { batch = 32 } = options;
  if (!(Number.isInteger(batch) && batch >= 1)) throw new GenerationError("batch", "an integer of at least 1", batch);
  return { ...options, batch };
}

function listsOf(
  prompts: readonly PromptInput[],
  answers: readonly string[] | readonly (readonly string[])[],
): readonly (readonly string[])[] {
  const isText = (one: unknown): one is string => typeof one === "string";
  const flat = answers.filter(isText);
  if (flat.length === answers.length) return prompts.map(() => flat);
  const lists = answers.filter((own): own is readonly string[] => Array.isArray(own) && own.every(isText));
  if (lists.length === prompts.length && lists.length === answers.length) return lists;
  throw new GenerationError(
    "answers",
    `a list of texts, or one for each of the ${prompts.length} prompts`,
    `${answers.length} entries, ${lists.length} of them lists of texts`,
  );
}

async function* inBatches(
  model: Asked,
  prompts: readonly PromptInput[],
  batch: number,
  reading: FeatureOptions,
): AsyncGenerator<[encoded: EncodedPrompt[], from: number]> {
  for (let from = 0; from < prompts.length; from += batch)
    yield [await encodedPrompts(model, prompts.slice(from, from + batch), reading, (i) => from + i), from];
}

/** The ids by which training would write an answer behind this prompt. Throws E_PROMPT where its first token reaches into the prompt. */
function answerIds(
  model: Asked,
  prompt: PromptInput,
  asked: EncodedPrompt,
  text: string,
  { end, ...reading }: FeatureOptions & { end: boolean },
): number[] {
  const { tokenizer } = model;
  const asking = conversationOf(prompt).map((turn) => ({ ...turn, weight: 0 }));
  const turns: Turn[] = [...asking, { role: "assistant", content: [text] }];
  const { where } = asked;
  const { parts } = encodePrompt(tokenizer, conversationOf(turns, model.prompt), { ...encoding(model, reading), where, onNotice: false });
  const last = parts.at(-1);
  const { ids, labels = [] } = last && "ids" in last ? last : { ids: [] };
  const marks = Array.from(labels);
  const start = marks.findIndex((label) => label !== IGNORE);
  const before: PromptPart[] = [...parts.slice(0, -1), ...(start > 0 ? [{ ids: Array.from(ids).slice(0, start) }] : [])];
  if (start < 0 || shape(before) !== shape(asked.parts))
    throw expected(
      "E_PROMPT",
      where,
      "an answer whose first token begins behind the prompt",
      JSON.stringify(text),
      "end the prompt with a blank or a sign, or score ids with llm.scoreContinuations()",
    );
  const own = marks.filter((label) => label !== IGNORE) as number[];
  const { eosTokenId } = tokenizer;
  const closes = own.at(-1) as number;
  const closed = closes === eosTokenId || new Set(tokenizer.specialTokens.values()).has(closes);
  if (closed) return end ? own : own.slice(0, -1);
  return end && eosTokenId !== undefined ? [...own, eosTokenId] : own;
}

/** Equal ones are read alike. */
const shape = (parts: readonly PromptPart[]): string =>
  JSON.stringify(parts.map((part) => ("ids" in part ? Array.from(part.ids) : part.media)));

function onlyId(model: Asked, prompt: PromptInput, asked: EncodedPrompt, text: string, reading: FeatureOptions): number {
  const ids = answerIds(model, prompt, asked, text, { ...reading, end: false });
  if (ids.length === 1) return ids[0] as number;
  const read = ids.map((id) => JSON.stringify(model.tokenizer.decode([id]))).join(" ");
  throw new GenerationError("tokens", "texts of one token each", `${JSON.stringify(text)}, which is ${read}`, "take scoreAnswers()");
}
