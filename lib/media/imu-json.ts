// Recordings as JSON: rows (arrays or objects; also one a line), columns, or { samples, sampleRate } around one of them.
import type { Table } from "./csv.js";
import { MediaError, reasonOf } from "./error.js";
import type { Matrix } from "./npy.js";

export type ImuJson = ({ matrix: Matrix } | { names: string[]; table: (places: number[]) => Table }) & { sampleRate?: number };

const RATES = ["sampleRate", "sample_rate", "samplingRate", "sampling_rate", "rate", "frequency", "hz", "fs"];
const BODIES = ["samples", "data", "rows", "records"];
const EXAMPLE = '[{ "time": 0, "ax": 0.1, "ay": 0, "az": 9.8, "gx": 0, "gy": 0, "gz": 0 }, …] is read';
const KINDS = "an array of rows, an object of columns, or { samples, sampleRate }";

export function readImuJson(text: string, what: string): ImuJson {
  const value = parsed(text, what);
  if (!isObject(value)) return tableOf(value, what);
  const body = BODIES.map((key) => value[key]).find((inner) => typeof inner === "object" && inner !== null);
  const rate = RATES.map((key) => value[key]).find((v) => v !== undefined);
  if (rate !== undefined && !(typeof rate === "number" && Number.isFinite(rate) && rate > 0))
    throw bad(what, "a sampleRate above 0", JSON.stringify(rate), "give it in Hz");
  return { ...tableOf(body ?? value, what), ...(typeof rate === "number" && { sampleRate: rate }) };
}

// One value, or one row a line.
function parsed(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const lines = text.split("\n").flatMap((line, i) => (line.trim() ? [{ line, number: i + 1 }] : []));
    if (lines.length < 2 || !/^\s*[[{].*[\]}]\s*$/.test(lines[0]!.line))
      throw bad(what, "JSON", reasonOf(cause), "check how it was written");
    return lines.map(({ line, number }) => {
      try {
        return JSON.parse(line);
      } catch (reason) {
        throw bad(`${what}:${number}`, "a row of JSON", reasonOf(reason), "correct the line, or remove it");
      }
    });
  }
}

function tableOf(value: unknown, what: string): ImuJson {
  if (isObject(value)) {
    const columns = Object.entries(flat(value)).filter((entry): entry is [string, unknown[]] => Array.isArray(entry[1]));
    if (!columns.length) throw bad(what, KINDS, `an object of ${Object.keys(value).join(", ") || "nothing"}`, EXAMPLE);
    const rows = columns[0]![1].length;
    for (const [name, { length }] of columns)
      if (length !== rows) throw bad(what, `${rows} values in every column`, `${length} in "${name}"`, "make them equally long");
    return named(columns.map(([name]) => name), rows, (row, at) => columns[at]![1][row], what); // biome-ignore format: short
  }
  if (!Array.isArray(value) || !value.length) throw bad(what, KINDS, Array.isArray(value) ? "no rows" : typeof value, EXAMPLE);
  if (value.every(isObject)) {
    const names = Object.keys(flat(value[0]!));
    const rows = value.map((row) => flat(row));
    return named(names, rows.length, (row, at) => rows[row]![names[at]!], what);
  }
  const width = Array.isArray(value[0]) ? value[0].length : 0;
  const values = new Float64Array(value.length * width);
  for (const [i, row] of value.entries()) {
    if (!Array.isArray(row) || row.length !== width || !width)
      throw bad(`${what}, row ${i}`, `an array of ${width || 6} numbers`, short(row), "correct the row, or remove it");
    for (const [j, cell] of row.entries()) values[i * width + j] = numberAt(cell, `${what}, row ${i}`, `[${j}]`);
  }
  return { matrix: { values, shape: [value.length, width] } };
}

function named(names: string[], rows: number, cell: (row: number, at: number) => unknown, what: string): ImuJson {
  const where = (row: number) => `${what}, row ${row}`;
  const table = (places: number[]): Table => ({
    columns: places.map((at) => Float64Array.from({ length: rows }, (_, row) => numberAt(cell(row, at), where(row), `"${names[at]}"`))),
    where,
  });
  return { names, table };
}

/** { acc: { x: 1 } } → { "acc.x": 1 } */
function flat(value: Record<string, unknown>, depth = 3): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const [key, inner] of Object.entries(value)) {
    if (!isObject(inner) || depth === 0) out[key] = inner;
    else for (const [name, leaf] of Object.entries(flat(inner, depth - 1))) out[`${key}.${name}`] = leaf;
  }
  return out;
}

function numberAt(value: unknown, where: string, name: string): number {
  if (typeof value === "number" && Number.isFinite(value)) return value;
  throw bad(where, `a number in ${name}`, short(value), "correct it, or remove the row");
}

const short = (value: unknown): string => (JSON.stringify(value) ?? String(value)).slice(0, 60);
const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);

function bad(where: string, wanted: string, got: string, remedy: string): MediaError {
  return new MediaError("E_MEDIA_FORMAT", where, wanted, got, remedy);
}
