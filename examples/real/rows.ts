// Rows for both stages, made of examples: captions, a question about one of them, and prompts that hold a sound and a picture.
import type { Draw, Row, Turn } from "../../lib/index.js";
import type { Example } from "./data.js";
import { answered, answeredBoth, BOTH, described, type Fact, QUESTIONS, REQUESTS } from "./sentences.js";

type Sense = Fact["sense"];

const turns = (request: Turn["content"], answer: string): Row => ({
  where: request.find((part) => typeof part === "string") ?? "",
  turns: [
    { role: "user", content: request },
    { role: "assistant", content: [answer] },
  ],
});

export const captionRow = (sense: Sense, { part, word }: Example): Row => turns([REQUESTS[sense], part], described({ sense, word }));

export const questionRow = (sense: Sense, { part, word }: Example): Row => turns([QUESTIONS[sense], part], answered({ sense, word }));

/** A sound and a picture in one prompt, in either order; asked about one of them, or about both. */
export function mixedRow(heard: Example, seen: Example, asked: Sense | "both", draw: Draw): Row {
  const media = draw.chance(0.5) ? [heard.part, seen.part] : [seen.part, heard.part];
  if (asked === "both") return turns([BOTH, ...media], answeredBoth(heard.word, seen.word));
  const { word } = asked === "audio" ? heard : seen;
  return turns([QUESTIONS[asked], ...media], answered({ sense: asked, word }));
}
