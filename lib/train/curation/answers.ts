// The answers of a row of whichever layout, where its fields hold them.
import { isObject } from "../../core/checks.js";
import { CAPTION_COLUMNS } from "../../data/captions.js";
import type { Fields } from "../../data/messages.js";

const PLAIN = [...CAPTION_COLUMNS, "output", "response", "answer"];
const LISTS = ["conversations", "messages"];
const ANSWERING = new Set(["gpt", "assistant"]);
const SAID = ["value", "content"];

/** The fields with `change` made to each answer; the same object where it changed none. A part of a list, which holds more than a text, stays as it is. */
export async function withAnswers(fields: Fields, change: (text: string) => Promise<string> | string): Promise<Fields> {
  let changed = false;
  const made = async (text: string): Promise<string> => {
    const own = await change(text);
    changed ||= own !== text;
    return own;
  };
  const turnOf = async (turn: unknown): Promise<unknown> => {
    if (!isObject(turn) || !ANSWERING.has(String(turn.from ?? turn.role))) return turn;
    const key = SAID.find((name) => typeof turn[name] === "string");
    return key === undefined ? turn : { ...turn, [key]: await made(turn[key] as string) };
  };
  const own: Record<string, unknown> = { ...fields };
  const list = LISTS.find((name) => Array.isArray(fields[name]));
  if (list !== undefined) own[list] = await Promise.all((fields[list] as unknown[]).map(turnOf));
  else for (const name of PLAIN) if (typeof fields[name] === "string") own[name] = await made(fields[name]);
  return changed ? own : fields;
}
