// MMICL's prompts of many pictures (arXiv 2309.07915; github.com/HaozheZhao/MIC, README): each picture is declared by the token that names it, and the text speaks
// of it by that name.
import { is, shown } from "../core/checks.js";
import { expected } from "../core/errors.js";
import type { MediaPart } from "../media/part.js";
import type { Content } from "./row.js";

/** What is asked about a picture, and the answer of a demonstration; the last one has none. */
export interface Demonstration {
  question: string;
  answer?: string;
}
/** declare: the pictures one behind the other, then the question. use: the same as an aid, in a sentence that the question ends. */
export type PictureForm = "declare" | "use";
const FORMS: readonly PictureForm[] = ["declare", "use"];

const nameOf = (n: number): string => `<image${n}>`;
const declared = (n: number): string => `image ${n} is ${nameOf(n)}`;

/**
 * A prompt of several pictures as MMICL was trained on: "image 0 is <image0>…,image 1 is <image1>…. question". The pictures are numbered from 0, and the
 * question may name them <image0>, <image1> …. With demonstrations instead of a question, one for each picture, each picture stands before its own question and
 * answer, and the last one has no answer yet. Throws E_PROMPT where the numbers of pictures and demonstrations differ, or an answer is missing.
 */
export function picturePrompt(
  pictures: readonly MediaPart[],
  asked: string | readonly Demonstration[],
  form: PictureForm = "declare",
): Content {
  const fail = (wanted: string, got: string, next: string) => expected("E_PROMPT", "picturePrompt", wanted, got, next);
  if (!Array.isArray(pictures) || !pictures.length) throw fail("at least one picture", shown(pictures), "ask without it for text alone");
  if (!FORMS.includes(form)) throw fail(is.oneOf(...FORMS).wanted, shown(form), "leave it out for declare");
  if (typeof asked !== "string") return inContext(pictures, asked, fail);
  const last = pictures.length - 1;
  if (form === "declare") return [...pictures.flatMap((picture, n) => [`${n ? "," : ""}${declared(n)}`, picture]), `. ${asked}`];
  const between = (n: number) => (n === 0 ? "Use the " : n === last ? " and " : ",");
  return [...pictures.flatMap((picture, n) => [`${between(n)}image ${n}: ${nameOf(n)}`, picture]), ` as a visual aid to help you ${asked}`];
}

function inContext(
  pictures: readonly MediaPart[],
  asked: readonly Demonstration[],
  fail: (wanted: string, got: string, next: string) => Error,
): Content {
  if (asked.length !== pictures.length)
    throw fail(`a question for each of ${pictures.length} pictures`, `${asked.length}`, "add what is missing");
  return pictures.flatMap((picture, n) => {
    const { question, answer } = asked[n] as Demonstration;
    const isLast = n === pictures.length - 1;
    if (!isLast && !answer)
      throw fail(`an answer in demonstration ${n + 1} of ${asked.length}`, shown(answer), "only the last one is to be answered");
    return [declared(n), picture, isLast ? `.\n${question}` : `.\n${question} ${answer}\n\n`];
  });
}
