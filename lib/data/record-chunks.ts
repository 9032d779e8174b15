// The records of a file some at a time, as a check reads them: as they are, or as a reader of a published data set has them.
import type { Kinds } from "../media/kinds/index.js";
import { namedRecords, type ReaderName } from "./readers.js";
import type { DataRecord } from "./records.js";
import { DataError } from "./row.js";
import { openRecords } from "./sources/open.js";
import type { RecordSource } from "./sources/source.js";

export interface NumberedRecord {
  number: number;
  record: DataRecord | DataError;
}
export interface RecordChunks {
  kinds: Kinds;
  as: ReaderName | undefined;
  signal: AbortSignal | undefined;
  /** Told once, of a file whose rows are looked at as they are. */
  check: (records: RecordSource) => void;
}

const TOGETHER = 64;

/** Rejects with E_DATA where the file is of no use as a whole. */
export async function* recordChunks(path: string, { kinds, as, signal, check }: RecordChunks): AsyncGenerator<Promise<NumberedRecord>[]> {
  if (as !== undefined) {
    let some: Promise<NumberedRecord>[] = [];
    for await (const record of namedRecords(path, as, kinds, signal)) {
      const number = record instanceof DataError ? (record.row ?? 0) : record.number;
      some.push(Promise.resolve({ number, record }));
      if (some.length < TOGETHER) continue;
      yield some;
      some = [];
    }
    if (some.length) yield some;
    return;
  }
  const records = await openRecords(path, kinds, signal);
  try {
    check(records);
    for (let from = 0; from < records.length; from += TOGETHER) {
      signal?.throwIfAborted();
      const count = Math.min(TOGETHER, records.length - from);
      yield Array.from({ length: count }, async (_, i) => ({
        number: records.numberOf(from + i),
        record: await records.record(from + i),
      }));
    }
  } finally {
    await records.close();
  }
}
