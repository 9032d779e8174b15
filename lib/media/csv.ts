// Tables of numbers as text: comma, semicolon, tab or blanks between cells, names in the first line that has some, lines that begin with # or % are comments.
import { setImmediate as turn } from "node:timers/promises";
import { Column, isMissing, numberOf } from "./cells.js";
import { MediaError } from "./error.js";

/** Columns of numbers, NaN where a cell holds none. */
export interface Table {
  readonly names: readonly string[];
  readonly rows: number;
  /** One that was asked for, by its place among the names. */
  column(at: number): Float64Array;
  /** Clocks that are written as dates, and are given in seconds. */
  readonly dates: ReadonlySet<number>;
  /** Clocks that are no numbers. */
  readonly unread: ReadonlySet<number>;
  /** Where row i came from, for messages: "imu.csv:17". */
  where(row: number): string;
  /** Lines that were no rows, and were left out because that was asked for. */
  readonly linesLeftOut?: number;
}

/** What to read of a table whose columns are called so. */
export interface Wanted {
  places: readonly number[];
  /** Those of the places that are clocks, of which one that can be read will do. */
  clocks: readonly number[];
}
export interface CsvPlan<C extends Wanted> {
  choose(names: readonly string[]): C;
  isNames(cells: readonly string[]): boolean;
  isUnit(cell: string): boolean;
  /** Names for a file without any; undefined where nobody knows them. */
  nameless(cells: readonly string[], separator: string): readonly string[] | undefined;
  /** Leaves out lines that are cut off. */
  drop: boolean;
}

interface Line {
  line: string;
  number: number;
}

const ROWS_A_TURN = 4096;
/** Devices write about themselves before the names. */
const MOST_BEFORE_NAMES = 64;
/** A name takes some time to be read. */
const MOST_CELLS_BEFORE_ROWS = 8192;

export async function readCsv<C extends Wanted>(
  text: string,
  what: string,
  plan: CsvPlan<C>,
  { signal }: { signal?: AbortSignal | undefined },
): Promise<{ table: Table; choice: C }> {
  const head = headOf(text, what, plan);
  const { separator, width } = head;
  let { names } = head;
  let choice = plan.choose(names);
  const lines = linesOf(text, head.from, head.number);
  let next = lines.next();
  if (!next.done) {
    const cells = cellsOf(next.value.line, separator);
    if (choice.places.length && cells.length === width && choice.places.every((at) => plan.isUnit(cells[at]!))) {
      names = names.map((name, at) => (plan.isUnit(cells[at]!) ? `${name} (${cells[at]})` : name));
      choice = plan.choose(names);
      next = lines.next();
    }
  }
  const clocks = new Set(choice.clocks);
  const places = [...new Set(choice.places)];
  const columns = new Map(places.map((at) => [at, new Column(clocks.has(at))]));
  const numbers: number[] = [];
  let linesLeftOut = 0;
  for (let count = 0; !next.done; next = lines.next(), ++count) {
    if (count % ROWS_A_TURN === 0) {
      await turn();
      signal?.throwIfAborted();
    }
    const { line, number } = next.value;
    const cells = cellsOf(line, separator);
    if (cells.length !== width && !(cells.length === width + 1 && cells.at(-1) === "")) {
      if (!plan.drop)
        throw bad(
          `${what}:${number}`,
          `${width} cells, as in the first line`,
          `${cells.length}`,
          'correct the line, or leave such lines out with the option missing: "drop"',
        );
      ++linesLeftOut;
      continue;
    }
    for (const [at, column] of columns) {
      const problem = column.add(cells[at]!, separator);
      if (problem)
        throw bad(
          `${what}:${number}`,
          `a number in the column "${names[at]}"`,
          JSON.stringify(problem),
          "correct the cell, or remove the line",
        );
    }
    numbers.push(number);
  }
  const whole = new Map([...columns].map(([at, column]) => [at, column.values(numbers.length)]));
  const those = (is: (column: Column) => boolean) => new Set(places.filter((at) => is(columns.get(at)!)));
  const table: Table = {
    names,
    rows: numbers.length,
    column: (at) => whole.get(at)!,
    dates: those((column) => column.isDates),
    unread: those((column) => column.isUnread),
    where: (row) => `${what}:${numbers[row]}`,
    ...(linesLeftOut && { linesLeftOut }),
  };
  return { table, choice };
}

interface Head {
  names: readonly string[];
  separator: string;
  width: number;
  nameless: boolean;
  /** Where rows begin: of the text, and lines before. */
  from: number;
  number: number;
}

