// Rows of whichever layout, each told by its columns.
import { checkOptions, optionNames } from "../core/options.js";
import type { Kinds } from "../media/kinds/index.js";
import { type CaptionOptions, captionReading, mediaColumns } from "./captions.js";
import { conversationReading } from "./conversations.js";
import { type LayoutName, layoutOf, nearMiss } from "./layouts.js";
import { MEDIA_FILE_OPTIONS, MediaFiles } from "./media-files.js";
import type { Fields } from "./messages.js";
import type { Reading } from "./open-rows.js";
import { BAD_ROW_OPTIONS, collect, type DataRecord, keysOf, recordsOf } from "./records.js";
import { DataError, type Row } from "./row.js";
import { isText, recordsIn } from "./sources/open.js";

export interface RowsOptions extends CaptionOptions {
  /** Names of columns where the data has others: ours, then theirs, e.g. { messages: "dialog", image: "picture_path" }. */
  columns?: Readonly<Record<string, string>> | undefined;
  /** Told of each file's layout, when its first row was met. */
  onLayout?: ((path: string, layout: LayoutName) => void) | undefined;
}
export const ROWS_OPTIONS = {
  ...MEDIA_FILE_OPTIONS,
  ...BAD_ROW_OPTIONS,
  ...({ modality: true, prompts: true, seed: true, columns: true, onLayout: true } as const),
} satisfies Record<keyof RowsOptions, true>;
const OPTIONS = optionNames<RowsOptions>(ROWS_OPTIONS);

/** JSONL, a JSON list, CSV or TSV, Parquet or a shard of WebDataset, in any of the layouts: captions, LLaVA, ShareGPT, OpenAI, Alpaca, LLaMA-Factory, ms-swift, MIC. Reads all rows. */
export async function readRows(path: string, options: RowsOptions = {}): Promise<Row[]> {
  checkOptions("readRows", options, OPTIONS);
  const files = new MediaFiles(path, options);
  const reading = anyReading(path, files.kinds, options);
  const records = isText(path) ? recordsOf(path, options.signal, files.kinds) : recordsIn(path, files.kinds, options.signal);
  return collect(path, firstChecked(path, records, reading), (record) => reading.row(path, record, files), options);
}

/** A layout that a table has not, no row of it has: said once, of the file. */
async function* firstChecked(path: string, records: AsyncIterable<DataRecord | DataError>, reading: Reading) {
  let first = true;
  for await (const record of records) {
    if (first && !(record instanceof DataError) && record.table) reading.check(path, { columns: Object.keys(record.fields) });
    first = false;
    yield record;
  }
}

export function anyReading(path: string, kinds: Kinds, options: RowsOptions): Reading {
  const captions = captionReading(path, kinds, options);
  const media = mediaColumns(options.modality, kinds);
  const { columns, onLayout } = options;
  let told = false;
  const unknown = (code: "E_ROW" | "E_DATA", number: number | undefined, fields: Fields) => {
    const { expected, remedy } = nearMiss(fields, kinds, media);
    return new DataError(code, path, number, expected, keysOf(fields), remedy);
  };
  return {
    check(_, { columns: own }) {
      if (!own) return;
      const fields = renamed(Object.fromEntries(own.map((name) => [name, ""])), columns);
      const layout = layoutOf(fields, kinds, media);
      if (!layout) throw unknown("E_DATA", undefined, fields);
    },
    async row(file, record, files) {
      const fields = renamed(record.fields, columns);
      const layout = layoutOf(fields, kinds, media);
      if (!layout) throw unknown("E_ROW", record.number, fields);
      if (!told) onLayout?.(file, layout);
      told = true;
      return (layout === "captions" ? captions : conversationReading).row(file, { ...record, fields }, files);
    },
  };
}

/** Under our names. */
export function renamed(fields: Fields, columns: RowsOptions["columns"]): Fields {
  if (!columns) return fields;
  const own = new Map(Object.entries(fields));
  for (const [ours, theirs] of Object.entries(columns)) {
    if (!Object.hasOwn(fields, theirs)) continue;
    own.delete(theirs);
    own.set(ours, fields[theirs]);
  }
  return Object.fromEntries(own);
}
