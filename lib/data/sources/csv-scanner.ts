// Where the rows of a table begin and end. Most are a line each, which a look at its quotes shows; only what spans lines is read by the rules.
import { CsvCutter } from "../csv.js";
import { MAX_PIECE } from "../lines.js";
import { Lines, type Scanner, Spans } from "./spans.js";

const [RETURN, QUOTE] = [13, 34];

export class CsvScanner implements Scanner {
  readonly spans = new Spans();
  readonly #cutter: CsvCutter;
  /** Of lines that a row may begin on: where they are, and where they end. */
  readonly #places = new Map<number, { from: number; to: number }>();
  readonly #lines = new Lines((chunk, from, to, number, at) => this.#line(chunk, from, to, number, at));

  constructor(path: string) {
    this.#cutter = new CsvCutter(path);
  }

  /** What a row is read with later. */
  get header(): { names: readonly string[]; delimiter: string } {
    return { names: this.#cutter.names ?? [], delimiter: this.#cutter.delimiter };
  }

  feed(chunk: Buffer, at: number): void {
    this.#lines.feed(chunk, at);
  }

  end(): void {
    this.#lines.end();
    this.#take(this.#cutter.end());
  }

  #line(chunk: Buffer, from: number, to: number, number: number, at: number): void {
    const end = to > from && chunk[to - 1] === RETURN ? to - 1 : to;
    const whole = chunk.length > 0; // else it is too long to be a row
    if (this.#cutter.names && !this.#cutter.open && (!whole || !this.#reachesOn(chunk, from, end))) {
      if (!whole || isInk(chunk, from, end)) this.spans.add(number, at, to - from);
      return;
    }
    this.#places.set(number, { from: at, to: at + (to - from) });
    const bytes = whole && to - from <= MAX_PIECE ? Uint8Array.from(chunk.subarray(from, end)) : undefined;
    this.#take(this.#cutter.add(number, bytes));
    if (!this.#cutter.open) this.#places.clear();
  }

  #take(cuts: ReturnType<CsvCutter["end"]>): void {
    for (const { first, last } of cuts) {
      const { from } = this.#places.get(first) as { from: number };
      this.spans.add(first, from, (this.#places.get(last) as { to: number }).to - from);
    }
  }

  /** Does a field that is open at the line's end go on in the next? */
  #reachesOn(line: Buffer, from: number, end: number): boolean {
    const first = line.indexOf(QUOTE, from);
    if (first < 0 || first >= end) return false;
    const delimiter = this.#cutter.delimiter.charCodeAt(0);
    for (let at = from; at < end; ++at) {
      if (line[at] !== QUOTE) {
        const next = line.indexOf(delimiter, at);
        if (next < 0 || next >= end) return false;
        at = next;
        continue;
      }
      for (++at; ; ) {
        const quote = line.indexOf(QUOTE, at);
        if (quote < 0 || quote >= end) return true;
        at = quote + 1;
        if (at >= end || line[at] !== QUOTE) break;
        ++at;
      }
      if (at < end && line[at] !== delimiter) return false; // wrong, and by itself
    }
    return false;
  }
}

function isInk(line: Buffer, from: number, end: number): boolean {
  for (let at = from; at < end; ++at) if ((line[at] as number) > 32) return true;
  return false;
}
