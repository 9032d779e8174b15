// A data set's folder as it was unpacked: files by the names that the publishers gave them.
import { existsSync, statSync } from "node:fs";
import { basename, extname, join } from "node:path";
import { isObject } from "../../core/checks.js";
import { parseShallow } from "../../core/json.js";
import { readPlain } from "../../core/plain-file.js";
import { CsvCutter } from "../../data/csv.js";
import { linesOf } from "../../data/lines.js";
import { type DataRecord, recordsOf } from "../../data/records.js";
import { DataError } from "../../data/row.js";
import { reasonOf } from "../../media/error.js";
import { BUILT_IN } from "../../media/kinds/index.js";

export type Fields = Readonly<Record<string, unknown>>;

/** Bytes of one JSON file: VQA v2's annotations of a split have a third. */
const MOST = 448 << 20;

/** What a task reads its questions from. Its files are found by name, and parsed; what is wrong with them is E_DATA, with one row E_ROW. */
export class TaskFolder {
  constructor(
    /** Or a file in it, where that one is to be taken. */
    readonly path: string,
    private readonly task: { name: string; layout: string },
    readonly signal?: AbortSignal,
  ) {
    if (!existsSync(path)) throw this.#wrong("no such folder");
  }

  /** Where media lie. */
  get root(): string {
    return this.#file === undefined ? this.path : join(this.path, "..");
  }
  get #file(): string | undefined {
    return statSync(this.path).isFile() ? this.path : undefined;
  }

  /** The first of these that is there; the file itself where the path names one. Throws E_DATA. */
  file(...names: readonly string[]): string {
    const found = this.optional(...names);
    if (this.#file !== undefined) return this.#file;
    if (found === undefined) throw this.#wrong(`none of ${names.join(", ")}`);
    return found;
  }
  /** The first of these that is there, or none. */
  optional(...names: readonly string[]): string | undefined {
    return names.map((name) => join(this.root, name)).find((path) => existsSync(path));
  }

  /** A file that is one JSON value. */
  async json(path: string): Promise<unknown> {
    this.signal?.throwIfAborted();
    const text = (await readPlain(path, { most: MOST })).toString("utf8");
    try {
      return parseShallow(text);
    } catch (cause) {
      throw this.#wrong(`text that does not parse in ${basename(path)} (${reasonOf(cause)})`, cause);
    }
  }
  /** A file that is one JSON object with these lists of objects. */
  async lists<K extends string>(path: string, ...keys: readonly K[]): Promise<Record<K, Fields[]>> {
    const value = await this.json(path);
    const content = isObject(value) ? value : {};
    for (const key of keys) if (!Array.isArray(content[key])) throw this.#wrong(`no list "${key}" in ${basename(path)}`);
    return Object.fromEntries(keys.map((key) => [key, (content[key] as unknown[]).filter(isObject)])) as Record<K, Fields[]>;
  }

  /** Rows of JSONL, a JSON list or a table with a header. */
  records(path: string): AsyncGenerator<DataRecord | DataError> {
    return recordsOf(path, this.signal, BUILT_IN);
  }
  /** Rows of a table that may have no header: these are its columns then. */
  async *table(path: string, columns: readonly string[]): AsyncGenerator<DataRecord | DataError> {
    let cutter: CsvCutter | undefined;
    for await (const { number, bytes } of linesOf(path, this.signal)) {
      if (!cutter) {
        const delimiter = extname(path) === ".tsv" ? "\t" : ",";
        const names = Buffer.from(bytes ?? [])
          .toString()
          .split(delimiter);
        const header = names.some((name) => columns.includes(name.trim().replace(/^"(.*)"$/, "$1")));
        cutter = header ? new CsvCutter(path) : new CsvCutter(path, { names: columns, delimiter });
      }
      for (const { row } of cutter.add(number, bytes)) yield row;
    }
    for (const { row } of cutter?.end() ?? []) yield row;
  }

  /** What is wrong with one row. */
  bad(path: string, row: number, wanted: string, got: string): DataError {
    return new DataError("E_ROW", path, row, wanted, got, "mend it, or leave it out with onBadRow: 'skip'");
  }
  #wrong(got: string, cause?: unknown): DataError {
    const { name, layout } = this.task;
    return new DataError("E_DATA", this.path, undefined, `the data of ${name}: ${layout}`, got, "name the folder that holds it", { cause });
  }
}
