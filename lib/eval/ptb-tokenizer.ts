// Penn Treebank tokens as the published caption scores have them: lower case, a caption per line, punctuation left out of the scores.
import { RULES, SPLITS } from "./ptb-rules.js";

// Most of a caption is plain words between blanks, which no rule but one can take.
const PLAIN_WORD = /[A-Za-z]+(?=[ \n])/y;
const SPLIT_WORDS = new Set(Object.entries(SPLITS).map(([first, second]) => first + second));

/** Tokens of a whole document. Captions stand one to a line; a token can depend on how the next line begins. */
export function ptbTokens(document: string): string[] {
  const tokens: string[] = [];
  for (let at = 0; at < document.length; ) {
    PLAIN_WORD.lastIndex = at;
    const word = PLAIN_WORD.exec(document)?.[0].toLowerCase();
    if (word && !SPLIT_WORDS.has(word)) {
      tokens.push(word);
      at += word.length + 1;
      continue;
    }
    const { length, written } = longest(document, at);
    for (const token of written.toLowerCase().split(" ")) if (token) tokens.push(token);
    at += length;
  }
  return tokens;
}

function longest(document: string, at: number): { length: number; written: string } {
  let [reach, length, written] = [0, 1, ""];
  for (const { pattern, write } of RULES) {
    pattern.lastIndex = at;
    const match = pattern.exec(document);
    if (!match || match[0].length <= reach) continue;
    const token = match[1] ?? match[0];
    [reach, length, written] = [match[0].length, token.length, write(token)];
  }
  return { length, written };
}

/** What the reference leaves out. It asks after lower-casing, so that brackets, written -lrb- and so on, stay. */
const PUNCTUATION = new Set(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"]);

/** A caption's tokens for scoring. What stands before or behind it in a file does not matter. */
export function captionTokens(text: string): string[] {
  return ptbTokens(`${text.replaceAll("\n", " ")}\nx`)
    .slice(0, -1)
    .filter((token) => !PUNCTUATION.has(token));
}
