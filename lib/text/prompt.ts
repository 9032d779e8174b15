// A conversation to what the model reads: runs of ids, media as holes where they stand, labels on what the assistant says.
//
// The chat template sees text alone, so media and the borders of answers go through it as noncharacters, which no text may hold. The rendered
// prompt is cut at the media; a border of an answer is where the ids of the text before it stop being the first ids of the whole.
import { expected } from "../core/errors.js";
import { warn } from "../core/notice.js";
import { checkOptions, optionNames } from "../core/options.js";
import type { Message } from "./chat-template.js";
import { pastBlanks, strip } from "./jinja/strings.js";
import {
  ANSWER,
  ANSWER_END,
  ANY_MARK,
  LITERAL,
  MEDIUM,
  MEDIUM_END,
  type PlainTokens,
  plain,
  prefixesWords,
  segmentEncoder,
} from "./plain-prompt.js";
import type { TextPart } from "./splice.js";
import type { Tokenizer } from "./tokenizer.js";

export interface PromptTurn {
  readonly role: string;
  /** Strings, and media in any order. */
  readonly content: readonly (string | object)[];
  /** How much an answer's tokens count in the loss. Default 1; at 0 they are not labelled. */
  readonly weight?: number;
}
/** Text, or the n-th medium of the conversation in reading order. */
export type PromptPart = TextPart | { media: number };

export interface PromptOptions {
  /** Ends the prompt where the assistant's answer begins; nothing is labelled. */
  generation?: boolean;
  /** For messages: which row. */
  where?: string;
  /** What spells a control token in the text, as `<s>` of HTML does, is letters; otherwise it is refused. */
  splitSpecialTokens?: boolean;
  /**
   * What the chat template writes for a medium, as "<image>" of LLaVA: the template is given the media as parts, its text stays to the blank, and it
   * begins as the tokenizer begins a text. Without it the template sees text alone, and media stand where they were put.
   */
  mediaToken?: string | undefined;
  /** Without a chat template: the control token that ends an answer, in the place of eos. What follows goes on behind it, without another bos (Flamingo's chunks). */
  answerEnd?: string | undefined;
  /** The control token that stands before an answer, and asks for one: turns then follow each other as without a chat template, for the format writes all of them itself (Otter). */
  answerStart?: string | undefined;
  /** Control tokens that a text may spell. Default: the tokenizer's own, those that were added to it. */
  textTokens?: ReadonlySet<string> | undefined;
  /** Told what training should know, once for a tokenizer; process.emitWarning by default. false: nobody is told, since nothing is trained. */
  onNotice?: ((message: string) => void) | false;
}

const OPTIONS = optionNames<PromptOptions>({
  generation: true,
  where: true,
  splitSpecialTokens: true,
  mediaToken: true,
  answerEnd: true,
  answerStart: true,
  textTokens: true,
  onNotice: true,
});

export const IGNORE = -100;

