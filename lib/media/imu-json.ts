// Recordings as JSON: rows (arrays or objects; also one a line), columns, or { samples, sampleRate } around one of them; of one sensor after another too.
import { shown } from "../core/checks.js";
import { Column } from "./cells.js";
import type { Table, Wanted } from "./csv.js";
import { MediaError, reasonOf } from "./error.js";
import { type SensorOf, sensorOfName, timeName } from "./imu-names.js";
import type { Matrix } from "./npy.js";

/** Names, and the columns once it is known which of them are wanted. */
export interface JsonTable {
  names: string[];
  /** The sensor that a key or a value names, where the columns are x, y, z. */
  sensor?: SensorOf;
  read(wanted: Wanted): Table;
}
export type ImuJson = ({ matrix: Matrix } | { tables: JsonTable[] }) & { sampleRate?: number };

const RATES = ["sampleRate", "sample_rate", "samplingRate", "sampling_rate", "rate", "frequency", "hz", "fs"];
const BODIES = ["samples", "data", "rows", "records", "payload", "readings", "measurements"];
/** What rows call the sensor that they are of. */
const SENSORS = ["sensor", "sensorName", "sensor_name", "sensorType", "sensor_type", "type", "name"];
const EXAMPLE = '[{ "time": 0, "ax": 0.1, "ay": 0, "az": 9.8, "gx": 0, "gy": 0, "gz": 0 }, …] is read';
const KINDS = "an array of rows, an object of columns, or { samples, sampleRate }";
type Fields = Record<string, unknown>;

