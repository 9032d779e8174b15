// What a system writes around a medium: <Img> and </Img> of MiniGPT-4, a new line of LLaVA; the token that stands for it where it stands beside the text.
import { is, type Schema } from "../core/checks.js";
import { expected } from "../core/errors.js";
import type { Content, Turn } from "../data/row.js";
import type { PromptPart } from "../text/prompt.js";
import type { Tokenizer } from "../text/tokenizer.js";

export interface Written {
  before?: string;
  after?: string;
  /** What the tokenizer's chat template writes for a medium, where it writes media itself: "<image>" of LLaVA. */
  token?: string;
  /** The control token that stands in the text for a medium beside it, and is the first to see it: <image> of Flamingo. No letters of a text become it. */
  id?: string;
  /** A control token before and after that, once between two media that follow each other: <fake_token_around_image> of IDEFICS. */
  edge?: string;
  /** The control token that ends an answer: <|endofchunk|> of Flamingo. */
  end?: string;
  /** The control token that begins an answer: <answer> of Otter. Turns are then written by this format alone, whatever chat template the tokenizer has. */
  answer?: string;
  /** Text before what the user says, and behind it: "User: " and " GPT:" of Otter. */
  ask?: string;
  asked?: string;
  /** first: media stand before the whole text, what begins it included, wherever they were put (BLIP-2); turn: each turn's before its own text (Otter). */
  place?: Place;
}
const TEXTS = ["before", "after", "token", "id", "edge", "end", "answer", "ask", "asked"] as const satisfies readonly (keyof Written)[];
export const WRITTEN_KEYS: readonly (keyof Written)[] = [...TEXTS, "place"];
const PLACES = ["first", "turn"] as const;
export type Place = (typeof PLACES)[number];
/** Of a format that comes from a file or a caller. */
export const WRITTEN_SCHEMA: Schema = { ...Object.fromEntries(TEXTS.map((key) => [key, is.text])), place: is.oneOf(...PLACES) };
/** What is wrong with one. */
export const placeMisfit = ({ place }: { place?: unknown }): string | undefined =>
  place === undefined || PLACES.some((one) => one === place) ? undefined : `${PLACES.map((one) => `"${one}"`).join(", ")}, or left out`;

/** The control tokens of media put in. Each medium stands before the token that is the first to see it. */
export function withIds(parts: readonly PromptPart[], { id, edge }: Written, tokenizer: Tokenizer, where: string): readonly PromptPart[] {
  if (id === undefined && edge === undefined) return parts;
  const one = (token: string | undefined): PromptPart[] => (token === undefined ? [] : [{ ids: [controlToken(tokenizer, token, where)] }]);
  return parts.flatMap((part, i): PromptPart[] => {
    if (!("media" in part)) return [part];
    const [last, next] = [parts[i - 1], parts[i + 1]];
    const before = last && "media" in last ? [] : one(edge);
    // What is there already, as in data that was written for the system, is not written twice.
    const there = id !== undefined && next && "ids" in next && next.ids[0] === controlToken(tokenizer, id, where);
    return there ? [part] : [...before, part, ...one(id), ...one(edge)];
  });
}

/** Throws E_PROMPT where the tokenizer has none that is spelled so. */
export function controlToken(tokenizer: Tokenizer, token: string, where: string): number {
  const id = tokenizer.specialTokens.get(token);
  if (id !== undefined) return id;
  throw expected(
    "E_PROMPT",
    where,
    `a tokenizer with the control token ${JSON.stringify(token)} of the prompt's format`,
    "one without",
    "assemble the model with it among addedTokens, or leave it out of prompt.written",
  );
}

/** Every medium with its text around it, and every question. What stands there already, as in data that was written for the system, is not written twice. */
export function around(turns: readonly Turn[], { before = "", after = "", ask = "", asked = "", place }: Written): readonly Turn[] {
  const own = ask || asked || place === "turn";
  if (!before && !after && !own) return turns;
  return turns.map((turn) => {
    const content = own && turn.role === "user" ? askedOut(turn.content, ask, asked, place === "turn") : turn.content;
    return { ...turn, content: before || after ? writtenOut(content, before, after) : content };
  });
}

function askedOut(content: Content, ask: string, asked: string, mediaFirst: boolean): Content {
  const media = mediaFirst ? content.filter((part) => typeof part !== "string") : [];
  const text = content.filter((part) => typeof part === "string").join("");
  const said = mediaFirst ? [text.trim()] : content;
  const there = text.trimStart().startsWith(ask) && text.trimEnd().endsWith(asked);
  return there ? [...media, ...said] : [...media, ask, ...said, asked];
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