/** Renders with the tokenizer's chat template; without one, plainly: `{bos}{instruction} {media} {response}{eos}`. */
export function promptParts(tokenizer: Tokenizer, turns: readonly PromptTurn[], options: PromptOptions = {}): PromptPart[] {
  checkOptions("promptParts", options, OPTIONS);
  const {
    generation = false,
    where = "prompt",
    splitSpecialTokens = false,
    mediaToken,
    answerEnd,
    answerStart,
    textTokens = tokenizer.textTokens,
  } = options;
  checkTurns(turns, generation, where);
  const all = turns.flatMap(({ content }) => content.filter((part) => typeof part !== "string"));
  const kinds = all.map((part) => String((part as { modality?: unknown }).modality ?? "image"));
  const token: MediaToken | undefined =
    mediaToken && answerStart === undefined && tokenizer.hasChatTemplate ? { text: mediaToken, kinds } : undefined;
  const written: WrittenTokens = { token, answerEnd, answerStart };
  let media = 0;
  const said = turns.map(({ role, content }): Said => {
    checkText(content, tokenizer, where, { splitSpecialTokens, mediaToken, textTokens });
    const text = content.map((part) => (typeof part === "string" ? part : `${MEDIUM}${media++}${MEDIUM_END}`)).join("");
    const letters = splitSpecialTokens ? asLetters(text, tokenizer, textTokens) : text;
    return role === "assistant" ? { role, ...answer(letters, content, where) } : { role, before: "", core: letters, after: "" };
  });
  const segments = cutAtMedia(render(tokenizer, said.map(generation ? plainly : marked), generation, written));
  const answers = said.filter(({ role }) => role === "assistant");
  checkRendered(segments, media, generation ? 0 : answers.length, where);
  if (!generation) {
    checkUnmarked(segments, tokenizer, said, where, written);
    takeKeptBlanks(segments, tokenizer, said, written);
  }
  const encode = segmentEncoder(tokenizer);
  const weights = turns.flatMap(({ role, weight = 1 }) => (role === "assistant" ? [weight] : []));
  return segments.flatMap((segment, i): PromptPart[] => {
    if ("media" in segment) return [segment];
    const own = weights.splice(0, segment.answers.length);
    const part = textPart(segment, own, tokenizer, (text) => encode(text, i === 0), options);
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
function checkText(
  content: PromptTurn["content"],
  tokenizer: Tokenizer,
  where: string,
  {
    splitSpecialTokens,
    mediaToken,
    textTokens,
  }: Pick<PromptOptions, "splitSpecialTokens" | "mediaToken"> & { textTokens: ReadonlySet<string> },
): void {
  if (content.some((part) => typeof part === "string" && ANY_MARK.test(part)))
    throw expected("E_PROMPT", where, "text", "one of the noncharacters U+FDD0 to U+FDD4", "take it out: no text needs it");
  const text = content.map((part) => (typeof part === "string" ? part : MEDIUM)).join("");
  for (const token of tokenizer.specialTokens.keys())
    if (token && text.includes(token) && !(splitSpecialTokens && token.length > 1) && (!textTokens.has(token) || token === mediaToken))
      throw expected(
        "E_PROMPT",
        where,
        "text without control tokens",
        JSON.stringify(token),
        token === mediaToken
          ? "the prompt's format writes it: pass the medium itself in its place, as in [image(file), text]"
          : `${tokenizer.textTokens.has(token) ? "it names a medium that the prompt has not; " : ""}if the letters are meant, say prompt: { splitSpecialTokens: true } (--split-special-tokens); otherwise take it out`,
      );
}

/** A mark inside of each spelling of a control token: the tokenizer takes it for letters, and the mark out. */
function asLetters(text: string, { specialTokens }: Tokenizer, textTokens: ReadonlySet<string>): string {
  let letters = text;
  for (const token of specialTokens.keys())
    if (token && !textTokens.has(token)) letters = letters.replaceAll(token, `${token[0]}${LITERAL}${token.slice(1)}`);
  return letters;
}

/** A turn's text, an answer's without the white space around it. */
interface Said {
  role: string;
  before: string;
  core: string;
  after: string;
}
const plainly = ({ role, before, core, after }: Said): Message => ({ role, content: before + core + after });
/** The border goes inside of the white space around the answer, so that a template strips that as it would without. */
const marked = (said: Said): Message =>
  said.role === "assistant" ? plainly({ ...said, core: `${ANSWER}${said.core}${ANSWER_END}` }) : plainly(said);

function answer(text: string, content: PromptTurn["content"], where: string): Omit<Said, "role"> {
  if (content.some((part) => typeof part !== "string"))
    throw expected("E_PROMPT", where, "text in the assistant's turn", "a medium", "media belong to the user's or the system's turns");
  const core = strip(text, undefined); // as templates strip
  if (!core) throw expected("E_PROMPT", where, "text in the assistant's turn", "none", "write the answer, or leave the turn out");
  return { before: text.slice(0, text.indexOf(core)), core, after: text.slice(text.indexOf(core) + core.length) };
}

/** What the format writes beside what is said. */
interface WrittenTokens extends PlainTokens {
  token?: MediaToken | undefined;
}
interface MediaToken {
  text: string;
  /** Of each medium, in reading order. */
  kinds: readonly string[];
}

function render(tokenizer: Tokenizer, messages: readonly Message[], generation: boolean, written: WrittenTokens = {}): string {
  const { token, answerStart } = written;
  if (!tokenizer.hasChatTemplate || answerStart !== undefined) return plain(tokenizer, messages, generation, written);
  if (token) return renderParts(tokenizer, messages, generation, token);
  const text = tokenizer.applyChatTemplate(messages, { addGenerationPrompt: generation });
  // A medium separates words by itself. Where words begin with their blank anyway, one beside it would be a token of its own, which no text has.
  return text.includes(MEDIUM as string) && prefixesWords(tokenizer) ? text.replace(/ ?(\ufdd0\d+\ufdd1) ?/g, "$1") : text;
}

/** As a processor of transformers does: the template writes the media, which may stand elsewhere than in the content, and keeps their order. */
function renderParts(tokenizer: Tokenizer, messages: readonly Message[], generation: boolean, { text: token, kinds }: MediaToken): string {
  const inParts = messages.map(({ role, content }) => ({
    role,
    content: String(content)
      .split(/\ufdd0(\d+)\ufdd1/)
      .flatMap((piece, i): object[] => (i % 2 ? [{ type: kinds[Number(piece)] }] : piece ? [{ type: "text", text: piece }] : [])),
  }));
  const rendered = tokenizer.applyChatTemplate(inParts, { addGenerationPrompt: generation });
  const { bosToken } = tokenizer;
  const begins = bosToken !== undefined && tokenizer.encode("x")[0] === tokenizer.bosTokenId && !rendered.startsWith(bosToken);
  let n = 0;
  return `${begins ? bosToken : ""}${rendered.replaceAll(token, () => `${MEDIUM}${n++}${MEDIUM_END}`)}`;
}

/**
 * White space that comes before an answer, but not with the prompt that asks for one: LLaMA 2 has "[/INST] answer" and "[/INST]". There the model
 * writes it, so it is scored.
 */
function gapOf(tokenizer: Tokenizer, { answerStart }: PromptOptions): string {
  const known = gaps.get(tokenizer) ?? new Map<string | undefined, string>();
  gaps.set(tokenizer, known);
  let gap = known.get(answerStart);
  if (gap !== undefined) return gap;
  gap = "";
  const question = { role: "user", content: "x" };
  try {
    const asked = render(tokenizer, [question], true, { answerStart });
    const [before = ""] = render(tokenizer, [question, { role: "assistant", content: `${ANSWER}x${ANSWER_END}` }], false, {
      answerStart,
    }).split(ANSWER as string);
    const rest = before.slice(asked.length);
    if (before.startsWith(asked) && !rest.trim()) gap = rest;
  } catch {
    // A template that refuses so short a conversation; whatever it says of the real one was said before.
  }
  known.set(answerStart, gap);
  return gap;
}
const gaps = new WeakMap<Tokenizer, Map<string | undefined, string>>();

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
      if (!/[\ufdd0-\ufdd3]/.test(part)) segment.text += part;
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

/** The marks must change nothing but themselves: a template may ask how an answer begins. */
function checkUnmarked(
  segments: readonly (Segment | { media: number })[],
  tokenizer: Tokenizer,
  said: readonly Said[],
  where: string,
  written: WrittenTokens,
): void {
  const text = (all: readonly (Segment | { media: number })[]) =>
    all.map((segment) => ("media" in segment ? `${MEDIUM}${segment.media}` : segment.text)).join("");
  if (text(segments) === text(cutAtMedia(render(tokenizer, said.map(plainly), false, written)))) return;
  throw expected(
    "E_PROMPT",
    where,
    "a chat template that writes an answer as it is",
    "one that goes by how it begins or ends",
    "write the turns out as plain text, or mend the template",
  );
}

/** White space that an answer begins with is part of it where the template keeps it: there the model writes it. */
function takeKeptBlanks(
  segments: readonly (Segment | { media: number })[],
  tokenizer: Tokenizer,
  said: readonly Said[],
  written: WrittenTokens,
): void {
  const blanks = said.flatMap(({ role, before }) => (role === "assistant" ? [before] : []));
  if (!blanks.some(Boolean)) return;
  const bare = cutAtMedia(
    render(
      tokenizer,
      said.map((turn) => marked(turn.role === "assistant" ? { ...turn, before: "" } : turn)),
      false,
      written,
    ),
  );
  let n = 0;
  for (const [i, segment] of segments.entries()) {
    const other = bare[i];
    if ("media" in segment || !other || "media" in other) continue;
    const starts = segment.answers.map(([from], k) => {
      const distance = ({ answers }: Segment) => (answers[k]?.[0] ?? 0) - (answers[k - 1]?.[1] ?? 0);
      const kept = distance(segment) - distance(other);
      const written = blanks[n++] as string;
      return kept > 0 && written.endsWith(segment.text.slice(from - kept, from)) ? from - kept : from;
    });
    segment.answers = segment.answers.map(([, to], k) => [starts[k] as number, to]);
  }
}

/** A model that is never shown where an answer ends does not learn to end one. */
function tellOpenAnswer(tokenizer: Tokenizer, { where = "prompt", onNotice }: PromptOptions): void {
  if (onNotice === false || openTold.has(tokenizer)) return;
  openTold.add(tokenizer);
  const message = `${where}: no end token follows the answer, so the model will not learn to stop; put {{ eos_token }} behind answers in the chat template`;
  if (onNotice) onNotice(message);
  else warn("ANYMAL_ANSWER_OPEN", message);
}
const openTold = new WeakSet<Tokenizer>();

function textPart(
  { text, answers }: Segment,
  counts: readonly number[],
  tokenizer: Tokenizer,
  encode: (text: string) => number[],
  options: PromptOptions,
): TextPart {
  const ids = encode(text);
  if (!answers.length) return { ids };
  const labels = new Array<number>(ids.length).fill(IGNORE);
  const weights = counts.some((weight) => weight !== 1 && weight !== 0) ? new Array<number>(ids.length).fill(1) : undefined;
  const gap = gapOf(tokenizer, options);
  const controls = new Set(tokenizer.specialTokens.values());
  const isControl = (id: number) => id === tokenizer.eosTokenId || (controls.has(id) && id !== tokenizer.unkTokenId);
  for (const [n, [from, to]] of answers.entries()) {
    const weight = counts[n] ?? 1;
    if (!weight) continue;
    const asked = text.slice(0, from);
    const start = shared(ids, encode(asked.endsWith(gap) ? asked.slice(0, from - gap.length) : asked));
    const before = encode(text.slice(0, to));
    let end = shared(ids, before);
    if (end < Math.min(before.length, ids.length)) ++end; // a token that reaches over the border
    // The control token that closes the answer, if nothing but white space comes before it; a blank may be tokens of single bytes.
    const close = Math.max(end, shared(ids, encode(text.slice(0, pastBlanks(text, to)))));
    if (close < ids.length && isControl(ids[close]!)) end = close + 1;
    else tellOpenAnswer(tokenizer, options);
    for (let i = start; i < end; ++i) labels[i] = ids[i]!;
    weights?.fill(weight, start, end);
  }
  return { ids, labels, ...(weights && { weights }) };
}

/** Length of the longest common prefix. */
function shared(a: readonly number[], b: readonly number[]): number {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) ++n;
  return n;
}
