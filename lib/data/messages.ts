// Conversations by other names: what instructions, questions with answers and exchanges say, as messages.
import type { Wrong } from "./content-parts.js";
import type { DataRecord } from "./records.js";
import { isFields, shown } from "./records.js";

export type Fields = DataRecord["fields"];
const text = (value: unknown): string => (typeof value === "string" ? value : "");

/** Question and answer, with what was said before. */
interface Exchange {
  question: unknown;
  answer: unknown;
  history: unknown;
}

/** Of Alpaca: {instruction, input, output, history: [[question, answer], …]}. The input follows the instruction on a line of its own. */
function alpaca({ instruction, input, prompt, query, output, response, history }: Fields): Exchange {
  const said = [instruction ?? prompt, input ?? query].filter(
    (one) => text(one).trim() || (one !== undefined && one !== null && typeof one !== "string"),
  );
  const question = said.every((one) => typeof one === "string") ? said.join("\n") : said.find((one) => typeof one !== "string");
  return { question, answer: output ?? response, history };
}

/** The row's list of messages under their own names, of whichever layout; undefined where it has none. */
export function messagesOf(fields: Fields, wrong: Wrong): unknown {
  const list = fields.conversations ?? fields.messages;
  if (typeof list === "string" && list.trim().startsWith("[")) return parsed(list, "a list of turns", wrong); // of a table
  if (list !== undefined) return list;
  if (Array.isArray(fields.conversation)) return pairsOf(fields.conversation, wrong);
  if ("instruction" in fields) return exchanges(alpaca(fields), wrong);
  if ("query" in fields && "response" in fields)
    return exchanges({ question: fields.query, answer: fields.response, history: fields.history }, wrong);
  if ("question" in fields && "answer" in fields)
    return exchanges({ question: fields.question, answer: fields.answer, history: fields.history }, wrong);
  return undefined;
}

function exchanges({ question, answer, history }: Exchange, wrong: Wrong): unknown[] {
  const before = Array.isArray(history)
    ? history
    : text(history).trim()
      ? parsed(text(history), "history as a list of [question, answer]", wrong)
      : [];
  const pairs = before.map((pair, i) => {
    if (!Array.isArray(pair) || pair.length !== 2)
      throw wrong(`exchange ${i + 1} of history as [question, answer]`, shown(pair), "write two texts");
    return pair as [unknown, unknown];
  });
  return [...pairs, [question, answer] as const].flatMap(([asked, said]) => [
    { role: "user", content: asked },
    { role: "assistant", content: said },
  ]);
}

/** A table's cell holds JSON. */
function parsed(cell: string, wanted: string, wrong: Wrong): unknown[] {
  try {
    const value: unknown = JSON.parse(cell);
    if (Array.isArray(value)) return value;
  } catch {} // told below
  throw wrong(wanted, shown(cell), "write it as JSON");
}

/** Of ms-swift: [{human, assistant}, …]. */
function pairsOf(list: readonly unknown[], wrong: Wrong): unknown[] {
  return list.flatMap((pair, i) => {
    if (!isFields(pair)) throw wrong(`exchange ${i + 1} as {human, assistant}`, shown(pair), "write one object an exchange");
    if (!("human" in pair && "assistant" in pair)) return [pair]; // a message after all
    return [
      { role: "user", content: pair.human },
      { role: "assistant", content: pair.assistant },
    ];
  });
}

/** How much a message's tokens count: `weight` of OpenAI, `loss_weight` of LLaMA-Factory, `loss` of ms-swift; undefined where nothing is said. */
export function weightOf(turn: Readonly<Record<string, unknown>>, name: string, isAnswer: boolean, wrong: Wrong): number | undefined {
  const key = ["weight", "loss_weight", "loss"].find((one) => turn[one] !== undefined && turn[one] !== null);
  if (key === undefined) return undefined;
  const value = typeof turn[key] === "boolean" ? Number(turn[key]) : turn[key];
  if (typeof value !== "number" || !(value >= 0 && value <= 1e6))
    throw wrong(`${key} of ${name} to be a number from 0 to 1000000, true or false`, shown(turn[key]), "leave it out for 1");
  if (isAnswer) return value;
  if (value && key !== "loss") throw wrong(`no ${key} of ${name}, or 0`, shown(turn[key]), "answers alone are learned");
  return undefined;
}
