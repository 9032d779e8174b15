// Tokens beside the vocabulary, such as <s> or <image>, found in a text as tokenizers finds them (tokenizers/src/tokenizer/added_vocabulary.rs).
import { expected } from "../core/errors.js";
import { checkLooked, checkNodes, Trie } from "./trie.js";

export interface AddedToken {
  id: number;
  content: string;
  /** A control token, which decoding can leave out. */
  special: boolean;
  /** Not inside of a word. */
  singleWord: boolean;
  /** Takes the white space before it, behind it. */
  lstrip: boolean;
  rstrip: boolean;
  /** Looked for after the text was normalised. */
  normalized: boolean;
}

/** A token as the files have it: {content, single_word, lstrip, …}. */
export function addedToken(id: number, content: string, flags: Readonly<Record<string, unknown>>): AddedToken {
  const special = flags.special === true;
  return {
    id,
    content,
    special,
    singleWord: flags.single_word === true,
    lstrip: flags.lstrip === true,
    rstrip: flags.rstrip === true,
    normalized: typeof flags.normalized === "boolean" ? flags.normalized : !special,
  };
}

/**
 * Control tokens for words that `known` has no token for yet: a word of the vocabulary keeps its id, others get the next ones from `next` on, in order, as
 * tokenizers gives them.
 */
export function moreTokens(
  words: readonly string[],
  known: ReadonlySet<string>,
  next: number,
  idOf: (word: string) => number | undefined,
): AddedToken[] {
  const fresh = [...new Set(words)].filter((word) => !known.has(word));
  const unfit = words.find((word) => typeof word !== "string" || !word.trim());
  if (unfit !== undefined) throw expected("E_TOKENIZER", "addedTokens", "words that are not blank", JSON.stringify(unfit));
  return fresh.map((word) => addedToken(idOf(word) ?? next++, word, { special: true }));
}

/** A text between tokens; `first` where the whole text begins with it. */
export interface PlainPiece {
  text: string;
  first: boolean;
}

export interface SplitOptions {
  /** Control tokens are letters like others. */
  splitSpecialTokens: boolean;
  /** A character that keeps what it stands in from being a token; it is taken out. */
  literalMark?: string;
}

/** As errors name them. */
const WHAT = "added tokens";
const WORD = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\u200c\u200d]/u;
const BLANKS = /\p{White_Space}*/uy;
const BLANK = /\p{White_Space}/u;

export class AddedTokens {
  readonly #raw = new Trie<AddedToken>();
  readonly #normal = new Trie<AddedToken>();
  readonly byId: ReadonlyMap<number, AddedToken>;
  readonly #decoded = new Map<number, string>();

  constructor(
    tokens: readonly AddedToken[],
    private readonly normalize: (text: string) => string = (text) => text,
  ) {
    this.byId = new Map(tokens.map((token) => [token.id, token]));
    let nodes = 0;
    for (const token of tokens) {
      if (!token.content) continue;
      const content = token.normalized ? normalize(token.content) : token.content;
      nodes += (token.normalized ? this.#normal : this.#raw).add(content, token);
      checkNodes(nodes, WHAT);
      this.#decoded.set(token.id, content);
    }
  }

  /** What a token decodes to: normalised where it was looked for so. */
  textOf(id: number): string | undefined {
    return this.#decoded.get(id);
  }

  /** Tokens and the normalised texts between them, in order. */
  split(text: string, options: SplitOptions): (AddedToken | PlainPiece)[] {
    const { splitSpecialTokens, literalMark: mark } = options;
    return cut(text, this.#raw, splitSpecialTokens).flatMap(({ part, from }): (AddedToken | PlainPiece)[] => {
      if (typeof part !== "string") return [part];
      const marked = mark !== undefined && part.includes(mark);
      const normal = this.normalize(marked ? part.replaceAll(mark, "") : part);
      return cut(normal, this.#normal, splitSpecialTokens || marked).map((inner) =>
        typeof inner.part === "string" ? { text: inner.part, first: from === 0 && inner.from === 0 } : inner.part,
      );
    });
  }
}

const beginsWithWord = (text: string, from: number) =>
  from < text.length && WORD.test(String.fromCodePoint(text.codePointAt(from) as number));
function endsWithWord(text: string, to: number): boolean {
  if (to === 0) return false;
  const wide = to > 1 && (text.codePointAt(to - 2) as number) > 0xffff;
  return WORD.test(text.slice(to - (wide ? 2 : 1), to));
}

function cut(text: string, trie: Trie<AddedToken>, splitSpecialTokens: boolean): { part: string | AddedToken; from: number }[] {
  const parts: { part: string | AddedToken; from: number }[] = [];
  let [done, looked] = [0, 0];
  const plain = (to: number) => {
    if (done < to) parts.push({ part: text.slice(done, to), from: done });
  };
  for (let place = 0; place < text.length; ) {
    const { value: token, looked: now, to: end } = trie.longest(text, place);
    looked += now;
    checkLooked(looked, text.length, WHAT);
    if (!token) {
      ++place;
      continue;
    }
    let [from, to] = [place, end];
    place = to; // what lies inside of a match is not looked at, whether it counts or not
    if (token.special && splitSpecialTokens) continue;
    if (token.singleWord && (endsWithWord(text, from) || beginsWithWord(text, to))) continue;
    if (token.lstrip) {
      from = Math.max(from, done); // what the token before has taken is its
      while (from > done && BLANK.test(text[from - 1] as string)) --from;
    }
    if (token.rstrip) {
      BLANKS.lastIndex = to;
      const blanks = BLANKS.exec(text)?.[0].length ?? 0;
      to += blanks;
      looked += blanks;
    }
    plain(from);
    if (from < to) parts.push({ part: token, from });
    done = to;
  }
  plain(text.length);
  return parts;
}
