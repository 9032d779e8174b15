// From files to rows that stay in them.
import type { Kinds } from "../../media/kinds/index.js";
import type { DataRecord } from "../records.js";
import { DataError, type Row, whereOf } from "../row.js";
import type { RecordSource, RowSource } from "./source.js";
import { TextRecords } from "./text.js";

/** The rows of a file, whichever format it has. Rejects with E_DATA where it is of no use as a whole. */
export async function openRecords(path: string, kinds: Kinds, signal?: AbortSignal): Promise<RecordSource> {
  const records = await TextRecords.open(path, kinds, signal);
  if (records.length) return records;
  await records.close();
  throw new DataError("E_DATA", path, undefined, "at least one row", "none", "check how it was written");
}

/** What a file's records say, as rows. Closes them. */
export function madeRows(records: RecordSource, make: (record: DataRecord) => Promise<Row>): RowSource {
  return {
    length: records.length,
    held: false,
    blocks: records.blocks,
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
