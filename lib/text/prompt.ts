// A conversation to what the model reads: runs of ids, media as holes where they stand, labels on what the assistant says.
//
// The chat template sees text alone, so media and the borders of answers go through it as noncharacters, which no text may hold. The rendered
// prompt is cut at the media; a border of an answer is where the ids of the text before it stop being the first ids of the whole.
import { expected } from "../core/errors.js";
import type { Message } from "./chat-template.js";
import type { TextPart } from "./splice.js";
import type { Tokenizer } from "./tokenizer.js";

export interface PromptTurn {
  readonly role: string;
  /** Strings, and media in any order. */
  readonly content: readonly (string | object)[];
}
/** Text, or the n-th medium of the conversation in reading order. */
export type PromptPart = TextPart | { media: number };

export interface PromptOptions {
  /** Ends the prompt where the assistant's answer begins; nothing is labelled. */
  generation?: boolean;
  /** For messages: which row. */
  where?: string;
}

export const IGNORE = -100;
const [MEDIUM, MEDIUM_END, ANSWER, ANSWER_END] = ["\ufdd0", "\ufdd1", "\ufdd2", "\ufdd3"];
const ANY_MARK = /[\ufdd0-\ufdd3]/;

/** Renders with the tokenizer's chat template; without one, plainly: `{bos}{instruction} {media} {response}{eos}`. */
export function promptParts(tokenizer: Tokenizer, turns: readonly PromptTurn[], options: PromptOptions = {}): PromptPart[] {
  const { generation = false, where = "prompt" } = options;
  checkTurns(turns, generation, where);
  let media = 0;
  const messages = turns.map(({ role, content }): Message => {
    checkText(content, tokenizer, where);
    const text = content.map((part) => (typeof part === "string" ? part : `${MEDIUM}${media++}${MEDIUM_END}`)).join("");
    return { role, content: role === "assistant" ? answer(text, content, generation, where) : text };
  });
  const segments = cutAtMedia(render(tokenizer, messages, generation));
  checkRendered(segments, media, generation ? 0 : messages.filter(({ role }) => role === "assistant").length, where);
  const encode = segmentEncoder(tokenizer);
  return segments.flatMap((segment, i): PromptPart[] => {
    if ("media" in segment) return [segment];
    const part = textPart(segment, tokenizer, (text) => encode(text, i === 0));
    return part.ids.length ? [part] : [];
  });
}

function checkTurns(turns: readonly PromptTurn[], generation: boolean, where: string): void {
  const last = turns.at(-1)?.role ?? "no turn";
  if (generation && last !== "user")
    throw expected("E_PROMPT", where, "a conversation whose last turn is the user's", last, "end with the question to answer");
  if (!generation && !turns.some(({ role }) => role === "assistant"))
    throw expected("E_PROMPT", where, "a turn of the assistant", `${turns.length} turns without one`, "add the answer to learn");
}

/** Text never becomes a control token: who may write </s> may also write the assistant's next turn. */
function checkText(content: PromptTurn["content"], { specialTokens }: Tokenizer, where: string): void {
  if (content.some((part) => typeof part === "string" && ANY_MARK.test(part)))
    throw expected("E_PROMPT", where, "text", "one of the noncharacters U+FDD0 to U+FDD3", "take it out: no text needs it");
  const text = content.map((part) => (typeof part === "string" ? part : MEDIUM)).join("");
  for (const token of specialTokens.keys())
    if (token && text.includes(token))
      throw expected("E_PROMPT", where, "text without control tokens", JSON.stringify(token), "take it out, or put a blank inside of it");
}

/** The border goes inside of the white space around the answer, so that a template strips that as it would without. */
function answer(text: string, content: PromptTurn["content"], generation: boolean, where: string): string {
  if (content.some((part) => typeof part !== "string"))
    throw expected("E_PROMPT", where, "text in the assistant's turn", "a medium", "media belong to the user's or the system's turns");
  const core = text.trim();
  if (!core) throw expected("E_PROMPT", where, "text in the assistant's turn", "none", "write the answer, or leave the turn out");
  if (generation) return text;
  const [before, after] = [text.slice(0, text.indexOf(core)), text.slice(text.indexOf(core) + core.length)];
  return `${before}${ANSWER}${core}${ANSWER_END}${after}`;
}

function render(tokenizer: Tokenizer, messages: readonly Message[], generation: boolean): string {
  if (!tokenizer.hasChatTemplate) return plain(tokenizer, messages);
  const text = tokenizer.applyChatTemplate(messages, { addGenerationPrompt: generation });
  // A medium separates words by itself. Where words begin with their blank anyway, one beside it would be a token of its own, which no text has.
  return text.includes(MEDIUM as string) && prefixesWords(tokenizer) ? text.replace(/ ?(\ufdd0\d+\ufdd1) ?/g, "$1") : text;
}

/**
 * White space that comes before an answer, but not with the prompt that asks for one: LLaMA 2 has "[/INST] answer" and "[/INST]". There the model
 * writes it, so it is scored.
 */
