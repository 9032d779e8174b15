// What a system writes around a medium: <Img> and </Img> of MiniGPT-4, a new line of LLaVA, the name by which MMICL's text speaks of it; the token that stands
// for it where it stands beside the text.
import { type Check, is, type Schema } from "../core/checks.js";
import { expected } from "../core/errors.js";
import type { Content, Turn } from "../data/row.js";
import type { PromptPart } from "../text/prompt.js";
import type { Tokenizer } from "../text/tokenizer.js";

export interface Written {
  /** Text before and after each medium. {n} in them is its place among the conversation's media, from 0. */
  before?: string;
  after?: string;
  /**
   * The control token by which a text names the n-th medium: <image{n}> of MMICL. It stands between `before` and the medium; where a text has one there
   * itself, nothing is written around that medium. A text may spell those of media that are there.
   */
  proxy?: string;
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
  /** What stands for a medium in the prompts that were published, and in no text here, where a medium is put in itself: <ImageHere> of MiniGPT-4, <image> of BLIP-2. */
  mark?: string;
  /** first: media stand before the whole text, what begins it included, wherever they were put (BLIP-2); turn: each turn's before its own text (Otter). */
  place?: Place;
}
const NUMBER = "{n}";
const PROXY: Check = {
  wanted: `a control token with ${NUMBER} for the place of its medium, as <image${NUMBER}>`,
  fits: (v) => typeof v === "string" && v.split(NUMBER).length === 2 && v.length <= 256 && v !== NUMBER,
};
const TEXTS = [
  "before",
  "after",
  "token",
  "id",
  "edge",
  "end",
  "answer",
  "ask",
  "asked",
  "mark",
] as const satisfies readonly (keyof Written)[];
export const WRITTEN_KEYS: readonly (keyof Written)[] = [...TEXTS, "proxy", "place"];
const PLACES = ["first", "turn"] as const;
export type Place = (typeof PLACES)[number];
/** Of a format that comes from a file or a caller. */
export const WRITTEN_SCHEMA = {
  ...(Object.fromEntries(TEXTS.map((key) => [key, is.text])) as Record<(typeof TEXTS)[number], Check>),
  proxy: PROXY,
  place: is.oneOf(...PLACES),
} satisfies Schema;

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

/** Throws E_PROMPT where a text spells what stands for a medium: it would be read as letters, or as rows that nothing fills. */
export function checkMarks(turns: readonly Turn[], { mark }: Written, where: string): void {
  const text = mark && turns.flatMap(({ content }) => content).find((part) => typeof part === "string" && part.includes(mark));
  if (!text) return;
  const next =
    "pass the medium itself in its place, as in [image(file), text]; if the letters are meant, say prompt: { splitSpecialTokens: true }";
  throw expected("E_PROMPT", where, `text without ${mark}, which stands for a medium in this system's prompts`, JSON.stringify(text), next);
}

/** Of the n-th medium. */
const numbered = (text: string, n: number): string => text.replaceAll(NUMBER, String(n));
const beforeOf = ({ before = "", proxy = "" }: Written, n: number): string => numbered(before + proxy, n);

/** Every medium with its text around it, and every question. What stands there already, as in data that was written for the system, is not written twice. */
export function around(turns: readonly Turn[], written: Written): readonly Turn[] {
  const { before, after, proxy, ask = "", asked = "", place } = written;
  const own = ask || asked || place === "turn";
  if (!before && !after && !proxy && !own) return turns;
  let n = 0;
  return turns.map((turn) => {
    const content = own && turn.role === "user" ? askedOut(turn.content, ask, asked, place === "turn") : turn.content;
    const first = n;
    n += content.filter((part) => typeof part !== "string").length;
    return { ...turn, content: writtenOut(content, written, first) };
  });
}

function askedOut(content: Content, ask: string, asked: string, mediaFirst: boolean): Content {
  const media = mediaFirst ? content.filter((part) => typeof part !== "string") : [];
  const text = content.filter((part) => typeof part === "string").join("");
  const said = mediaFirst ? [text.trim()] : content;
  const there = text.trimStart().startsWith(ask) && text.trimEnd().endsWith(asked);
  return there ? [...media, ...said] : [...media, ask, ...said, asked];
}

function writtenOut(content: Content, written: Written, first: number): Content {
  const parts: Content[number][] = [];
  const named = written.proxy === undefined ? undefined : proxyPattern(written.proxy, "", "$");
  let n = first;
  for (const [i, part] of content.entries()) {
    if (typeof part === "string") {
      parts.push(part);
      continue;
    }
    const [last, next] = [content[i - 1], content[i + 1]];
    const [before, after] = [beforeOf(written, n), numbered(written.after ?? "", n)];
    ++n;
    const declared = typeof last === "string" && named?.test(last);
    if (before && !declared && !(typeof last === "string" && last.endsWith(before))) parts.push(before);
    parts.push(part);
    if (after && !declared && !(typeof next === "string" && next.startsWith(after))) parts.push(after);
  }
  return parts;
}

/** Is a text what is written around one of so many media? */
export function writtenAround(written: Written, media: number): (text: string) => boolean {
  const all = new Set(Array.from({ length: media }, (_, n) => [beforeOf(written, n), numbered(written.after ?? "", n)]).flat());
  return (text) => all.has(text);
}

/** With the place as its group. */
function proxyPattern(proxy: string, from: string, to: string): RegExp {
  const [before, after] = proxy.split(NUMBER).map((text) => text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  return new RegExp(`${from}${before}(\\d+)${after}${to}`);
}

/**
 * Control tokens that a text may spell: those that were added to the tokenizer's, and of the names of media those of media that are there. Throws E_PROMPT
 * where the tokenizer has no name for one of these.
 */
export function spellable(tokenizer: Tokenizer, { proxy }: Written, media: number, where: string): ReadonlySet<string> {
  if (proxy === undefined) return tokenizer.textTokens;
  const names = Array.from({ length: media }, (_, n) => numbered(proxy, n));
  for (const name of names) controlToken(tokenizer, name, where);
  const named = proxyPattern(proxy, "^", "$");
  return new Set([...[...tokenizer.textTokens].filter((token) => !named.test(token)), ...names]);
}
