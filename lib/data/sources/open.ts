// From files to rows that stay in them.
import { extname } from "node:path";
import type { Kinds } from "../../media/kinds/index.js";
import type { DataRecord } from "../records.js";
import { DataError, type Row, whereOf } from "../row.js";
import { ParquetRecords } from "./parquet.js";
import type { RecordSource, RowSource } from "./source.js";
import { TarRecords } from "./tar.js";
import { TextRecords } from "./text.js";

/** The rows of a file, whichever format it has. Rejects with E_DATA where it is of no use as a whole. */
export async function openRecords(path: string, kinds: Kinds, signal?: AbortSignal): Promise<RecordSource> {
  const records = await opened(path, kinds, signal);
  if (records.length) return records;
  await records.close();
  throw new DataError("E_DATA", path, undefined, "at least one row", "none", "check how it was written");
}

/** All of them, one after the other. */
export async function* recordsIn(path: string, kinds: Kinds, signal?: AbortSignal): AsyncGenerator<DataRecord | DataError> {
  const records = await openRecords(path, kinds, signal);
  try {
    for (let i = 0; i < records.length; ++i) {
      signal?.throwIfAborted();
      yield await records.record(i);
    }
  } finally {
    await records.close();
  }
}

function opened(path: string, kinds: Kinds, signal?: AbortSignal): Promise<RecordSource> {
  switch (extname(path).toLowerCase()) {
    case ".parquet":
      return ParquetRecords.open(path);
    case ".tar":
      return TarRecords.open(path, kinds, signal);
    default:
      return TextRecords.open(path, kinds, signal);
  }
}

/** Is it of text, which may be read at once? */
export const isText = (path: string): boolean => ![".parquet", ".tar"].includes(extname(path).toLowerCase());

/** What a file's records say, as rows. Closes them. */
export function madeRows(records: RecordSource, make: (record: DataRecord) => Promise<Row>): RowSource {
  return {
    length: records.length,
    held: false,
    blocks: records.blocks,
    together: records.together,
    get sizes() {
      return records.sizes;
    },
    where: (index) => whereOf(records.path, records.numberOf(index)),
    async row(index) {
      const record = await records.record(index);
      if (record instanceof DataError) throw record;
      return make(record);
    },
    close: () => records.close(),
  };
}