function headOf<C extends Wanted>(text: string, what: string, plan: CsvPlan<C>): Head {
  let first: (Line & { separator: string; cells: string[]; start: number; end: number }) | undefined;
  let told: string | undefined;
  let comment: string | undefined;
  let [looked, seen] = [0, 0];
  let at = text.charCodeAt(0) === 0xfeff ? 1 : 0;
  for (let number = 1; at < text.length && looked < MOST_BEFORE_NAMES && seen < MOST_CELLS_BEFORE_ROWS; ++number) {
    const start = at;
    const { line, end } = lineAt(text, start);
    at = end;
    if (isComment(line)) {
      if (!first && /\S/.test(line)) comment = line.replace(/^\s*[#%]+\s*/, "");
      continue;
    }
    const announced = /^"?sep=(.)"?[,;\s]*$/i.exec(line)?.[1];
    if (announced) {
      told = announced;
      continue;
    }
    ++looked;
    const separator = told && line.includes(told) ? told : separatorOf(line);
    const cells = cellsOf(line, separator);
    seen += cells.length;
    first ??= { line, number, separator, cells, start, end };
    const isRow = isNumbers(cells, separator);
    if (isRow && first.number === number) break;
    if (!isRow && cells.length > 1 && plan.isNames(cells))
      return { names: cells, separator, width: cells.length, nameless: false, from: at, number };
  }
  if (!first) throw bad(what, "a first line that names the columns", "no line", "check how the file was written");
  const { cells, separator, number, start, end } = first;
  if (!isNumbers(cells, separator)) return { names: cells, separator, width: cells.length, nameless: false, from: end, number };
  const commented = comment === undefined ? [] : cellsOf(comment, separatorOf(comment));
  const width = cells.at(-1) === "" ? cells.length - 1 : cells.length;
  const names = commented.length === width && plan.isNames(commented) ? commented : plan.nameless(cells.slice(0, width), separator);
  if (!names)
    throw bad(
      `${what}:${number}`,
      "names of the columns",
      "numbers",
      'put a line like "time,ax,ay,az,gx,gy,gz" before them, or count the columns from 1 in the option columns: { time: 1, ax: 2, ay: 3, az: 4, gx: 5, gy: 6, gz: 7 }',
    );
  return { names, separator, width: names.length, nameless: true, from: start, number: number - 1 };
}

const isNumbers = (cells: readonly string[], separator: string): boolean => {
  const own = cells.at(-1) === "" ? cells.slice(0, -1) : cells;
  return (
    own.length > 0 &&
    own.every((cell) => isMissing(cell) || Number.isFinite(numberOf(cell, separator))) &&
    own.some((cell) => !isMissing(cell))
  );
};

const isComment = (line: string): boolean => /^\s*(?:[#%]|$)/.test(line);

function lineAt(text: string, at: number): { line: string; end: number } {
  let end = text.indexOf("\n", at);
  if (end < 0) end = text.length;
  return { line: text.slice(at, text[end - 1] === "\r" && end > at ? end - 1 : end), end: end + 1 };
}

function* linesOf(text: string, from: number, before: number): Generator<Line> {
  let number = before;
  for (let at = from; at < text.length; ) {
    const { line, end } = lineAt(text, at);
    ++number;
    at = end;
    if (!isComment(line)) yield { line, number };
  }
}

function separatorOf(line: string): string {
  const count = (mark: string) => line.split(mark).length;
  const best = [",", ";", "\t"].reduce((one, mark) => (count(mark) > count(one) ? mark : one));
  return line.includes(best) || !/\S\s+\S/.test(line) ? best : " ";
}

function cellsOf(line: string, separator: string): string[] {
  if (separator === " " && !line.includes('"')) return line.trim().split(/\s+/);
  if (!line.includes('"')) return line.split(separator).map((cell) => cell.trim());
  const cells: string[] = [];
  let [cell, quoted] = ["", false];
  for (let i = 0; i < line.length; ++i) {
    const c = line[i]!;
    if (c === '"' && quoted && line[i + 1] === '"') cell += line[++i];
    else if (c === '"') quoted = !quoted;
    else if (c === separator && !quoted) {
      if (separator !== " " || cell) cells.push(cell.trim());
      cell = "";
    } else cell += c;
  }
  return [...cells, cell.trim()];
}

function bad(where: string, wanted: string, got: string, remedy: string): MediaError {
  return new MediaError("E_MEDIA_FORMAT", where, wanted, got, remedy);
}
