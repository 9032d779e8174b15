// Data files as records, the same for all kinds of rows: JSONL, a JSON list, CSV; and what happens to a bad one.
import { extname } from "node:path";
import { warn } from "../core/notice.js";
import { Turns } from "../core/turns.js";
import { reasonOf } from "../media/error.js";
import { BUILT_IN, type Kinds } from "../media/kinds/index.js";
import { csvRows } from "./csv.js";
import { entriesOf, firstLine, linesOf, MAX_PIECE, notUtf8, type Piece } from "./lines.js";
import { DataError, type Row } from "./row.js";

export interface DataRecord {
  number: number;
  fields: Readonly<Record<string, unknown>>;
  /** A row of a table: all rows have the same columns. */
  table?: boolean;
}

/** What to do with a row that is wrong. */
export interface BadRowOptions {
  /** "throw" (the default): reading ends with the first one. "skip": the others are kept; without onProblem a warning counts what was left out. */
  onBadRow?: "throw" | "skip";
  /** Is given every problem of rows that were skipped. */
  onProblem?: (problem: DataError) => void;
}

export const BAD_ROW_OPTIONS = { onBadRow: true, onProblem: true } as const satisfies Record<keyof BadRowOptions, true>;

const TABLES = [".csv", ".tsv"];
const LISTS = [".jsonl", ".ndjson", ".json"];
const KNOWN = [...TABLES, ...LISTS, ".txt", ""];
/** Names that a table's header holds, beside those of kinds of media. */
const COLUMNS = "caption|text|file_name|path|prompt|question|answer|label|id";

/** Every record, or what is wrong with it. Throws E_DATA when the file as a whole is of no use. */
export async function* recordsOf(path: string, signal?: AbortSignal, kinds: Kinds = BUILT_IN): AsyncGenerator<DataRecord | DataError> {
  switch (await formOf(path, kinds)) {
    case "list":
      return yield* parsed(path, entriesOf(path, signal));
    case "lines":
      return yield* parsed(path, linesOf(path, signal));
    default:
      for await (const row of csvRows(path, linesOf(path, signal))) yield row instanceof DataError ? row : { ...row, table: true };
  }
}

const remedyOf = (ending: string): string => ([".gz", ".zst", ".zip", ".tgz"].includes(ending) ? "unpack it first" : "convert it to JSONL");

/** By the beginning of the file, since names promise what they like: Flickr's captions.txt is a table. */
export async function formOf(path: string, kinds: Kinds): Promise<"list" | "lines" | "table"> {
  const ending = extname(path).toLowerCase();
  if (!KNOWN.includes(ending))
    throw new DataError("E_DATA", path, undefined, "a .jsonl, .json, .csv or .tsv file", `a ${ending} file`, remedyOf(ending));
  const line = await firstLine(path);
  if (line === undefined) throw new DataError("E_DATA", path, undefined, "at least one row", "an empty file", "check how it was written");
  if (line.startsWith("[")) return TABLES.includes(ending) && !/^\[\s*([\]{]|$)/.test(line) ? "table" : "list";
  if (line.startsWith("{")) return TABLES.includes(ending) && !/^\{\s*"/.test(line) ? "table" : "lines";
  if (TABLES.includes(ending)) return "table";
  const column = new RegExp(`^(${[...kinds.keys()].join("|")}|${COLUMNS})s?$`, "i");
  const names = line.split(/[,\t;|]/).map((name) => name.trim().replace(/^"(.*)"$/, "$1"));
  if (names.length > 1 && names.some((name) => column.test(name))) return "table";
  if (LISTS.includes(ending)) return "lines"; // each line will say what is wrong with it
  const wanted = "JSON objects, one a line, or a table whose first line names the columns";
  throw new DataError("E_DATA", path, undefined, wanted, `text that begins with ${shown(line)}`, "write image,caption into the first line");
}

async function* parsed(path: string, pieces: AsyncIterable<Piece>): AsyncGenerator<DataRecord | DataError> {
  for await (const piece of pieces) {
    const record = parsedObject(path, piece);
    if (record) yield record;
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** What a piece of JSON says, or what is wrong with it; undefined of a blank one. */
export function parsedObject(path: string, { number, bytes }: Piece): DataRecord | DataError | undefined {
  const wrong = (got: string, remedy: string) => new DataError("E_ROW", path, number, "one JSON object", got, remedy);
  if (!bytes) return wrong(`more than ${MAX_PIECE} bytes`, "write one object a line, and media as files");
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    return new DataError("E_ROW", path, number, "one JSON object in UTF-8", ...notUtf8(bytes));
  }
  try {
    if (!text.trim()) return undefined;
    const fields: unknown = JSON.parse(text);
    return isFields(fields) ? { number, fields } : wrong(shown(fields), "one row is {…}");
  } catch (cause) {
    return wrong(`text that does not parse (${reasonOf(cause)})`, "see that line, or leave it out with onBadRow: 'skip'");
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

export class Problems {
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

  /** Rows that were left out. */
  get count(): number {
    return this.#count;
  }

  finish(rows: number): void {
    if (!rows) {
      const got = this.#first ? `${this.#count} bad ones; the first: ${this.#first.message}` : "none";
      throw new DataError("E_DATA", this.path, undefined, "at least one good row", got, "mend the file");
    }
    if (this.#first && !this.options.onProblem)
      warn("E_ROW", `${this.path}: ${this.#count} of ${rows + this.#count} rows left out; the first: ${this.#first.message}`);
  }
}
