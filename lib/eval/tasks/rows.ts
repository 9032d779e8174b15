// Questions as rows of one file, for benchmarks that are files: which column holds what.
import { normalize } from "node:path";
import { type Check, is, isObject, type Schema } from "../../core/checks.js";
import { DataError } from "../../data/row.js";
import type { Modality } from "../../media/part.js";
import type { Fields, TaskFolder } from "./folder.js";
import type { Rule } from "./rules.js";
import type { Item, ItemMedium } from "./task.js";

/** A column of a row, or several whose values are a list. */
export type Columns = string | readonly string[];

export interface RowsSpec {
  /** JSONL, a JSON list, CSV or TSV: one for all, or one for each split. */
  files: string | Readonly<Record<string, string>>;
  /** Column of the question's own number. Default: the row's. */
  id?: string;
  /** Columns of paths, or of lists of paths. */
  media: Columns;
  /** Where in the data's folder paths may begin. Default: where it begins itself. */
  folders?: readonly string[];
  /** Columns of a window, in seconds. */
  start?: string;
  seconds?: string;
  /** Column of the kind of question: within it media are exchanged, and scores are told of each. */
  kind?: string;
  /** What prompt and rule read, and the columns that hold it. */
  fields: Readonly<Record<string, Columns>>;
}

const COLUMNS: Check = {
  wanted: "a column, or a list of columns",
  fits: (v) => is.text.fits(v) || (Array.isArray(v) && v.length > 0 && v.every(is.text.fits)),
};
/** Names as a template can say them. */
const NAME = /^[A-Za-z_]\w{0,63}$/;
const mappingOf = (check: Check): Check => ({
  wanted: `a mapping of names to ${check.wanted}`,
  fits: (v) => isObject(v) && Object.keys(v).length > 0 && Object.entries(v).every(([key, one]) => NAME.test(key) && check.fits(one)),
});

export const ROWS_SCHEMA: Schema = {
  files: is.either(is.text, mappingOf(is.text)),
  id: is.text,
  media: COLUMNS,
  folders: is.listOf({ wanted: "a folder's name", fits: (v) => typeof v === "string" }),
  start: is.text,
  seconds: is.text,
  kind: is.text,
  fields: mappingOf(COLUMNS),
};

/** Names of splits, where there are some. */
export const splitsOf = ({ files }: RowsSpec): string[] | undefined => (typeof files === "string" ? undefined : Object.keys(files));

/** The rows as questions. A row that lacks a column is wrong; an empty cell is a text of no letters. */
export async function* readRows(
  spec: RowsSpec,
  { modality, rule }: { modality: Modality; rule: Rule },
  folder: TaskFolder,
  split: string,
): AsyncGenerator<Item | DataError> {
  const path = folder.file(typeof spec.files === "string" ? spec.files : (spec.files[split] as string));
  for await (const record of folder.records(path)) {
    if (record instanceof DataError) {
      yield record;
      continue;
    }
    const { fields: row, number } = record;
    const missing = columnsOf(spec).find((column) => row[column] === undefined);
    if (missing !== undefined) {
      yield folder.bad(path, number, `a column "${missing}"`, `columns ${Object.keys(row).slice(0, 20).join(", ")}`);
      continue;
    }
    const kind = spec.kind === undefined ? undefined : String(row[spec.kind]);
    const doc: Record<string, unknown> = kind === undefined ? {} : { kind };
    // Choices before the answer among them.
    for (const name of Object.keys(spec.fields).sort((a, b) => Number(b === "choices") - Number(a === "choices")))
      doc[name] = rule.made(name, cellsOf(row, spec.fields[name] as Columns), doc);
    const fits = Object.entries(rule.needs).every(([name, check]) => check.fits(doc[name])) && !rule.problem?.(doc);
    yield {
      id: spec.id === undefined ? String(number) : String(row[spec.id]),
      media: mediaOf(spec, row, modality),
      doc,
      target: fits ? rule.target(doc) : "",
      ...(kind !== undefined && { kind }),
    };
  }
}

const columnsOf = ({ id, media, start, seconds, kind, fields }: RowsSpec): string[] =>
  [id, media, start, seconds, kind, ...Object.values(fields)].flat().filter((column): column is string => column !== undefined);

const cellsOf = (row: Fields, columns: Columns): unknown =>
  typeof columns === "string" ? row[columns] : columns.map((column) => row[column]);

function mediaOf({ media, folders = [""], start, seconds }: RowsSpec, row: Fields, modality: Modality): ItemMedium[] {
  const window = Object.entries({ start, seconds }).flatMap(([option, column]) =>
    column === undefined ? [] : [[option, Number(row[column])] as const],
  );
  const paths = [cellsOf(row, media)].flat(2).filter((path): path is string => typeof path === "string" && path !== "");
  return paths.map((path) => ({
    modality,
    places: folders.map((folder) => normalize(`${folder || "."}/${path}`)),
    ...(window.length && { options: Object.fromEntries(window) }),
  }));
}
