// CSV with a header (RFC 4180): quoted fields may hold delimiters, doubled quotes and line ends.
import { notUtf8, type Piece } from "./lines.js";
import { DataError } from "./row.js";

export interface CsvRow {
  /** The line on which it begins. */
  number: number;
  fields: Record<string, string>;
}

/** A quote that nobody closes would swallow the rest of the file. */
const MAX_LINES = 1000;

/**
 * Rows by the names of the header. A row that is wrong comes as its error, and reading goes on with the line after the one where it began, so that
 * a stray quote costs one row. The delimiter is a comma, or where the header has none, a tab, a semicolon or a bar.
 */
export async function* csvRows(path: string, lines: AsyncIterable<Piece>): AsyncGenerator<CsvRow | DataError> {
  const cutter = new CsvCutter(path);
  for await (const { number, bytes } of lines) for (const { row } of cutter.add(number, bytes)) yield row;
  for (const { row } of cutter.end()) yield row;
}

interface Line {
  number: number;
  text: string | undefined;
  /** Of a line that is no text. */
  bytes?: Uint8Array | undefined;
}
interface Cut {
  row: CsvRow | DataError;
  /** On which it begins and ends. */
  first: number;
  last: number;
}

/** Cuts lines into rows. */
export class CsvCutter {
  /** Of the columns, once the header was met. */
  names: readonly string[] | undefined;
  delimiter = ",";
  #waiting: Line[] = []; // lines of a record that is not whole yet
  readonly #utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

  constructor(
    private readonly path: string,
    /** Of lines from further down the file. */
    header?: { names: readonly string[]; delimiter: string },
  ) {
    if (header) [this.names, this.delimiter] = [header.names, header.delimiter];
  }

  /** Are there lines that belong to the next one? */
  get open(): boolean {
    return this.#waiting.length > 0;
  }

  *add(number: number, bytes: Uint8Array | undefined): Generator<Cut> {
    const text = decoded(this.#utf8, bytes);
    if (!this.names && !this.#waiting.length && text !== undefined)
      this.delimiter = text.includes(",") ? "," : (text.match(/[\t;|]/)?.[0] ?? ",");
    this.#waiting.push({ number, text, ...(text === undefined && { bytes: bytes?.slice(0, 1 << 16) }) });
    yield* this.#settle(false);
  }
  end(): Generator<Cut> {
    return this.#settle(true);
  }

  *#settle(atEnd: boolean): Generator<Cut> {
    const { path } = this;
    const wrong = (number: number, expected: string, got: string, remedy: string) =>
      new DataError("E_ROW", path, number, expected, got, remedy);
    while (this.#waiting.length) {
      const [{ number, text }] = this.#waiting as [Line];
      const record = text === undefined ? undefined : parse(this.#waiting, this.delimiter);
      if (record?.open && !atEnd && this.#waiting.length < MAX_LINES) return;
      if (!record || record.open || record.problem) {
        const problem = record
          ? wrong(number, "quotes in pairs around a field", record.problem ?? "one that is not closed", 'double a quote within a field: ""')
          : wrong(number, "a line of UTF-8", ...notUtf8(this.#waiting[0]?.bytes));
        this.#waiting.shift();
        if (!this.names) throw new DataError("E_DATA", path, undefined, "a header that names the columns", problem.got, problem.remedy);
        yield { row: problem, first: number, last: number };
        continue;
      }
      const last = this.#waiting[record.lines - 1] as Line;
      this.#waiting = this.#waiting.slice(record.lines);
      if (record.fields.length === 1 && !record.fields[0]?.trim()) continue; // an empty line
      const { names } = this;
      const cut = { first: number, last: last.number };
      if (!names) this.names = header(path, record.fields);
      else if (record.fields.length !== names.length) {
        const remedy = "quote a field that holds a delimiter";
        yield { row: wrong(number, `${names.length} fields as in the header`, `${record.fields.length}`, remedy), ...cut };
      } else yield { row: { number, fields: Object.fromEntries(names.map((name, i) => [name, record.fields[i] as string])) }, ...cut };
    }
  }
}

interface Parsed {
  fields: string[];
  /** How many lines it took. */
  lines: number;
  /** A quote waits for its partner. */
  open: boolean;
  problem?: string;
}

function parse(lines: readonly Line[], delimiter: string): Parsed {
  const fields: string[] = [];
  let [at, line, text] = [0, 0, lines[0]!.text!];
  for (;;) {
    let field = "";
    if (text[at] === '"') {
      for (++at; ; ) {
        const quote = text.indexOf('"', at);
        if (quote >= 0) {
          field += text.slice(at, quote);
          at = quote + 1;
          if (text[at] !== '"') break;
          field += '"';
          ++at;
          continue;
        }
        const next = lines[++line];
        if (next?.text === undefined) return { fields, lines: line, open: true };
        field += `${text.slice(at)}\n`;
        [at, text] = [0, next.text];
      }
      if (at < text.length && text[at] !== delimiter)
        return { fields, lines: line + 1, open: false, problem: `${JSON.stringify(text.slice(at, at + 20))} after a closing one` };
    } else {
      const end = text.indexOf(delimiter, at);
      field = text.slice(at, end < 0 ? text.length : end);
      at = end < 0 ? text.length : end;
    }
    fields.push(field);
    if (at >= text.length) return { fields, lines: line + 1, open: false };
    ++at;
  }
}

function header(path: string, fields: readonly string[]): string[] {
  const names = fields.map((name) => name.trim());
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined)
    throw new DataError("E_DATA", path, undefined, "a header that names each column once", `${JSON.stringify(twice)} twice`, "rename one");
  return names;
}

function decoded(utf8: InstanceType<typeof TextDecoder>, bytes: Uint8Array | undefined): string | undefined {
  try {
    return bytes && utf8.decode(bytes);
  } catch {
    return undefined;
  }
}