function gapOf(tokenizer: Tokenizer): string {
  let gap = gaps.get(tokenizer);
  if (gap !== undefined) return gap;
  gap = "";
  const question = { role: "user", content: "x" };
  try {
    const asked = render(tokenizer, [question], true);
    const [before = ""] = render(tokenizer, [question, { role: "assistant", content: `${ANSWER}x${ANSWER_END}` }], false).split(
      ANSWER as string,
    );
    const rest = before.slice(asked.length);
    if (before.startsWith(asked) && !rest.trim()) gap = rest;
  } catch {
    // A template that refuses so short a conversation; whatever it says of the real one was said before.
  }
  gaps.set(tokenizer, gap);
  return gap;
}
const gaps = new WeakMap<Tokenizer, string>();

/** Every exchange stands between bos and eos. A medium separates words by itself: blanks beside it would only be tokens of their own. */
function plain(tokenizer: Tokenizer, messages: readonly Message[]): string {
  const { bosToken: bos = "", eosToken: eos = "" } = tokenizer;
  const text = messages.map(({ role, content }, i) => {
    const begins = i === 0 || messages[i - 1]?.role === "assistant";
    return `${begins ? bos : " "}${String(content).trim()}${role === "assistant" ? eos : ""}`;
  });
  const gap = prefixesWords(tokenizer) ? "" : " ";
  return text
    .join("")
    .replace(/ *(\ufdd0\d+\ufdd1) */g, "$1")
    .replace(/(\ufdd1)(\ufdd2?)(?=[^\s\ufdd0])/g, `$1${gap}$2`);
}

/** Does a text begin as a word does after a blank, as with sentencepiece? */
function prefixesWords(tokenizer: Tokenizer): boolean {
  return segmentEncoder(tokenizer)("a", false).at(-1) === tokenizer.encode("x a", { addSpecialTokens: false }).at(-1);
}

type Encode = (text: string, first: boolean) => number[];

/** Text after a medium is encoded as text after a control token is: some tokenizers put a blank before the very first word only. */
function segmentEncoder(tokenizer: Tokenizer): Encode {
  const plainly = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });
  const stand = tokenizer.bosToken ?? tokenizer.eosToken;
  const id = stand === undefined ? undefined : tokenizer.specialTokens.get(stand);
  if (id === undefined) return plainly;
  return (text, first) => {
    if (first) return plainly(text);
    const ids = plainly(`${stand}${text}`);
    return ids[0] === id ? ids.slice(1) : plainly(text);
  };
}

interface Segment {
  text: string;
  /** Where answers begin and end in the text. */
  answers: [from: number, to: number][];
  /** Marks out of order. */
  broken: boolean;
}

function cutAtMedia(rendered: string): (Segment | { media: number })[] {
  return rendered.split(/\ufdd0(\d+)\ufdd1/).map((piece, i) => {
    if (i % 2) return { media: Number(piece) };
    const segment: Segment = { text: "", answers: [], broken: false };
    let from = -1;
    for (const part of piece.split(/([\ufdd0-\ufdd3])/)) {
      const at = segment.text.length;
      if (!ANY_MARK.test(part)) segment.text += part;
      else if (part === ANSWER && from < 0) from = at;
      else if (part === ANSWER_END && from >= 0) {
        segment.answers.push([from, at]);
        from = -1;
      } else segment.broken = true;
    }
    segment.broken ||= from >= 0;
    return segment;
  });
}

function checkRendered(segments: readonly (Segment | { media: number })[], media: number, answers: number, where: string): void {
  const seen = segments.flatMap((segment) => ("media" in segment ? [segment.media] : []));
  if (seen.length !== media || new Set(seen).size !== media)
    throw expected(
      "E_PROMPT",
      where,
      `a chat template that keeps ${media} media`,
      `${seen.length}`,
      "it drops or repeats a message: mend it",
    );
  const texts = segments.filter((segment): segment is Segment => !("media" in segment));
  const kept = texts.reduce((n, segment) => n + segment.answers.length, 0);
  if (kept !== answers || texts.some(({ broken }) => broken))
    throw expected("E_PROMPT", where, `a chat template that keeps ${answers} answers whole`, `${kept}`, "it drops or changes one: mend it");
}

function textPart({ text, answers }: Segment, tokenizer: Tokenizer, encode: (text: string) => number[]): TextPart {
  const ids = encode(text);
  if (!answers.length) return { ids };
  const labels = new Array<number>(ids.length).fill(IGNORE);
  const gap = gapOf(tokenizer);
  const controls = new Set(tokenizer.specialTokens.values());
  const isControl = (id: number) => id === tokenizer.eosTokenId || (controls.has(id) && id !== tokenizer.unkTokenId);
  for (const [from, to] of answers) {
    const asked = text.slice(0, from);
    const start = shared(ids, encode(asked.endsWith(gap) ? asked.slice(0, from - gap.length) : asked));
    const before = encode(text.slice(0, to));
    let end = shared(ids, before);
    if (end < Math.min(before.length, ids.length)) ++end; // a token that reaches over the border
    // The control token that closes the answer, if nothing but white space comes before it.
    let close = end;
    while (close < ids.length && !isControl(ids[close]!) && !tokenizer.decode([ids[close]!]).trim()) ++close;
    if (close < ids.length && isControl(ids[close]!)) end = close + 1;
    for (let i = start; i < end; ++i) labels[i] = ids[i]!;
  }
  return { ids, labels };
}

/** Length of the longest common prefix. */
function shared(a: readonly number[], b: readonly number[]): number {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) ++n;
  return n;
}
