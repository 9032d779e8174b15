// Files to rows by number. Small files are read at once, so that every bad row is told before anything begins; rows of large ones stay where they are.
import { stat } from "node:fs/promises";
import { checkOptions, optionNames } from "../core/options.js";
import { type CaptionOptions, captionReading, readCaptions } from "./captions.js";
import type { DataKind } from "./check.js";
import { conversationReading, readConversations } from "./conversations.js";
import { MEDIA_FILE_OPTIONS, MediaFiles } from "./media-files.js";
import { BAD_ROW_OPTIONS, type DataRecord } from "./records.js";
import type { Row } from "./row.js";
import { madeRows, openRecords } from "./sources/open.js";
import { heldRows, joinedRows, type RecordSource, type RowSource } from "./sources/source.js";

/** Bytes of a file of text that is read at once. */
const AT_ONCE = 16 << 20;

export interface OpenRowsOptions extends CaptionOptions {
  /** What the rows are. */
  kind: DataKind;
  /** Do rows stay in their files until their turn comes? A bad one is met only then. Default: in files above 16 MiB. */
  lazy?: boolean | undefined;
}
const OPTIONS = optionNames<OpenRowsOptions>({
  ...MEDIA_FILE_OPTIONS,
  ...BAD_ROW_OPTIONS,
  ...({ modality: true, prompts: true, seed: true, kind: true, lazy: true } as const),
});

/** How a kind of rows is made of what a file says. */
export interface Reading {
  /** Throws E_DATA where a file's rows cannot be of this kind. */
  check(path: string, records: RecordSource): void;
  row(path: string, record: DataRecord, files: MediaFiles): Promise<Row>;
}

/** The rows of some files, one file after the other: the caller's to close. Rejects as readCaptions() and readConversations() do. */
export async function openRows(paths: string | readonly string[], options: OpenRowsOptions): Promise<RowSource> {
  checkOptions("openRows", options, OPTIONS);
  const opened: RowSource[] = [];
  try {
    for (const path of [paths].flat()) opened.push(await openOne(path, options));
    return joinedRows(opened);
  } catch (error) {
    for (const one of opened) await one.close();
    throw error;
  }
}

async function openOne(path: string, { kind, lazy, ...options }: OpenRowsOptions): Promise<RowSource> {
  if (!(lazy ?? (await bytesOf(path)) > AT_ONCE)) {
    const { modality: _modality, prompts: _prompts, seed: _seed, ...conversations } = options;
    return heldRows(kind === "captions" ? await readCaptions(path, options) : await readConversations(path, conversations));
  }
  const files = new MediaFiles(path, options);
  const reading = kind === "captions" ? captionReading(path, files.kinds, options) : conversationReading;
  const records = await openRecords(path, files.kinds, options.signal);
  try {
    reading.check(path, records);
  } catch (error) {
    await records.close();
    throw error;
  }
  return madeRows(records, (record) => reading.row(path, record, files));
}

/** Of what is no file, readers say what is wrong. */
const bytesOf = (path: string): Promise<number> =>
  stat(path).then(
    ({ size }) => size,
    () => 0,
  );
