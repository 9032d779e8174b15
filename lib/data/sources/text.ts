// JSONL, a JSON list or a table whose rows stay in the file: one pass finds where they are, and each is read when it is asked for.
import type { FileHandle } from "node:fs/promises";
import { onFile } from "../../core/file-error.js";
import { openPlain } from "../../core/plain-file.js";
import type { Kinds } from "../../media/kinds/index.js";
import { CsvCutter } from "../csv.js";
import { brokenList, MAX_PIECE, notUtf8 } from "../lines.js";
import { type DataRecord, formOf, parsedObject } from "../records.js";
import { DataError } from "../row.js";
import { CsvScanner } from "./csv-scanner.js";
import { checkIndex, type RecordSource } from "./source.js";
import { EntryScanner, LineScanner, type Span, type Spans, scanned } from "./spans.js";

type Header = CsvScanner["header"];

export class TextRecords implements RecordSource {
  private constructor(
    readonly path: string,
    private readonly file: FileHandle,
    private readonly spans: Spans,
    private readonly mark: string,
    private readonly header: Header | undefined,
  ) {}

  static async open(path: string, kinds: Kinds, signal?: AbortSignal): Promise<TextRecords> {
    const form = await formOf(path, kinds);
    const scanner =
      form === "table"
        ? new CsvScanner(path)
        : form === "list"
          ? new EntryScanner((kind, entry) => brokenList(path, kind, entry))
          : new LineScanner();
    const file = await openPlain(path);
    try {
      const mark = await markOf(path, file);
      const spans = await scanned(path, scanner, signal);
      return new TextRecords(path, file, spans, mark, scanner instanceof CsvScanner ? scanner.header : undefined);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get length(): number {
    return this.spans.length;
  }
  get sizes(): ArrayLike<number> {
    return this.spans.sizes;
  }
  get columns(): readonly string[] | undefined {
    return this.header?.names;
  }
  numberOf(index: number): number {
    return this.spans.at(index).number;
  }

  async record(index: number): Promise<DataRecord | DataError> {
    checkIndex(this.path, index, this.length);
    const span = this.spans.at(index);
    const record = span.bytes > MAX_PIECE ? this.#tooLong(span) : this.#parsed(span, await this.#bytes(span));
    if (!(record instanceof DataError)) return record;
    await this.#checkUnchanged(); // else it may be that other bytes have come to stand there
    return record;
  }

  close(): Promise<void> {
    return this.file.close();
  }

  async #bytes({ from, bytes: length }: Span): Promise<Buffer> {
    const bytes = Buffer.alloc(length);
    let at = 0;
    while (at < length) {
      const { bytesRead } = await onFile("to be read", this.path, () => this.file.read(bytes, at, length - at, from + at));
      if (!bytesRead) break;
      at += bytesRead;
    }
    return bytes.subarray(0, at);
  }

  #parsed({ number }: Span, bytes: Buffer): DataRecord | DataError {
    const none = () => new DataError("E_ROW", this.path, number, "a row", "a blank one", "write the file anew");
    if (!this.header) return parsedObject(this.path, { number, bytes }) ?? none();
    const cutter = new CsvCutter(this.path, this.header);
    let line = number;
    const cuts = [];
    for (let from = 0; from <= bytes.length; ++line) {
      const end = bytes.indexOf(10, from);
      const text = bytes.subarray(from, end < 0 ? bytes.length : end);
      cuts.push(...cutter.add(line, text.at(-1) === 13 ? text.subarray(0, -1) : text));
      if (end < 0) break;
      from = end + 1;
    }
    const [first] = [...cuts, ...cutter.end()];
    if (!first) return none();
    return first.row instanceof DataError ? first.row : { ...first.row, table: true };
  }

  #tooLong({ number }: Span): DataError {
    if (this.header) return new DataError("E_ROW", this.path, number, "a line of UTF-8", ...notUtf8(undefined));
    return parsedObject(this.path, { number, bytes: undefined }) as DataError;
  }

  async #checkUnchanged(): Promise<void> {
    if ((await markOf(this.path, this.file)) === this.mark) return;
    throw new DataError(
      "E_DATA",
      this.path,
      undefined,
      "the file as it was when reading began",
      "another",
      "begin anew, and let it be meanwhile",
    );
  }
}

async function markOf(path: string, file: FileHandle): Promise<string> {
  const { size, mtimeNs } = await onFile("to be read", path, () => file.stat({ bigint: true }));
  return `${size} ${mtimeNs}`;
}
