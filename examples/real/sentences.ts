// What is said of sounds and pictures: the few sentences that language model and captions' towers know. The words themselves come from the data.
import type { Draw } from "../../lib/index.js";

/** Every word that can be true. */
export interface Words {
  digits: readonly string[];
  things: readonly string[];
}

/** One fact: what is heard, or what is seen. */
export interface Fact {
  sense: "audio" | "image";
  word: string;
}

export const QUESTIONS = { audio: "which digit is spoken?", image: "what does the picture show?" } as const;
export const BOTH = "what is said, and what is shown?";
export const REQUESTS = { audio: "describe the sound.", image: "describe the picture." } as const;

const named = (word: string): string => `${/^[aeiou]/.test(word) ? "an" : "a"} ${word}`;

/** A caption. */
export const described = ({ sense, word }: Fact): string => (sense === "audio" ? `a voice says ${word}` : `a photo of ${named(word)}`);
/** The answer to its question. */
export const answered = ({ sense, word }: Fact): string => (sense === "audio" ? word : named(word));
/** The answer to what both are, in the order of the question. */
export const answeredBoth = (heard: string, seen: string): string => `${heard} and ${named(seen)}`;

/** The same fact in other words, so that what counts is the word. */
function told(fact: Fact, draw: Draw): string {
  const { sense, word } = fact;
  const others = sense === "audio" ? [`someone says ${word}`, `${word} is said`] : [`${named(word)} is shown`, `this is ${named(word)}`];
  return draw.pick([described(fact), described(fact), ...others]);
}

export interface Dialogue {
  request: string;
  answer: string;
}

/** A text for the language model: one fact or two in words, a question about them before or behind, its answer. */
export function dialogue({ digits, things }: Words, draw: Draw): Dialogue {
  const heard: Fact = { sense: "audio", word: draw.pick(digits) };
  const seen: Fact = { sense: "image", word: draw.pick(things) };
  const facts = draw.chance(0.5) ? [heard, seen] : [seen, heard];
  const asked = draw.pick(facts);
  const [question, answer] = draw.pick([
    [QUESTIONS[asked.sense], answered(asked)],
    [REQUESTS[asked.sense], described(asked)],
    [BOTH, answeredBoth(heard.word, seen.word)],
  ] as const);
  const context = (question !== BOTH && draw.chance(0.6) ? [asked] : facts).map((fact) => told(fact, draw)).join(". ");
  return { request: draw.chance(0.5) ? `${question} ${context}` : `${context} ${question}`, answer };
}
