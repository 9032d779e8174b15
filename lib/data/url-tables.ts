// Tables whose pictures are URLs, as LAION's and OBELICS': nobody fetches them here. What img2dataset has fetched is found by the tables that it writes beside
// its folders (00000.parquet beside 00000/, with url, key and status): a picture is 00000/KEY.jpg.
import { existsSync, readdirSync } from "node:fs";
import { basename, dirname, extname, join, relative } from "node:path";
import { BUILT_IN } from "../media/kinds/index.js";
import type { Fields } from "./messages.js";
import type { DataRecord } from "./records.js";
import { DataError } from "./row.js";
import { recordsIn } from "./sources/open.js";

/** Its default folder, beside the table or where the table lies itself. */
const FOLDERS = [".", "images"];
const TABLE = /^\d+\.parquet$/;
const ENDINGS = ["jpg", "png", "webp"];
export const isUrl = (value: unknown): value is string => typeof value === "string" && /^https?:\/\//i.test(value);

/** The first of some names that a row has, whatever letters are large. */
const cell = (fields: Fields, ...names: string[]): unknown =>
  Object.entries(fields).find(([key, value]) => names.includes(key.toLowerCase()) && value !== undefined && value !== null)?.[1];

/** Where the picture of one of img2dataset's rows lies, from `root` on; undefined of what it did not get. */
function fetchedAt(root: string, table: string, fields: Fields): string | undefined {
  const { key } = fields;
  if (typeof key !== "string" || !/^[\w-]+$/.test(key)) return undefined;
  const folder = join(dirname(table), basename(table, extname(table)));
  const ending = ENDINGS.find((one) => existsSync(join(folder, `${key}.${one}`)));
  return ending && relative(root, join(folder, `${key}.${ending}`));
}

/** URLs of what img2dataset has fetched beside a file, and where each lies from there. */
async function fetchedBeside(path: string, signal?: AbortSignal): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  const root = dirname(path);
  const tables = FOLDERS.map((folder) => join(root, folder)).flatMap((folder) =>
    existsSync(folder)
      ? readdirSync(folder)
          .filter((name) => TABLE.test(name))
          .map((name) => join(folder, name))
      : [],
  );
  for (const table of tables) {
    if (table === join(path)) continue;
    for await (const record of recordsIn(table, BUILT_IN, signal)) {
      if (record instanceof DataError) throw record;
      const at = fetchedAt(root, table, record.fields);
      if (at !== undefined && isUrl(record.fields.url)) found.set(record.fields.url, at);
    }
  }
  return found;
}

/** A row's fields, or what is wrong with it; undefined of what is none. */
type RowOf = (record: DataRecord, fetched: (url: string) => Promise<string | undefined>) => Promise<Fields | DataError | undefined>;

/** Rows of a file that names URLs. Throws E_DATA where it has some, and nothing was fetched. */
export async function* joinedRecords(path: string, rowOf: RowOf, signal?: AbortSignal): AsyncGenerator<DataRecord | DataError> {
  let [rows, urls] = [0, 0];
  let beside: Promise<ReadonlyMap<string, string>> | undefined;
  const fetched = async (url: string) => {
    ++urls;
    beside ??= fetchedBeside(path, signal);
    return (await beside).get(url);
  };
  for await (const record of recordsIn(path, BUILT_IN, signal)) {
    const made = record instanceof DataError ? record : await rowOf(record, fetched);
    if (made instanceof DataError) yield made;
    else if (made) {
      ++rows;
      yield { number: (record as DataRecord).number, fields: made };
    }
  }
  if (urls && !rows)
    throw new DataError(
      "E_DATA",
      path,
      undefined,
      "pictures that img2dataset has put beside it (00000.parquet and 00000/, here or in images/)",
      `${urls} URLs, of which none was fetched`,
      `fetch them: img2dataset --url_list ${basename(path)} --input_format parquet --url_col URL --caption_col TEXT --output_folder images`,
    );
}

/** LAION's tables (URL, TEXT) beside what was fetched of them, and img2dataset's own (url, caption, key, status). What was not fetched is no row. */
export const laionRecords = (path: string, signal?: AbortSignal) =>
  joinedRecords(
    path,
    async ({ fields }, fetched) => {
      const url = cell(fields, "url");
      if (!isUrl(url)) return undefined;
      const image = "key" in fields ? (fetchedAt(dirname(path), path, fields) ?? (await fetched(url))) : await fetched(url);
      return image === undefined ? undefined : { image, caption: cell(fields, "text", "caption") };
    },
    signal,
  );
