// What Video-ChatGPT keeps of captions that models wrote of frames (arXiv 2306.05424, section 3.2): statements that a tagger, which looked at the same frame,
// supports. Which words are things, and not grammar, the tagger's own vocabulary says.
import { expected } from "../core/errors.js";
import { checkOptions, optionNames } from "../core/options.js";

export interface SupportedOptions {
  /** All tags that the tagger knows, as Tag2Text's list. */
  vocabulary: readonly string[];
  /** Things of a statement that must be supported at least: with 0 one that names no thing is kept. Default 1. */
  least?: number;
}
const OPTIONS = optionNames<SupportedOptions>({ vocabulary: true, least: true });

/** Lower case, words alone, a blank around each; English plurals as their singular. */
const plain = (text: string): string =>
  ` ${(
    text
      .normalize("NFC")
      .toLowerCase()
      .match(/[\p{L}\p{N}]+/gu) ?? []
  )
    .map(singular)
    .join(" ")} `;
function singular(word: string): string {
  if (word.length < 4 || /(ss|us|is)$/.test(word)) return word;
  if (/ies$/.test(word)) return `${word.slice(0, -3)}y`;
  if (/(x|ch|sh|ss|zz)es$/.test(word)) return word.slice(0, -2);
  return word.replace(/s$/, "");
}

/**
 * Of `statements` those that name nothing of the vocabulary but what is among the `tags` of the frame. A tag of several words is named where they follow each
 * other, and its words by themselves are not then: "fire truck" is no fire. Throws E_VALUE on options that are unknown or out of range.
 */
export function supported(statements: readonly string[], tags: readonly string[], options: SupportedOptions): string[] {
  checkOptions("supported", options, OPTIONS);
  const { vocabulary, least = 1 } = options;
  if (!(Number.isInteger(least) && least >= 0)) throw expected("E_VALUE", "supported: least", "an integer of 0 or more", least);
  if (!vocabulary?.length) throw expected("E_VALUE", "supported: vocabulary", "the tags that the tagger knows", "none");
  const seen = new Set(tags.map(plain));
  // What the tagger said it knows, whether its list says so or not.
  const known = new Set([...vocabulary.map(plain), ...seen]);
  const longest = Math.max(...Array.from(known, (tag) => tag.trim().split(" ").length));
  return statements.filter((statement) => {
    const things = thingsOf(plain(statement).trim().split(" "), known, longest);
    return things.length >= least && things.every((thing) => seen.has(thing));
  });
}

/** The longest tag that begins at each word counts. */
function thingsOf(words: readonly string[], known: ReadonlySet<string>, longest: number): string[] {
  const things: string[] = [];
  for (let at = 0; at < words.length; ) {
    let length = Math.min(longest, words.length - at);
    while (length > 0 && !known.has(` ${words.slice(at, at + length).join(" ")} `)) --length;
    if (length) things.push(` ${words.slice(at, at + length).join(" ")} `);
    at += Math.max(1, length);
  }
  return things;
}
