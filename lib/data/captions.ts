// Captions: one medium and what it shows, a row each. As rows for training: a request to describe the medium, then the caption.
import { checkOptions, optionNames } from "../core/options.js";
import { KINDS, type Kind, type Kinds, listed, unknownKind } from "../media/kinds/index.js";
import type { MediaPart, Modality } from "../media/part.js";
import { Draw } from "./draw.js";
import { hasMark } from "./marks.js";
import { MEDIA_FILE_OPTIONS, type MediaFileOptions, MediaFiles } from "./media-files.js";
import type { Reading } from "./open-rows.js";
import { BAD_ROW_OPTIONS, type BadRowOptions, collect, type DataRecord, keysOf, recordsOf, shown } from "./records.js";
import { DataError, type Row, whereOf } from "./row.js";

/** What a row of captions is asked with; "" asks nothing, the medium stands alone. */
export const CAPTION_PROMPTS = Object.fromEntries(
  Object.entries<Kind>(KINDS).map(([name, { captionPrompts }]) => [name, captionPrompts]),
) as unknown as Readonly<Record<Modality, readonly string[]>>;

export interface CaptionOptions extends MediaFileOptions, BadRowOptions {
  /** The column to take, where rows name several; then a column file_name or path will do too. Default: the one each row has. */
  modality?: Modality;
  /** One of them asks each row; which one depends on the seed and the row's number alone. */
  prompts?: readonly string[];
  seed?: number;
}

const OPTIONS = optionNames<CaptionOptions>({
  ...MEDIA_FILE_OPTIONS,
  ...BAD_ROW_OPTIONS,
  ...({ modality: true, prompts: true, seed: true } as const),
});

/** JSONL, a JSON list or CSV with a column of a kind of media, such as image, and a column caption or text. */
export async function readCaptions(path: string, options: CaptionOptions = {}): Promise<Row[]> {
  checkOptions("readCaptions", options, OPTIONS);
  const files = new MediaFiles(path, options);
  const { kinds } = files;
  const { row } = captionReading(path, kinds, options);
  return collect(
    path,
    columnsChecked(path, recordsOf(path, options.signal, kinds), mediaColumns(options.modality, kinds)),
    (record) => row(path, record, files),
    options,
  );
}

/** Throws E_DATA of options that no row could be read with. */
export function captionReading(path: string, kinds: Kinds, options: CaptionOptions): Reading {
  const { modality } = options;
  if (modality !== undefined && !kinds.has(modality))
    throw new DataError(
      "E_DATA",
      path,
      undefined,
      `one of ${[...kinds.keys()].join(", ")} as modality`,
      shown(modality),
      unknownKind(String(modality), kinds),
    );
  if (options.prompts && !options.prompts.length)
    throw new DataError("E_DATA", path, undefined, "at least one prompt", "none", 'pass prompts: [""] to ask nothing');
  return {
    check(file, { columns }) {
      if (columns) checkColumns(file, Object.fromEntries(columns.map((name) => [name, true])), mediaColumns(modality, kinds));
    },
    row: (file, record, files) => captionRow(file, record, files, options),
  };
}

export const CAPTION_COLUMNS = ["caption", "text"];
export const mediaColumns = (modality: Modality | undefined, kinds: Kinds): readonly string[] =>
  modality ? [modality, "file_name", "path"] : [...kinds.keys()];

/** A column that a CSV lacks is missing in every row: said once, of the file. */
async function* columnsChecked(path: string, records: AsyncIterable<DataRecord | DataError>, media: readonly string[]) {
  let first = true;
  for await (const record of records) {
    if (first && !(record instanceof DataError) && record.table) {
      first = false;
      checkColumns(path, record.fields, media);
    }
    yield record;
  }
}

/** Throws E_DATA where a table has no column of a medium, or none of captions. */
export function checkColumns(path: string, fields: DataRecord["fields"], media: readonly string[]): void {
  for (const columns of [media, CAPTION_COLUMNS])
    if (!columns.some((name) => name in fields)) {
      const wanted = `a column ${listed(columns)}`;
      throw new DataError("E_DATA", path, undefined, wanted, keysOf(fields), "name the columns in the first line");
    }
}

async function captionRow(path: string, { number, fields }: DataRecord, files: MediaFiles, options: CaptionOptions): Promise<Row> {
  const wrong = (expected: string, got: string, remedy: string, column?: string) =>
    new DataError("E_ROW", path, number, expected, got, remedy, { column });
  const said = CAPTION_COLUMNS.map((name) => fields[name]).find((value) => value !== undefined);
  const caption = Number.isFinite(said) ? String(said) : said; // a label, where columns call it the caption
  if (typeof caption !== "string" || !caption.trim())
    throw wrong("a caption", caption === undefined ? keysOf(fields) : shown(caption), "add a caption or text with words", "caption");
  const { kinds } = files;
  const mark = hasMark(caption, kinds);
  if (mark) throw wrong("a caption of words", mark, "marks of media belong into conversations", "caption");
  const known = mediaColumns(options.modality, kinds);
  const columns = known.filter((name) => fields[name] !== undefined && fields[name] !== null && fields[name] !== "");
  const [column] = columns;
  if (!column) throw wrong(`one of ${known.join(", ")}`, keysOf(fields), "name the medium's file");
  if (columns.length > 1 && !options.modality) throw wrong("one medium", columns.join(" and "), "pass modality, or write a row for each");
  const modality = options.modality ?? (column as Modality);
  const prompts = options.prompts ?? (kinds.get(modality) as Kind).captionPrompts;
  const prompt = new Draw(options.seed ?? 0, String(number)).pick(prompts);
  const medium: MediaPart = await files.part(modality, fields[column], number);
  return {
    where: whereOf(path, number),
    turns: [
      { role: "user", content: prompt ? [prompt, medium] : [medium] },
      { role: "assistant", content: [caption.trim()] },
    ],
  };
}
