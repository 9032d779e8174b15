// Backtracking as JavaScript's RegExp does it, with the same matches, but no way is gone twice: what was found to fail at a place of the text fails there
// from wherever it is tried again. So the steps grow with the length of the text times that of the expression, and no expression takes exponentially many.
import { Memory, TOO_FAR, Way } from "./memory.js";
import { EDGES, Op, type Program, WIDTH } from "./program.js";
import { PatternFault } from "./tree.js";

/** Choices on the way to one match. */
const LONGEST_WAY = 1 << 22;
/** Numbers of an entry: where to go on, at which place, what the loops' turns took, and how long the way was. */
const ENTRY = 4;
const [START, END, WORD] = ["start", "end", "word"].map((edge) => EDGES.indexOf(edge as (typeof EDGES)[number]));
/** As bits: every open loop's turn has taken something. */
const ALL = -1;

export class Search {
  steps = 0;
  readonly #memory: Memory;
  #stack = new Int32Array(64 * ENTRY);
  #top = 0;
  /** The ways from where the search began to where it is: place and number of each. */
  #way = new Int32Array(128);
  #length = 0;

  constructor(
    private readonly program: Program,
    private readonly text: string,
    private readonly unicode: boolean,
    /** More is a PatternFault. */
    private readonly mostSteps: number,
  ) {
    this.#memory = new Memory(program.remembered);
  }

  /** Where a match that begins at `place` ends, or -1. Places of later calls must not lie before those of earlier ones. */
  from(place: number): number {
    this.#memory.forget(place);
    return this.#run(0, place, undefined);
  }

  #run(begin: number, from: number, behind: boolean | undefined): number {
    const { text, unicode } = this;
    const { code, sets } = this.program;
    const memory = this.#memory;
    const [bottom, origin] = [this.#top, this.#length];
    const looks = behind !== undefined;
    let [pc, place, took] = [begin, from, 0];
    for (;;) {
      if (++this.steps > this.mostSteps)
        throw new PatternFault(`it takes more than ${this.mostSteps} steps for a text of ${text.length} characters`);
      let fits = true;
      switch (code[pc]) {
        case Op.Character:
        case Op.Set: {
          const letter = behind ? before(text, place, unicode) : at(text, place, unicode);
          const wanted = code[pc + 1] as number;
          fits = letter >= 0 && (code[pc] === Op.Character ? letter === wanted : (sets[wanted] as (typeof sets)[number]).has(letter));
          if (fits) {
            const width = letter > 0xffff ? 2 : 1;
            place += behind ? -width : width;
            took = ALL;
            pc += WIDTH;
          }
          break;
        }
        case Op.Split: {
          const number = (code[pc + 3] as number) + (took & (code[pc + 4] as number));
          const known = memory.get(place, number);
          if (known === Way.Holds) return this.#end(bottom, origin, looks, place);
          fits = known === Way.Unknown;
          if (fits) {
            memory.set(place, number, Way.Fails); // until it turns out to hold
            this.#go(place, number);
            this.#later(code[pc + 2] as number, place, took);
            pc = code[pc + 1] as number;
          }
          break;
        }
        case Op.Jump:
          pc = code[pc + 1] as number;
          break;
        case Op.Begin:
          took &= ~(1 << (code[pc + 1] as number));
          pc += WIDTH;
          break;
        case Op.End:
          fits = ((took >> (code[pc + 1] as number)) & 1) === 1;
          pc += WIDTH;
          break;
        case Op.Look: {
          const look = this.program.looks[code[pc + 1] as number] as Program["looks"][number];
          fits = this.#run(look.at, place, look.behind) >= 0 !== look.negative;
          pc += WIDTH;
          break;
        }
        case Op.Edge:
          fits = isEdge(text, place, code[pc + 1] as number);
          pc += WIDTH;
          break;
        default:
          return this.#end(bottom, origin, looks, place);
      }
      if (fits) continue;
      if (this.#top === bottom) {
        this.#length = origin;
        return -1;
      }
      this.#top -= ENTRY;
      pc = this.#stack[this.#top] as number;
      place = this.#stack[this.#top + 1] as number;
      took = this.#stack[this.#top + 2] as number;
      this.#length = this.#stack[this.#top + 3] as number;
    }
  }

  /** The ways that led to a match hold: of a look that is all one asks, a match is looked for again from where it ended. */
  #end(bottom: number, origin: number, looks: boolean, place: number): number {
    for (let i = origin; i < this.#length; i += 2)
      this.#memory.set(this.#way[i] as number, this.#way[i + 1] as number, looks ? Way.Holds : Way.Unknown);
    this.#top = bottom;
    this.#length = origin;
    return place;
  }

  #go(place: number, number: number): void {
    if (this.#length === 2 * LONGEST_WAY) throw new PatternFault(TOO_FAR);
    if (this.#length === this.#way.length) this.#way = grown(this.#way);
    this.#way[this.#length++] = place;
    this.#way[this.#length++] = number;
  }

  #later(pc: number, place: number, took: number): void {
    if (this.#top === this.#stack.length) this.#stack = grown(this.#stack);
    this.#stack[this.#top++] = pc;
    this.#stack[this.#top++] = place;
    this.#stack[this.#top++] = took;
    this.#stack[this.#top++] = this.#length;
  }
}

function grown(before: Int32Array): Int32Array<ArrayBuffer> {
  const after = new Int32Array(before.length * 2);
  after.set(before);
  return after;
}

/** The character at a place: a code point, or a code unit where expressions go by those. -1 at the end. */
function at(text: string, place: number, unicode: boolean): number {
  if (place >= text.length) return -1;
  const unit = text.charCodeAt(place);
  return unicode && (unit & 0xfc00) === 0xd800 ? (text.codePointAt(place) as number) : unit;
}

/** The character before it. */
function before(text: string, place: number, unicode: boolean): number {
  if (place === 0) return -1;
  const unit = text.charCodeAt(place - 1);
  if (!(unicode && (unit & 0xfc00) === 0xdc00 && place > 1)) return unit;
  const both = text.codePointAt(place - 2) as number;
  return both > 0xffff ? both : unit;
}

function isEdge(text: string, place: number, edge: number): boolean {
  if (edge === START) return place === 0;
  if (edge === END) return place === text.length;
  const changes = isWord(text, place - 1) !== isWord(text, place);
  return changes === (edge === WORD);
}

function isWord(text: string, place: number): boolean {
  const unit = text.charCodeAt(place); // NaN outside
  return (unit >= 97 && unit <= 122) || (unit >= 65 && unit <= 90) || (unit >= 48 && unit <= 57) || unit === 95;
}
