// Tables of numbers as text: comma, semicolon or tab between cells, the first line names the columns, lines from # or % are comments.
import { setImmediate as turn } from "node:timers/promises";
import { MediaError } from "./error.js";
import type { Loading } from "./source.js";

export interface Table {
  /** The columns that were asked for, in that order. */
  columns: Float64Array[];
  /** Where row i came from, for messages: "imu.csv:17". */
  where: (row: number) => string;
}

const ROWS_A_TURN = 4096;

/** `choose` gets the names in the first line and says which columns to read; the others may hold anything. */
export async function readCsv<C extends { places: readonly number[] }>(
  text: string,
  what: string,
  choose: (names: string[]) => C,
  loading: Loading,
): Promise<{ table: Table; choice: C }> {
  const lines = linesOf(text);
  const first = lines.next();
  if (first.done) throw bad(what, "a first line that names the columns", "no line", "check how the file was written");
  const separator = separatorOf(first.value.line);
  const names = cellsOf(first.value.line, separator);
  if (names.every((name) => name !== "" && Number.isFinite(numberOf(name, separator))))
    throw bad(`${what}:${first.value.number}`, "names of the columns", "numbers", 'put a line like "time,ax,ay,az,gx,gy,gz" before them');
  const choice = choose(names);
  const { places } = choice;
  let columns = places.map(() => new Float64Array(1024));
  const numbers: number[] = [];
  for (const { line, number } of lines) {
    const row = numbers.length;
    if (row % ROWS_A_TURN === 0) {
      await turn();
      loading.signal?.throwIfAborted();
    }
    if (row === columns[0]!.length) columns = columns.map((column) => grown(column));
    const cells = cellsOf(line, separator);
    if (cells.length !== names.length && !(cells.length === names.length + 1 && cells.at(-1) === ""))
      throw bad(`${what}:${number}`, `${names.length} cells, as in the first line`, `${cells.length}`, "correct the line, or remove it");
    for (const [k, at] of places.entries()) {
      const value = numberOf(cells[at]!, separator);
      if (!Number.isFinite(value))
        throw bad(
          `${what}:${number}`,
          `a number in the column "${names[at]}"`,
          cells[at] === "" ? "an empty cell" : JSON.stringify(cells[at]),
          "correct the cell, or remove the line",
        );
      columns[k]![row] = value;
    }
    numbers.push(number);
  }
  const where = (row: number) => `${what}:${numbers[row]}`;
  return { table: { columns: columns.map((column) => column.subarray(0, numbers.length)), where }, choice };
}

function* linesOf(text: string): Generator<{ line: string; number: number }> {
  let number = 0;
  for (let at = text.charCodeAt(0) === 0xfeff ? 1 : 0; at < text.length; ) {
    let end = text.indexOf("\n", at);
    if (end < 0) end = text.length;
    const line = text.slice(at, text[end - 1] === "\r" ? end - 1 : end);
    ++number;
    at = end + 1;
    if (!/^\s*(?:[#%]|$)/.test(line)) yield { line, number };
  }
}

function separatorOf(line: string): string {
  const count = (mark: string) => line.split(mark).length;
  return [",", ";", "\t"].reduce((best, mark) => (count(mark) > count(best) ? mark : best));
}

function cellsOf(line: string, separator: string): string[] {
  if (!line.includes('"')) return line.split(separator).map((cell) => cell.trim());
  const cells: string[] = [];
  let [cell, quoted] = ["", false];
  for (let i = 0; i < line.length; ++i) {
    const c = line[i]!;
    if (c === '"' && quoted && line[i + 1] === '"') cell += line[++i];
    else if (c === '"') quoted = !quoted;
    else if (c === separator && !quoted) {
      cells.push(cell.trim());
      cell = "";
    } else cell += c;
  }
  return [...cells, cell.trim()];
}

// Number("") is 0. Where commas do not part cells, they may stand for decimal points.
function numberOf(cell: string, separator: string): number {
  if (cell === "") return Number.NaN;
  return Number(separator !== "," && /^[-+]?\d*,\d+(e[-+]?\d+)?$/i.test(cell) ? cell.replace(",", ".") : cell);
}

function grown(column: Float64Array): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(column.length * 2);
  larger.set(column);
  return larger;
}

function bad(where: string, wanted: string, got: string, remedy: string): MediaError {
  return new MediaError("E_MEDIA_FORMAT", where, wanted, got, remedy);
}
