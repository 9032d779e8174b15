// Regular expressions that come with data, from whoever made it: JavaScript's own engine may take them exponentially many steps, and nothing ends it.
import { compile, type Program, WIDTH } from "./program.js";
import { Search } from "./search.js";
import { PatternFault, parse } from "./tree.js";

export { PatternFault } from "./tree.js";

/** Characters of an expression. The longest published one has some 600. */
const LONGEST = 8192;
/** What a search may take: published expressions come by with 40 a character. */
const STEPS = 1 << 20;
const STEPS_PER_CHARACTER = 500;

/** A regular expression of JavaScript, without back references, and with the same matches, in steps that the text's length bounds. */
export class Pattern {
  readonly #program: Program;
  /** Of all searches so far. */
  steps = 0;

  /** Throws PatternFault where it is none, or is too long. */
  constructor(
    readonly source: string,
    private readonly unicode = false,
  ) {
    if (source.length > LONGEST) throw new PatternFault(`it has ${source.length} characters, more than ${LONGEST}`);
    try {
      new RegExp(source, unicode ? "u" : "");
    } catch (cause) {
      throw new PatternFault((cause as Error).message, { cause });
    }
    this.#program = compile(parse(source, unicode), unicode);
  }

  /** How long it is: what it takes in memory, and the most steps of a character. */
  get instructions(): number {
    return this.#program.code.length / WIDTH;
  }

  /** Does it match anywhere in the text? */
  test(text: string): boolean {
    return !this.matches(text).next().done;
  }

  /** Where its matches begin and end, one after the other, as with the flag g. */
  *matches(text: string): Generator<readonly [from: number, to: number], undefined> {
    const search = new Search(this.#program, text, this.unicode, STEPS + STEPS_PER_CHARACTER * text.length);
    try {
      for (let place = 0; place <= text.length; ) {
        const end = search.from(place);
        if (end >= 0) yield [place, end];
        place = end > place ? end : this.#next(text, place);
      }
    } finally {
      this.steps += search.steps;
    }
  }

  #next(text: string, place: number): number {
    return place + (this.unicode && (text.codePointAt(place) ?? 0) > 0xffff ? 2 : 1);
  }
}
