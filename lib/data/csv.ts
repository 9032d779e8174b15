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
  let names: string[] | undefined;
  let delimiter = ",";
  let waiting: Line[] = []; // lines of a record that is not whole yet
  const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const wrong = (number: number, expected: string, got: string, remedy: string) =>
    new DataError("E_ROW", path, number, expected, got, remedy);

  function* settle(atEnd: boolean): Generator<CsvRow | DataError> {
    while (waiting.length) {
      const [{ number, text }] = waiting as [Line];
      const record = text === undefined ? undefined : parse(waiting, delimiter);
      if (record?.open && !atEnd && waiting.length < MAX_LINES) return;
      if (!record || record.open || record.problem) {
        const problem = record
          ? wrong(number, "quotes in pairs around a field", record.problem ?? "one that is not closed", 'double a quote within a field: ""')
          : wrong(number, "a line of UTF-8", ...notUtf8(waiting[0]!.bytes));
        waiting.shift();
        if (names) yield problem;
        else throw new DataError("E_DATA", path, undefined, "a header that names the columns", problem.got, problem.remedy);
        continue;
      }
      waiting = waiting.slice(record.lines);
      if (record.fields.length === 1 && !record.fields[0]!.trim()) continue; // an empty line
      if (!names) names = header(path, record.fields);
      else if (record.fields.length !== names.length)
        yield wrong(number, `${names.length} fields as in the header`, `${record.fields.length}`, "quote a field that holds a delimiter");
      else yield { number, fields: Object.fromEntries(names.map((name, i) => [name, record.fields[i]!])) };
    }
  }

  for await (const { number, bytes } of lines) {
    const text = decoded(utf8, bytes);
    if (!names && !waiting.length && text !== undefined) delimiter = text.includes(",") ? "," : (text.match(/[\t;|]/)?.[0] ?? ",");
    waiting.push({ number, text, ...(text === undefined && { bytes: bytes?.slice(0, 1 << 16) }) });
    yield* settle(false);
  }
  yield* settle(true);
}

interface Line {
  number: number;
  text: string | undefined;
  /** Of a line that is no text. */
  bytes?: Uint8Array | undefined;
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
