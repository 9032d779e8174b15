// Data files as records, the same for all kinds of rows: JSONL, a JSON list, CSV; and what happens to a bad one.
import { extname } from "node:path";
import { Turns } from "../core/turns.js";
import { reasonOf } from "../media/error.js";
import { csvRows } from "./csv.js";
import { entriesOf, firstByte, linesOf, MAX_PIECE, type Piece } from "./lines.js";
import { DataError, type Row } from "./row.js";

export interface DataRecord {
  number: number;
  fields: Readonly<Record<string, unknown>>;
}

/** What to do with a row that is wrong. */
export interface BadRowOptions {
  /** "throw" (the default): reading ends with the first one. "skip": the others are kept; without onProblem a warning counts what was left out. */
  onBadRow?: "throw" | "skip";
  /** Is given every problem of rows that were skipped. */
  onProblem?: (problem: DataError) => void;
}

const TABLES = [".csv", ".tsv"];
const KNOWN = [...TABLES, ".jsonl", ".ndjson", ".json", ".txt", ""];

/** Every record, or what is wrong with it. Throws E_DATA when the file as a whole is of no use. */
export async function* recordsOf(path: string, signal?: AbortSignal): AsyncGenerator<DataRecord | DataError> {
  const kind = extname(path).toLowerCase();
  if (!KNOWN.includes(kind))
    throw new DataError("E_DATA", path, undefined, "a .jsonl, .json, .csv or .tsv file", `a ${kind} file`, "convert it to JSONL");
  const first = await firstByte(path);
  if (first === undefined) throw new DataError("E_DATA", path, undefined, "at least one row", "an empty file", "check how it was written");
  if (TABLES.includes(kind)) yield* csvRows(path, linesOf(path, signal));
  else yield* parsed(path, first === 0x5b ? entriesOf(path, signal) : linesOf(path, signal));
}

async function* parsed(path: string, pieces: AsyncIterable<Piece>): AsyncGenerator<DataRecord | DataError> {
  const utf8 = new TextDecoder("utf-8", { fatal: true });
  for await (const { number, bytes } of pieces) {
    const wrong = (got: string, remedy: string) => new DataError("E_ROW", path, number, "one JSON object", got, remedy);
    if (!bytes) {
      yield wrong(`more than ${MAX_PIECE} bytes`, "write one object a line, and media as files");
      continue;
    }
    try {
      const text = utf8.decode(bytes);
      if (!text.trim()) continue;
      const fields: unknown = JSON.parse(text);
      yield isFields(fields) ? { number, fields } : wrong(shown(fields), "one row is {…}");
    } catch (cause) {
      yield wrong(`text that does not parse (${reasonOf(cause)})`, "see that line, or leave it out with onBadRow: 'skip'");
    }
  }
}

export const isFields = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** A value for a message: never more than a few words, never walked into. */
export function shown(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (isFields(value)) return `an object with ${keysOf(value)}`;
  return value === undefined ? "nothing" : String(value);
}

export function keysOf(fields: Readonly<Record<string, unknown>>): string {
  const keys = Object.keys(fields);
  return keys.length ? `${keys.slice(0, 12).join(", ")}${keys.length > 12 ? ", …" : ""}` : "no keys";
}

/**
 * Makes rows of records, several at a time, in their order. `make` throws the DataError of a bad row.
 */
export async function collect(
  path: string,
  records: AsyncIterable<DataRecord | DataError>,
  make: (record: DataRecord) => Promise<Row>,
  options: BadRowOptions,
): Promise<Row[]> {
  const rows: Row[] = [];
  const problems = new Problems(path, options);
  let waiting: Promise<Row | DataError>[] = [];
  const turns = new Turns();
  const settle = async () => {
    for (const made of await Promise.all(waiting)) {
      if (made instanceof DataError) problems.add(made);
      else rows.push(made);
    }
    waiting = [];
  };
  for await (const record of records) {
    waiting.push(record instanceof DataError ? Promise.resolve(record) : make(record).catch(onlyData));
    if (waiting.length < 64) continue;
    await settle();
    await turns.next(); // rows that wait for nothing come without one
  }
  await settle();
  problems.finish(rows.length);
  return rows;
}

function onlyData(cause: unknown): DataError {
  if (cause instanceof DataError) return cause;
  throw cause;
}

class Problems {
  #count = 0;
  #first: DataError | undefined;

  constructor(
    private readonly path: string,
    private readonly options: BadRowOptions,
  ) {
    const { onBadRow = "throw" } = options;
    if (onBadRow !== "throw" && onBadRow !== "skip")
      throw new DataError("E_DATA", path, undefined, `onBadRow "throw" or "skip"`, shown(onBadRow), "pass one of these");
  }

  add(problem: DataError): void {
    if (this.options.onBadRow !== "skip") throw problem;
    this.#first ??= problem;
    this.#count++;
    this.options.onProblem?.(problem);
  }

  finish(rows: number): void {
    if (!rows) {
      const got = this.#first ? `${this.#count} bad ones; the first: ${this.#first.message}` : "none";
      throw new DataError("E_DATA", this.path, undefined, "at least one good row", got, "mend the file");
    }
    if (this.#first && !this.options.onProblem)
      process.emitWarning(`${this.path}: ${this.#count} of ${rows + this.#count} rows left out; the first: ${this.#first.message}`, {
        code: "E_ROW",
      });
  }
}
