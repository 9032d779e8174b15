// What a system writes around a medium: <Img> and </Img> of MiniGPT-4, a new line of LLaVA.
import type { Content, Turn } from "../data/row.js";

export interface Written {
  before?: string;
  after?: string;
  /** What the tokenizer's chat template writes for a medium, where it writes media itself: "<image>" of LLaVA. */
  token?: string;
}

/** Every medium with its text around it. What stands there already, as in data that was written for the system, is not written twice. */
export function around(turns: readonly Turn[], { before = "", after = "" }: Written): readonly Turn[] {
  if (!before && !after) return turns;
  return turns.map((turn) => ({ ...turn, content: writtenOut(turn.content, before, after) }));
}

function writtenOut(content: Content, before: string, after: string): Content {
  const parts: Content[number][] = [];
  for (const [i, part] of content.entries()) {
    const [last, next] = [content[i - 1], content[i + 1]];
    const medium = typeof part !== "string";
    if (medium && before && !(typeof last === "string" && last.endsWith(before))) parts.push(before);
    parts.push(part);
    if (medium && after && !(typeof next === "string" && next.startsWith(after))) parts.push(after);
  }
  return parts;
}
