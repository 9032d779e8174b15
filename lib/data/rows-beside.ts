// Some of a file's rows, written beside it, since paths begin there.
import { open, rm } from "node:fs/promises";
import { basename, dirname, extname, join } from "node:path";
import { onFile } from "../core/file-error.js";
import type { DataRecord } from "./records.js";
import { DataError } from "./row.js";

/** As NAME.WORD.jsonl. */
export class RowsBeside {
  private constructor(
    readonly path: string,
    private readonly file: Awaited<ReturnType<typeof open>>,
  ) {}

  /** Rejects with E_FILE where there is such a file already. */
  static async begin(path: string, word: string): Promise<RowsBeside> {
    const beside = join(dirname(path), `${basename(path, extname(path))}.${word}.jsonl`);
    return new RowsBeside(beside, await onFile("to be written", beside, () => open(beside, "wx")));
  }

  /** Throws E_DATA of a row that holds bytes. */
  async add(path: string, { number, fields }: Pick<DataRecord, "number" | "fields">): Promise<void> {
    const line = JSON.stringify(fields, function (this: Record<string, unknown>, key, value) {
      if (!(this[key] instanceof Uint8Array)) return value; // a Buffer makes an object of itself first
      const remedy = "leave bad rows out with onBadRow: 'skip'";
      throw new DataError(
        "E_DATA",
        path,
        undefined,
        "rows that name their media, to write them anew",
        `row ${number} with the bytes themselves`,
        remedy,
      );
    });
    await onFile("to be written", this.path, () => this.file.writeFile(`${line}\n`));
  }
  close(): Promise<void> {
    return this.file.close();
  }
  /** Half of it would be taken for all. */
  async drop(): Promise<void> {
    await this.close();
    await rm(this.path, { force: true });
  }
}
