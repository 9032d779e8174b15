// Files to rows by number. Small files are read at once, so that every bad row is told before anything begins; rows of large ones stay where they are.
import { stat } from "node:fs/promises";
import { checkOptions, optionNames } from "../core/options.js";
import type { Kinds } from "../media/kinds/index.js";
import { anyReading, ROWS_OPTIONS, type RowsOptions, readRows } from "./any-layout.js";
import { captionReading, readCaptions } from "./captions.js";
import type { DataKind } from "./check.js";
import { conversationReading, readConversations } from "./conversations.js";
import { hubDataId, locateData } from "./hub-data.js";
import { MediaFiles } from "./media-files.js";
import { type DataPart, type MixturePart, type ModalityWeights, mixedRows, partsOf, type TrainingData } from "./mixture.js";
import { namedRecords, type ReaderName } from "./readers.js";
import { collect, type DataRecord } from "./records.js";
import type { Row } from "./row.js";
import { isText, madeRows, openRecords } from "./sources/open.js";
import { heldRows, joinedRows, type RecordSource, type RowSource } from "./sources/source.js";

/** Bytes of a file of text that is read at once. */
const AT_ONCE = 16 << 20;

export interface OpenRowsOptions extends RowsOptions {
  /** Default: of any layout, each row told by its columns. */
  kind?: DataKind | undefined;
  /** Do rows stay in their files until their turn comes? A bad one is met only then. Default: in files above 16 MiB, in Parquet and in shards. */
  lazy?: boolean | undefined;
  /** Shares of the kinds of media, of the sets that hold them: { image: 3, imu: 1 }, whatever the sets' sizes. Each set holds one kind, or says as which it counts. */
  modalityWeights?: ModalityWeights | undefined;
  /** Are data sets of the hub taken from the cache alone? Default false. */
  localFilesOnly?: boolean | undefined;
  /** Told of what the data name: the files that are opened for it. */
  onFound?: ((found: FoundData) => void) | undefined;
}
export interface FoundData {
  /** A path, or an id of the hub. */
  named: string;
  files: readonly string[];
  /** Of the hub. */
  commit?: string | undefined;
}
const OPTIONS = optionNames<OpenRowsOptions>({
  ...ROWS_OPTIONS,
  ...({ kind: true, lazy: true, modalityWeights: true, localFilesOnly: true, onFound: true } as const),
});

const OF_KIND = {
  captions: captionReading,
  conversations: () => conversationReading,
} satisfies Record<DataKind, (path: string, kinds: Kinds, options: RowsOptions) => Reading>;

/** How a kind of rows is made of what a file says. */
export interface Reading {
  /** Throws E_DATA where a file's rows cannot be of this kind. */
  check(path: string, records: Pick<RecordSource, "columns">): void;
  row(path: string, record: DataRecord, files: MediaFiles): Promise<Row>;
}

/**
 * The rows of some data, one set after the other, or mixed by weights (DataPart): the caller's to close. Rejects as readCaptions() and readConversations()
 * do, and with E_VALUE where weights do not fit the sets.
 */
export async function openRows(data: TrainingData, options: OpenRowsOptions): Promise<RowSource> {
  checkOptions("openRows", options, OPTIONS);
  const { modalityWeights, ...reading } = options;
  const opened: MixturePart[] = [];
  try {
    for (const part of partsOf(data)) opened.push({ ...part, source: await openPart(part, reading) });
    return await mixedRows(opened, modalityWeights);
  } catch (error) {
    for (const { source } of opened) await source.close();
    throw error;
  }
}

async function openPart(
  { from, columns, as, split, config }: DataPart,
  { localFilesOnly, onFound, ...options }: Omit<OpenRowsOptions, "modalityWeights">,
): Promise<RowSource> {
  const opened: RowSource[] = [];
  const reading = columns ? { ...options, columns } : options;
  try {
    const files = typeof from === "string" ? [from] : from;
    if (!areFiles(files)) return heldRows(files);
    for (const path of files) {
      const id = hubDataId(path);
      const { signal } = options;
      const found = id === undefined ? { files: [path] } : await locateData(id, { split, config, signal, localFilesOnly });
      onFound?.({ named: path, ...found });
      for (const one of found.files) opened.push(as ? await openNamed(one, as, reading) : await openOne(one, reading));
    }
    return joinedRows(opened);
  } catch (error) {
    for (const one of opened) await one.close();
    throw error;
  }
}
const areFiles = (list: readonly string[] | readonly Row[]): list is readonly string[] => typeof list[0] === "string";

/** Rows of a published data set, all at once: its files hold texts alone. */
async function openNamed(path: string, as: ReaderName, { kind: _kind, lazy: _lazy, ...options }: OpenRowsOptions): Promise<RowSource> {
  const files = new MediaFiles(path, options);
  const reading = anyReading(path, files.kinds, options);
  const records = namedRecords(path, as, files.kinds, options.signal);
  return heldRows(await collect(path, records, (record) => reading.row(path, record, files), options));
}

async function openOne(
  path: string,
  { kind, lazy, ...options }: Omit<OpenRowsOptions, "modalityWeights" | "localFilesOnly" | "onFound">,
): Promise<RowSource> {
  if (isText(path) && !(lazy ?? (await bytesOf(path)) > AT_ONCE)) {
    if (!kind) return heldRows(await readRows(path, options));
    const { columns: _columns, onLayout: _told, ...captions } = options;
    const { modality: _modality, prompts: _prompts, seed: _seed, ...conversations } = captions;
    return heldRows(kind === "captions" ? await readCaptions(path, captions) : await readConversations(path, conversations));
  }
  const files = new MediaFiles(path, options);
  const reading = kind ? OF_KIND[kind](path, files.kinds, options) : anyReading(path, files.kinds, options);
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
