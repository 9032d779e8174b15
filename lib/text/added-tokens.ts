// Tokens beside the vocabulary, such as <s> or <image>, found in a text as tokenizers finds them (tokenizers/src/tokenizer/added_vocabulary.rs).

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

interface Node {
  readonly next: Map<string, Node>;
  token?: AddedToken;
}
interface Found {
  token: AddedToken;
  from: number;
  to: number;
}

const WORD = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\u200c\u200d]/u;
const BLANKS = /\p{White_Space}*/uy;
const BLANK = /\p{White_Space}/u;

export class AddedTokens {
  readonly #raw: Node = { next: new Map() };
  readonly #normal: Node = { next: new Map() };
  readonly byId: ReadonlyMap<number, AddedToken>;
  readonly #decoded = new Map<number, string>();

  constructor(
    tokens: readonly AddedToken[],
    private readonly normalize: (text: string) => string = (text) => text,
  ) {
    this.byId = new Map(tokens.map((token) => [token.id, token]));
    for (const token of tokens) {
      if (!token.content) continue;
      const content = token.normalized ? normalize(token.content) : token.content;
      insert(token.normalized ? this.#normal : this.#raw, content, token);
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

function insert(root: Node, content: string, token: AddedToken): void {
  let node = root;
  for (const unit of content.split("")) {
    const next: Node = node.next.get(unit) ?? { next: new Map() };
    node.next.set(unit, next);
    node = next;
  }
  node.token ??= token;
}

/** The longest token at a place. */
function at(root: Node, text: string, from: number): Found | undefined {
  let found: Found | undefined;
  let node = root.next.get(text[from] as string);
  for (let to = from + 1; node; node = node.next.get(text[to++] as string)) if (node.token) found = { token: node.token, from, to };
  return found;
}

const beginsWithWord = (text: string, from: number) =>
  from < text.length && WORD.test(String.fromCodePoint(text.codePointAt(from) as number));
function endsWithWord(text: string, to: number): boolean {
  if (to === 0) return false;
  const wide = to > 1 && (text.codePointAt(to - 2) as number) > 0xffff;
  return WORD.test(text.slice(to - (wide ? 2 : 1), to));
}

function cut(text: string, root: Node, splitSpecialTokens: boolean): { part: string | AddedToken; from: number }[] {
  const parts: { part: string | AddedToken; from: number }[] = [];
  let done = 0;
  const plain = (to: number) => {
    if (done < to) parts.push({ part: text.slice(done, to), from: done });
  };
  for (let place = 0; place < text.length; ) {
    const found = at(root, text, place);
    if (!found) {
      ++place;
      continue;
    }
    const { token } = found;
    let { from, to } = found;
    place = to; // what lies inside of a match is not looked at, whether it counts or not
    if (token.special && splitSpecialTokens) continue;
    if (token.singleWord && (endsWithWord(text, from) || beginsWithWord(text, to))) continue;
    if (token.lstrip) {
      while (from > 0 && BLANK.test(text[from - 1] as string)) --from;
      from = Math.max(from, done); // what the token before has taken is its
    }
    if (token.rstrip) {
      BLANKS.lastIndex = to;
      to += BLANKS.exec(text)?.[0].length ?? 0;
    }
    plain(from);
    if (from < to) parts.push({ part: token, from });
    done = to;
  }
  plain(text.length);
  return parts;
}
