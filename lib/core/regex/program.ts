// A tree as instructions for the matcher: what to do, and what with.
import { type CharacterSet, characterSet } from "./characters.js";
import { type Edge, isNullable, PatternFault, type Tree } from "./tree.js";

export const Op = {
  /** a character code */
  Character: 0,
  /** index into sets */
  Set: 1,
  /** where to go first, where then, its place among what is remembered, and which loops' turns make a difference there, as bits */
  Split: 2,
  Jump: 3,
  /** A turn of loop number a begins: nothing was taken yet. */
  Begin: 4,
  /** It ends, and must have taken something. */
  End: 5,
  /** index into looks */
  Look: 6,
  /** index into EDGES */
  Edge: 7,
  Match: 8,
} as const;
/** The operation and four operands. */
export const WIDTH = 5;
export const EDGES: readonly Edge[] = ["start", "end", "word", "inside"];

export interface Look {
  readonly behind: boolean;
  readonly negative: boolean;
  at: number;
}

export interface Program {
  readonly code: Int32Array;
  readonly sets: readonly CharacterSet[];
  readonly looks: readonly Look[];
  /** Bytes that are remembered of each place of a text. */
  readonly remembered: number;
}

/** Instructions: what a step budget is counted in, and the longest published expression takes a twentieth of it. */
const MOST_CODE = 10_000;
/** Loops within loops whose turns may take nothing: what is remembered doubles with each. */
const MOST_OPEN = 8;
const MOST_SETS = 200;
const MOST_REMEMBERED = 1 << 14;

/** Throws PatternFault where it would be too long. */
export function compile(tree: Tree, unicode: boolean): Program {
  return new Compiler(unicode).program(tree);
}

class Compiler {
  readonly #code: number[] = [];
  readonly #sets: CharacterSet[] = [];
  readonly #setAt = new Map<string, number>();
  readonly #looks: (Look & { of: Tree })[] = [];
  #remembered = 0;
  #open = 0;
  #behind = false;
  #repeats = 0;

  constructor(private readonly unicode: boolean) {}

  program(tree: Tree): Program {
    this.#tree(tree);
    this.#emit(Op.Match);
    for (const look of this.#looks) {
      look.at = this.#here();
      this.#behind = look.behind;
      this.#open = 0;
      this.#tree(look.of); // may find more of them
      this.#emit(Op.Match);
    }
    return { code: Int32Array.from(this.#code), sets: this.#sets, looks: this.#looks, remembered: this.#remembered };
  }

  #here(): number {
    return this.#code.length;
  }

  #emit(op: number, a = 0, b = 0, c = 0, d = 0): number {
    if (this.#code.length >= MOST_CODE * WIDTH) throw new PatternFault(`it takes more than ${MOST_CODE} instructions`);
    return this.#code.push(op, a, b, c, d) - WIDTH;
  }

  /** `then` is filled in later. */
  #split(): number {
    const at = this.#emit(Op.Split, 0, 0, this.#remembered, (1 << this.#open) - 1);
    this.#remembered += 1 << this.#open;
    if (this.#remembered > MOST_REMEMBERED) throw new PatternFault("it has too many choices within loops");
    return at;
  }
  #choose(split: number, first: number, then: number): void {
    this.#code[split + 1] = first;
    this.#code[split + 2] = then;
  }

  #tree(tree: Tree): void {
    switch (tree.kind) {
      case "characters":
        this.#characters(tree.source);
        return;
      case "sequence":
        for (const item of this.#behind ? [...tree.items].reverse() : tree.items) this.#tree(item);
        return;
      case "choice":
        this.#choice(tree.options);
        return;
      case "repeat":
        this.#repeat(tree);
        return;
      case "look":
        this.#emit(Op.Look, this.#looks.push({ behind: tree.behind, negative: tree.negative, at: 0, of: tree.of }) - 1);
        return;
      case "edge":
        this.#emit(Op.Edge, EDGES.indexOf(tree.edge));
    }
  }

  #characters(source: string): void {
    const [code, more] = Array.from(source, (letter) => letter.codePointAt(0) as number);
    if (more === undefined && source !== "." && code !== undefined) {
      this.#emit(Op.Character, code);
      return;
    }
    let at = this.#setAt.get(source);
    if (at === undefined) {
      if (this.#sets.length === MOST_SETS) throw new PatternFault(`it has more than ${MOST_SETS} sets of characters`);
      at = this.#sets.push(characterSet(source, this.unicode)) - 1;
      this.#setAt.set(source, at);
    }
    this.#emit(Op.Set, at);
  }

  #choice(options: readonly Tree[]): void {
    const ends: number[] = [];
    for (const [i, option] of options.entries()) {
      if (i === options.length - 1) {
        this.#tree(option);
        break;
      }
      const split = this.#split();
      this.#tree(option);
      ends.push(this.#emit(Op.Jump));
      this.#choose(split, split + WIDTH, this.#here());
    }
    for (const end of ends) this.#code[end + 1] = this.#here();
  }

  #repeat({ of, least, most, greedy }: Extract<Tree, { kind: "repeat" }>): void {
    for (let i = 0; i < least; ++i) this.#copy(of);
    if (most === Infinity) {
      const split = this.#split();
      this.#turn(of);
      this.#emit(Op.Jump, split);
      this.#leave(split, greedy);
      return;
    }
    const splits: number[] = [];
    for (let i = least; i < most; ++i) {
      splits.push(this.#split());
      this.#copy(of, true);
    }
    for (const split of splits) this.#leave(split, greedy);
  }

  #leave(split: number, greedy: boolean): void {
    const [inside, outside] = [split + WIDTH, this.#here()];
    if (greedy) this.#choose(split, inside, outside);
    else this.#choose(split, outside, inside);
  }

  #copy(of: Tree, optional = false): void {
    if (++this.#repeats > MOST_CODE) throw new PatternFault(`it repeats more than ${MOST_CODE} times`); // of nothing, which takes no instruction
    if (optional) this.#turn(of);
    else this.#tree(of);
  }

  /** As JavaScript has it: beyond those that must be, a turn that takes nothing is none. */
  #turn(of: Tree): void {
    if (!isNullable(of)) {
      this.#tree(of);
      return;
    }
    if (this.#open === MOST_OPEN) throw new PatternFault(`it has more than ${MOST_OPEN} loops within loops`);
    const loop = this.#open++;
    this.#emit(Op.Begin, loop);
    this.#tree(of);
    this.#emit(Op.End, loop);
    --this.#open;
  }
}
