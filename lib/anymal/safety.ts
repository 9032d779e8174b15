// What goes into a model and what comes out of it, before a judge of the user's: AnyMAL's pipeline at inference (arXiv 2309.16058, on safety: pictures, the
// prompt, the answer sentence by sentence, and both together).
import { expected } from "../core/errors.js";
import { checkOptions, optionNames } from "../core/options.js";
import type { Turn } from "../data/row.js";
import type { AnyMAL } from "./anymal.js";
import { conversationOf, type PromptInput } from "./prompt.js";

/** false, or why in words: refused. Anything else lets pass. */
export type Verdict = boolean | string | undefined;

/** What a judge may need: the model's features of media, for a classifier on them, and the caller's signal. */
export interface Judging {
  model: AnyMAL;
  signal?: AbortSignal | undefined;
}

export interface Refused {
  at: "prompt" | "answer";
  /** Of generateAll()'s prompts, which; else 0. */
  index: number;
  /** As the judge gave it; "" where it said no more than no. */
  reason: string;
}

export interface Safety {
  /** Sees the conversation with its media before anything of it is encoded. */
  before?(turns: readonly Turn[], judging: Judging): Verdict | Promise<Verdict>;
  /** Sees the answer and what was asked. While an answer is streamed: all of it so far, each time another sentence has ended and before it is given out. */
  after?(answer: string, turns: readonly Turn[], judging: Judging): Verdict | Promise<Verdict>;
  /** Stands in the place of a refused answer, and behind the sentences that were given out. Default: "I cannot help with that." */
  refusal?: string | undefined;
  onRefused?: ((refused: Refused) => void) | undefined;
}
const OPTIONS = optionNames<Safety>({ before: true, after: true, refusal: true, onRefused: true });

const REFUSAL = "I cannot help with that.";

/** Throws E_VALUE on what is no safety. */
export function checkSafety(where: string, safety: Safety | undefined): void {
  if (safety === undefined) return;
  checkOptions(`${where}: safety`, safety, OPTIONS);
  const { before, after, refusal, onRefused } = safety;
  for (const [name, value] of Object.entries({ before, after, onRefused }))
    if (value !== undefined && typeof value !== "function")
      throw expected("E_VALUE", `${where}: safety.${name}`, "a function", typeof value);
  if (refusal !== undefined && typeof refusal !== "string") throw expected("E_VALUE", `${where}: safety.refusal`, "a text", typeof refusal);
  if (!before && !after) throw expected("E_VALUE", `${where}: safety`, "before, after or both", "neither", "pass a function that judges");
}

/** One prompt before its judges. */
export class Guard {
  readonly #turns: readonly Turn[];

  constructor(
    prompt: PromptInput,
    private readonly safety: Safety,
    private readonly judging: Judging,
    private readonly index = 0,
  ) {
    this.#turns = conversationOf(prompt, judging.model.prompt);
  }

  /** The refusal, or undefined where the prompt may be asked. */
  async prompt(): Promise<string | undefined> {
    return this.#refusal("prompt", await this.safety.before?.(this.#turns, this.judging));
  }

  /** The answer, or the refusal in its place. */
  async whole(answer: string): Promise<string> {
    return this.#refusal("answer", await this.safety.after?.(answer, this.#turns, this.judging)) ?? answer;
  }

  /** Sentence by sentence, each after it was judged; what is refused ends the stream, and its writing. */
  async *sentences(pieces: AsyncIterable<string>): AsyncGenerator<string> {
    if (!this.safety.after) return yield* pieces;
    let [said, held] = ["", ""];
    const refused = async (sentence: string) =>
      this.#refusal("answer", await this.safety.after?.(said + sentence, this.#turns, this.judging));
    for await (const piece of pieces) {
      held += piece;
      const end = sentenceEnd(held);
      if (!end) continue;
      const sentence = held.slice(0, end);
      const refusal = await refused(sentence);
      if (refusal !== undefined) return yield apart(said, refusal);
      held = held.slice(end);
      said += sentence;
      yield sentence;
    }
    if (!held) return;
    const refusal = await refused(held);
    yield refusal === undefined ? held : apart(said, refusal);
  }

  #refusal(at: Refused["at"], verdict: Verdict): string | undefined {
    if (verdict !== false && typeof verdict !== "string") return undefined;
    this.safety.onRefused?.({ at, index: this.index, reason: verdict || "" });
    return this.safety.refusal ?? REFUSAL;
  }
}

/** Answers and refusals in the order of the prompts; `answer` is asked for those that may be asked, with their numbers. */
export async function guarded(
  prompts: readonly PromptInput[],
  safety: Safety,
  judging: Judging,
  answer: (prompts: readonly PromptInput[], numbers: readonly number[]) => Promise<string[]>,
): Promise<string[]> {
  const texts: string[] = [];
  const asked: { prompt: PromptInput; guard: Guard; number: number }[] = [];
  for (const [number, prompt] of prompts.entries()) {
    const guard = new Guard(prompt, safety, judging, number);
    const refusal = await guard.prompt();
    if (refusal === undefined) asked.push({ prompt, guard, number });
    else texts[number] = refusal;
  }
  const answers = await answer(
    asked.map(({ prompt }) => prompt),
    asked.map(({ number }) => number),
  );
  for (const [k, { guard, number }] of asked.entries()) texts[number] = await guard.whole(answers[k] as string);
  return texts;
}

const apart = (said: string, refusal: string): string => (said && !/\s$/.test(said) ? ` ${refusal}` : refusal);

/** Behind the last sentence that has ended for certain: a mark and a blank, a mark of scripts without blanks, or a new line. 0: none has. */
function sentenceEnd(text: string): number {
  let end = 0;
  for (const match of text.matchAll(/[.!?…]["'”’)\]]*\s|[。！？]|\n/gu)) end = match.index + match[0].length;
  return end;
}
