// Ids to text as they come, each token once: a few tokens of context stand for all that went before.
import type { DecodeOptions, Tokenizer } from "./tokenizer.js";

/** Bytes that never become a character are given up after so many tokens. */
const LONGEST_WAIT = 32;

/**
 * Turns a growing row of ids into pieces of text whose concatenation is the decoded whole, in time proportional to the number of ids. (Where a model
 * writes bytes that are no UTF-8, decoding the whole may judge a byte by one that came later; a stream cannot take back what it gave.)
 */
export class DecodeStream {
  /** The last tokens: those before #read are context, whose text was given. */
  #window: number[] = [];
  #read = 0;
  /** Characters of the window's text that were given. */
  #given = 0;
  readonly #special: ReadonlySet<number>;

  constructor(
    private readonly tokenizer: Pick<Tokenizer, "decode" | "specialTokens">,
    private readonly options: DecodeOptions = {},
  ) {
    this.#special = new Set(options.skipSpecialTokens ? tokenizer.specialTokens.values() : []);
  }

  /** The text that is certain after one more token. */
  push(token: number): string {
    const last = this.#window.at(-1);
    if (last !== undefined && this.#special.has(token) && this.#special.has(last)) return ""; // one of a row of them is context enough
    this.#window.push(token);
    const text = this.tokenizer.decode(this.#window, this.options);
    // Replacement characters at the end may be the first bytes of a character.
    const waits = text.endsWith("\ufffd") && this.#window.length <= LONGEST_WAIT;
    const certain = Math.max(this.#given, waits ? text.replace(/\ufffd+$/, "").length : text.length);
    const piece = text.slice(this.#given, certain);
    this.#given = certain;
    if (!waits && piece) this.#forget();
    return piece;
  }

  /** The rest, when no token follows. */
  end(): string {
    const piece = this.tokenizer.decode(this.#window, this.options).slice(this.#given);
    this.#given += piece.length;
    return piece;
  }

  /** What came since the last whole text is the context of what comes next. */
  #forget(): void {
    this.#window = this.#window.slice(this.#window.length > LONGEST_WAIT ? -1 : this.#read);
    this.#read = this.#window.length;
    this.#given = this.tokenizer.decode(this.#window, this.options).length;
  }
}