export function readImuJson(text: string, what: string): ImuJson {
  const value = parsed(text.charCodeAt(0) === 0xfeff ? text.slice(1) : text, what);
  if (!isObject(value)) return contentOf(value, what);
  const body = BODIES.map((key) => value[key]).find((inner) => typeof inner === "object" && inner !== null);
  const given = RATES.map((key) => value[key]).find((v) => v !== undefined && !Array.isArray(v));
  const rate = typeof given === "string" && given.trim() ? Number(given) : given;
  if (rate !== undefined && !(typeof rate === "number" && Number.isFinite(rate) && rate > 0))
    throw bad(what, "a sampleRate above 0", short(given), "give it in Hz");
  return { ...contentOf(body ?? value, what), ...(typeof rate === "number" && { sampleRate: rate }) };
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

function contentOf(value: unknown, what: string): ImuJson {
  if (isObject(value)) {
    const apart = bySensor(value, what);
    return { tables: apart.length ? apart : [columnsTable(value, what)] };
  }
  if (!Array.isArray(value) || !value.length) throw bad(what, KINDS, Array.isArray(value) ? "no rows" : typeof value, EXAMPLE);
  return value.every(isObject) ? { tables: rowTables(value, what) } : { matrix: matrixOf(value, what) };
}

/** { accelerometer: [{ t, x, y, z }, …], gyroscope: [… ] } */
function bySensor(value: Fields, what: string): JsonTable[] {
  return Object.entries(value).flatMap(([key, inner]) => {
    const sensor = sensorOfName(key);
    const content = isObject(inner) ? (BODIES.map((name) => inner[name]).find(Array.isArray) ?? inner) : inner;
    if (!sensor) return [];
    if (Array.isArray(content) && content.length && content.every(isObject)) return [{ ...rowsTable(content, `${what}, ${key}`), sensor }];
    if (isObject(content) && Object.entries(content).some(([name, column]) => Array.isArray(column) && timeName(name)))
      return [{ ...columnsTable(content, `${what}, ${key}`), sensor }];
    return [];
  });
}

/** Rows of one table, or of several sensors by turns. */
function rowTables(rows: readonly Fields[], what: string): JsonTable[] {
  const key = SENSORS.find((name) => rows.some((row) => typeof row[name] === "string" && sensorOfName(row[name])));
  if (!key) return [rowsTable(rows, what)];
  const groups = new Map<string, { row: Fields; number: number }[]>();
  for (const [number, row] of rows.entries()) {
    const name = row[key];
    if (typeof name !== "string" || !sensorOfName(name)) continue;
    const group = groups.get(name) ?? [];
    group.push({ row, number });
    groups.set(name, group);
  }
  return [...groups].map(([name, group]) => {
    const table = rowsTable(group.map(({ row }) => row), what, (at) => group[at]!.number); // biome-ignore format: short
    return { ...table, sensor: sensorOfName(name)! };
  });
}

function rowsTable(rows: readonly Fields[], what: string, number = (row: number) => row): JsonTable {
  const names = Object.keys(flat(rows[0]!));
  // Rows are opened once, and only those columns kept that are read.
  return named(names, rows.length, what, number, (row) => {
    const opened = flat(rows[row]!);
    return (at) => opened[names[at]!];
  });
}

function columnsTable(value: Fields, what: string): JsonTable {
  const columns = Object.entries(flat(value, false)).filter((entry): entry is [string, unknown[]] => Array.isArray(entry[1]));
  if (!columns.length) throw bad(what, KINDS, `an object of ${Object.keys(value).slice(0, 20).join(", ") || "nothing"}`, EXAMPLE);
  const rows = columns[0]![1].length;
  for (const [name, { length }] of columns)
    if (length !== rows) throw bad(what, `${rows} values in every column`, `${length} in "${name}"`, "make them equally long");
  // acc: [[x, y, z], …]
  const opened = columns.flatMap(([name, column]) =>
    isThree(column[0])
      ? [..."xyz"].map((axis, i): [string, unknown[]] => [`${name}.${axis}`, column.map((cell) => (isThree(cell) ? cell[i] : undefined))])
      : [[name, column] as [string, unknown[]]],
  );
  return named(opened.map(([name]) => name), rows, what, (row) => row, (row) => (at) => opened[at]![1][row]); // biome-ignore format: short
}

function named(
  names: string[],
  rows: number,
  what: string,
  number: (row: number) => number,
  open: (row: number) => (at: number) => unknown,
): JsonTable {
  const where = (row: number) => `${what}, row ${number(row)}`;
  const read = ({ places, clocks }: Wanted): Table => {
    const columns = new Map([...new Set(places)].map((at) => [at, new Column(clocks.includes(at))]));
    for (let row = 0; row < rows; ++row) {
      const cell = open(row);
      for (const [at, column] of columns) {
        const value = cell(at);
        const problem = typeof value === "number" && Number.isFinite(value) ? column.number(value) : column.add(cellOf(value));
        if (problem !== undefined) throw bad(where(row), `a number in "${names[at]}"`, short(value), "correct it, or remove the row");
      }
    }
    const whole = new Map([...columns].map(([at, column]) => [at, column.values(rows)]));
    const those = (is: (column: Column) => boolean) => new Set([...columns.keys()].filter((at) => is(columns.get(at)!)));
    return { names, rows, where, column: (at) => whole.get(at)!, dates: those((c) => c.isDates), unread: those((c) => c.isUnread) };
  };
  return { names, read };
}

/** As the cell of a table: null and what is not there hold nothing, texts may be numbers. */
function cellOf(value: unknown): string {
  if (value === null || value === undefined) return "";
  return typeof value === "string" ? value.trim() : typeof value === "number" ? String(value) : "[]";
}

function matrixOf(value: readonly unknown[], what: string): Matrix {
  const width = Array.isArray(value[0]) ? value[0].length : 0;
  const values = new Float64Array(value.length * width);
  for (const [i, row] of value.entries()) {
    if (!Array.isArray(row) || row.length !== width || !width)
      throw bad(`${what}, row ${i}`, `an array of ${width || 6} numbers`, short(row), "correct the row, or remove it");
    for (const [j, cell] of row.entries()) {
      const number = typeof cell === "string" && cell.trim() ? Number(cell) : cell;
      if (typeof number !== "number" || !Number.isFinite(number))
        throw bad(`${what}, row ${i}`, `a number in [${j}]`, short(cell), "correct it, or remove the row");
      values[i * width + j] = number;
    }
  }
  return { values, shape: [value.length, width] };
}

const isThree = (value: unknown): value is unknown[] => Array.isArray(value) && value.length === 3;

/** { acc: { x: 1 } } → { "acc.x": 1 }, and { gyro: [1, 2, 3] } → { "gyro.x": 1, … } where rows are opened. */
function flat(value: Fields, rows = true, depth = 3): Fields {
  const out: Fields = {};
  for (const [key, inner] of Object.entries(value)) {
    if (rows && isThree(inner)) for (const [i, axis] of [..."xyz"].entries()) out[`${key}.${axis}`] = inner[i];
    else if (rows && Array.isArray(inner) && inner.length === 6 && /^imu$|^values$|^data$|^sensors?$/i.test(key))
      for (const [i, channel] of ["ax", "ay", "az", "gx", "gy", "gz"].entries()) out[channel] = inner[i];
    else if (!isObject(inner) || depth === 0) out[key] = inner;
    else for (const [name, leaf] of Object.entries(flat(inner, rows, depth - 1))) out[`${key}.${name}`] = leaf;
  }
  return out;
}

function short(value: unknown): string {
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? `a list of ${value.length}` : "an object";
  return shown(value).slice(0, 60);
}
const isObject = (value: unknown): value is Fields => typeof value === "object" && value !== null && !Array.isArray(value);

function bad(where: string, wanted: string, got: string, remedy: string): MediaError {
  return new MediaError("E_MEDIA_FORMAT", where, wanted, got, remedy);
}
