// A conversation as text without a chat template, and the marks that stand in it for what is no text: media, and the borders of answers.
import type { Message } from "./chat-template.js";
import type { Tokenizer } from "./tokenizer.js";

/** Noncharacters, which no text may hold. */
export const [MEDIUM, MEDIUM_END, ANSWER, ANSWER_END] = ["\ufdd0", "\ufdd1", "\ufdd2", "\ufdd3"] as const;
/** Stands inside of what spells a control token and is none. */
export const LITERAL = "\ufdd4";
export const ANY_MARK = /[\ufdd0-\ufdd4]/;

/** Control tokens around an answer, where a format has its own. */
export interface PlainTokens {
  answerStart?: string | undefined;
  answerEnd?: string | undefined;
}

/**
 * Every exchange stands between bos and eos; where `end` ends an answer, they follow each other behind one bos. A medium separates words by itself: blanks
 * beside it would only be tokens of their own.
 */
export function plain(
  tokenizer: Tokenizer,
  messages: readonly Message[],
  generation: boolean,
  { answerStart: start, answerEnd: end }: PlainTokens = {},
): string {
  const { bosToken: bos = "", eosToken: eos = "" } = tokenizer;
  const next = end === undefined ? bos : "";
  const gap = prefixesWords(tokenizer) ? "" : " ";
  const between = (role: string) => (role === "assistant" && start !== undefined ? `${start}${gap}` : " ");
  const text = messages.map(({ role, content }, i) => {
    const before = i === 0 ? bos : messages[i - 1]?.role === "assistant" ? next : between(role);
    const said = String(content).trim();
    const ended = end !== undefined && said.replace(ANSWER_END, "").endsWith(end) ? "" : (end ?? eos);
    return `${before}${said}${role === "assistant" ? ended : ""}`;
  });
  const bare = text.join("").replace(/ *(\ufdd0\d+\ufdd1) */g, "$1");
  // A format with turns of its own writes its blanks itself.
  if (start !== undefined) return generation ? `${bare}${start}` : bare;
  return bare.replace(/(\ufdd1)(\ufdd2?)(?=[^\s\ufdd0])/g, `$1${gap}$2`);
}

/** Does a text begin as a word does after a blank, as with sentencepiece? */
export function prefixesWords(tokenizer: Tokenizer): boolean {
  return segmentEncoder(tokenizer)("a", false).at(-1) === tokenizer.encode("x a", { addSpecialTokens: false }).at(-1);
}

type Encode = (text: string, first: boolean) => number[];

/** Text after a medium is encoded as text after a control token is: some tokenizers put a blank before the very first word only. */
export function segmentEncoder(tokenizer: Tokenizer): Encode {
  const plainly = (text: string) => tokenizer.encode(text, { addSpecialTokens: false, literalMark: LITERAL });
  const stand = tokenizer.bosToken ?? tokenizer.eosToken;
  const id = stand === undefined ? undefined : tokenizer.specialTokens.get(stand);
  if (id === undefined) return plainly;
  return (text, first) => {
    if (first) return plainly(text);
    const ids = plainly(`${stand}${text}`);
    return ids[0] === id ? ids.slice(1) : plainly(text);
  };
}
