// What a language model that sees nothing is asked to write of media it is told of: LLaVA's three kinds (arXiv 2304.08485, section 3), as AnyMAL has them
// written by the language model itself (arXiv 2309.16058, on MM-IT).
import type { Draw } from "../../data/draw.js";
import { hasMark } from "../../data/marks.js";

/** A question and its answer. */
export interface Exchange {
  question: string;
  answer: string;
}

export interface SynthesisKind {
  /** In rows and counts. */
  name: string;
  /** What the model is told it is, of a medium that is called so: "picture". "": no word of it. */
  system(noun: string): string;
  /** What it is asked for, with the description of one medium. */
  request(description: string, noun: string): string;
  /** The pairs in what it wrote; none where it did not keep to the form. */
  parse(text: string, draw: Draw, noun: string): Exchange[];
  /** Are answers held against others? Not where a question has many right ones, as "Describe the picture." has. */
  checked: boolean;
}

const GIVEN = (noun: string) =>
  `You write training data for an assistant that takes in a ${noun}. You are told in words what is known of one ${noun}: sentences about it, and, where they are known, things in it with their places as [x1, y1, x2, y2], shares of its width and height.`;
const RULES = (noun: string) =>
  `Write as if you had the ${noun} itself before you: never speak of descriptions, sentences or coordinates. Write nothing that the description does not say for certain.`;
const FORM = "Question: …\nAnswer: …";

const conversation: SynthesisKind = {
  name: "conversation",
  system: (noun) =>
    `${GIVEN(noun)} Write what a person asks about this ${noun}, and what the assistant answers: which things are there, how many, what they do, where they are, how they stand to each other. Each question can be answered only by somebody who has the ${noun}. ${RULES(noun)}`,
  request: (description) => `${description}\n\nWrite three to five questions, each with a short answer, in this form:\n${FORM}`,
  parse: exchangesIn,
  checked: true,
};

const detail: SynthesisKind = {
  name: "detail",
  system: (noun) => `${GIVEN(noun)} Describe this ${noun} in detail, in one paragraph. ${RULES(noun)}`,
  request: (description, noun) => `${description}\n\nDescribe the ${noun} in detail.`,
  parse: (text, draw, noun) => {
    const answer = text.trim();
    const questions = [
      `Describe the ${noun} in detail.`,
      `What is in this ${noun}? Tell all of it.`,
      `Give a thorough description of this ${noun}.`,
      `Tell me everything that you notice in the ${noun}.`,
    ];
    return answer && !hasMark(answer) ? [{ question: draw.pick(questions), answer }] : [];
  },
  checked: false,
};

const reasoning: SynthesisKind = {
  name: "reasoning",
  system: (noun) =>
    `${GIVEN(noun)} Write one question about this ${noun} that takes thought: why something is so, what it is for, what will come of it, what one should mind. It must not give away what is in the ${noun}, and nobody can answer it without. Answer it step by step, from what is there. ${RULES(noun)}`,
  request: (description) => `${description}\n\nWrite the question and its answer in this form:\n${FORM}`,
  parse: (text) => exchangesIn(text).slice(0, 1),
  checked: true,
};

/** By name, in the order in which they are written. */
export const SYNTHESIS_KINDS = { conversation, detail, reasoning } as const satisfies Record<string, SynthesisKind>;
export type SynthesisName = keyof typeof SYNTHESIS_KINDS;

/** Whole words anywhere, one letter and speakers only where a line begins; with numbers, stars and dashes as models put them. */
const MARK =
  /(?:^|\n)[ \t>*-]*(?:\d+[.)][ \t]*)?\**(question|answer|q|a|user|human|assistant|gpt)[ \t]*\d*\**[ \t]*:\**|\b(question|answer)[ \t]*\d*:/gi;
const ASKS = /^(question|q|user|human)$/i;

/** Pairs of question and answer in a text, however they are numbered or marked. What has no partner, is empty or marks a medium is left out. */
export function exchangesIn(text: string): Exchange[] {
  const said: { asks: boolean; text: string }[] = [];
  const marks = [...text.matchAll(MARK)];
  for (const [i, mark] of marks.entries()) {
    const content = text.slice(mark.index + mark[0].length, marks[i + 1]?.index);
    said.push({ asks: ASKS.test((mark[1] ?? mark[2]) as string), text: content.replace(/\n[ \t]*(===|---|\*\*\*)[\s\S]*$/, "").trim() });
  }
  return said.flatMap(({ asks, text: question }, i): Exchange[] => {
    const next = said[i + 1];
    if (!asks || !next || next.asks || !question || !next.text || hasMark(question) || hasMark(next.text)) return [];
    return [{ question, answer: next.text }];
  });
}
