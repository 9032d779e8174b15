// A regular expression of JavaScript as a tree. RegExp has taken the text before, so that only what it means is asked here, not whether it is right.

/** What a stranger's expression may not do: its words go into the error of whoever reads the file. */
export class PatternFault extends Error {}

/** Text that matches one character. */
export interface Characters {
  readonly kind: "characters";
  /** As it is written: "a", ".", "\\d", "[^x]", "\\p{L}". */
  readonly source: string;
}
export type Tree =
  | Characters
  | { readonly kind: "sequence"; readonly items: readonly Tree[] }
  | { readonly kind: "choice"; readonly options: readonly Tree[] }
  | { readonly kind: "repeat"; readonly of: Tree; readonly least: number; readonly most: number; readonly greedy: boolean }
  | { readonly kind: "look"; readonly behind: boolean; readonly negative: boolean; readonly of: Tree }
  | { readonly kind: "edge"; readonly edge: Edge };
export type Edge = "start" | "end" | "word" | "inside";

/** More than any published one needs; each level costs a frame of the reader. */
const DEEPEST = 200;

const ESCAPE =
  /\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u\{[0-9a-fA-F]+\}|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|c[A-Za-z]|[pP]\{[^}]*\}|[0-7]{1,3}|.)/suy;
/** The same without the flag u, where the forms with braces are letters like others. */
const PLAIN_ESCAPE = /\\(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|c[A-Za-z]|[0-7]{1,3}|.)/sy;
const QUANTIFIER = /(?:([*+?])|\{(\d+)(,(\d*))?\})(\??)/y;
const GROUP = /\((?:\?(?:([:=!])|<([=!])|<[^>]*>))?/y;

/** Throws PatternFault for what is not bounded: back references, and nesting without an end. */
export function parse(source: string, unicode: boolean): Tree {
  return new Parser(source, unicode).whole();
}

class Parser {
  #at = 0;
  readonly #groups: number;
  readonly #named: boolean;

  constructor(
    private readonly source: string,
    private readonly unicode: boolean,
  ) {
    const outside = source.replace(/\\.|\[(?:\\.|[^\]\\])*\]/gsu, "");
    this.#groups = outside.match(/\((?!\?)|\(\?<[^=!]/g)?.length ?? 0;
    this.#named = /\(\?<[^=!]/.test(outside);
  }

  whole(): Tree {
    return this.#choice(0);
  }

  #choice(depth: number): Tree {
    if (depth > DEEPEST) throw new PatternFault(`it is nested more than ${DEEPEST} deep`);
    const options = [this.#sequence(depth)];
    while (this.source[this.#at] === "|") {
      ++this.#at;
      options.push(this.#sequence(depth));
    }
    return options.length === 1 ? (options[0] as Tree) : { kind: "choice", options };
  }

  #sequence(depth: number): Tree {
    const items: Tree[] = [];
    while (this.#at < this.source.length && this.source[this.#at] !== "|" && this.source[this.#at] !== ")")
      items.push(this.#quantified(this.#atom(depth)));
    return items.length === 1 ? (items[0] as Tree) : { kind: "sequence", items };
  }

  #quantified(of: Tree): Tree {
    const [whole, sign, least, range, most, lazy] = this.#match(QUANTIFIER) ?? [];
    if (whole === undefined) return of;
    const greedy = lazy === "";
    if (sign !== undefined) return { kind: "repeat", of, least: sign === "+" ? 1 : 0, most: sign === "?" ? 1 : Infinity, greedy };
    return { kind: "repeat", of, least: Number(least), most: range === undefined ? Number(least) : Number(most || Infinity), greedy };
  }

  #atom(depth: number): Tree {
    const first = this.source[this.#at] as string;
    if (first === "(") return this.#group(depth);
    if (first === "^" || first === "$") {
      ++this.#at;
      return { kind: "edge", edge: first === "^" ? "start" : "end" };
    }
    if (first === "\\") return this.#escape();
    if (first === "[") return this.#class();
    const one = this.unicode ? String.fromCodePoint(this.source.codePointAt(this.#at) as number) : first;
    this.#at += one.length;
    return { kind: "characters", source: one };
  }

  #group(depth: number): Tree {
    const [, ahead, behind] = this.#match(GROUP) as RegExpExecArray;
    const of = this.#choice(depth + 1);
    ++this.#at; // the bracket
    if (behind !== undefined) return { kind: "look", behind: true, negative: behind === "!", of };
    if (ahead === "=" || ahead === "!") return { kind: "look", behind: false, negative: ahead === "!", of };
    return of;
  }

  #escape(): Tree {
    const next = this.source[this.#at + 1] as string;
    if (next === "b" || next === "B") {
      this.#at += 2;
      return { kind: "edge", edge: next === "b" ? "word" : "inside" };
    }
    const number = Number(/^[1-9]\d*/.exec(this.source.slice(this.#at + 1, this.#at + 6))?.[0]);
    if (number <= this.#groups || (next === "k" && (this.unicode || this.#named)))
      throw new PatternFault("it refers back to what a group matched, which cannot be bounded");
    const [source] = this.#match(this.unicode ? ESCAPE : PLAIN_ESCAPE) as RegExpExecArray;
    return { kind: "characters", source: source as string };
  }

  #class(): Tree {
    const begin = this.#at++;
    for (; this.source[this.#at] !== "]"; ++this.#at) if (this.source[this.#at] === "\\") ++this.#at;
    return { kind: "characters", source: this.source.slice(begin, ++this.#at) };
  }

  #match(expression: RegExp): RegExpExecArray | null {
    expression.lastIndex = this.#at;
    const found = expression.exec(this.source);
    if (found) this.#at = expression.lastIndex;
    return found;
  }
}

/** Can it match without taking a character? */
export function isNullable(tree: Tree): boolean {
  switch (tree.kind) {
    case "characters":
      return false;
    case "sequence":
      return tree.items.every(isNullable);
    case "choice":
      return tree.options.some(isNullable);
    case "repeat":
      return tree.least === 0 || isNullable(tree.of);
    default:
      return true;
  }
}
