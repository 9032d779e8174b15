// Parquet, as the hub's data sets are kept: rows by groups, of which one is read when a row of it is asked for, media as bytes within them.
import type { FileHandle } from "node:fs/promises";
import type { AsyncBuffer, Compressors, FileMetaData } from "hyparquet";
import { onFile } from "../../core/file-error.js";
import { openPlain } from "../../core/plain-file.js";
import { reasonOf } from "../../media/error.js";
import { isMissing } from "../../media/libraries.js";
import type { DataRecord } from "../records.js";
import { DataError } from "../row.js";
import { checkPages } from "./parquet-pages.js";
import { checkIndex, findLast, type RecordSource } from "./source.js";

/** Bytes of a group of rows when it is unpacked, and of the file's description. Writers stay far below: 100 pictures, 1000 texts. */
const MOST_GROUP = 2 ** 30;
const MOST_FOOTER = 64 << 20;
/** Rows of a group, of which each is an object, and for each byte of the file: what says nothing takes next to no room. */
const MOST_ROWS = 2 ** 22;
const ROWS_A_BYTE = 1024;
/** Unpacked bytes of groups that are kept, as far as that is more than one. */
const KEPT = 256 << 20;
const MOST_TOGETHER = 8;

type Library = typeof import("hyparquet");

export class ParquetRecords implements RecordSource {
  readonly blocks: readonly number[];
  readonly together: number;
  readonly #starts: number[] = [];
  /** The latest first asked for goes first. */
  readonly #groups = new Map<number, Promise<readonly DataRecord["fields"][]>>();

  private constructor(
    readonly path: string,
    private readonly file: FileHandle,
    private readonly buffer: AsyncBuffer,
    private readonly metadata: FileMetaData,
    private readonly library: Library,
    private readonly compressors: Compressors,
  ) {
    this.blocks = metadata.row_groups.map(({ num_rows }) => Number(num_rows));
    let start = 0;
    for (const rows of this.blocks) {
      this.#starts.push(start);
      start += rows;
    }
    const largest = Math.max(1, ...metadata.row_groups.map(({ total_byte_size }) => Number(total_byte_size)));
    this.together = Math.max(1, Math.min(MOST_TOGETHER, Math.floor(KEPT / largest)));
  }

  static async open(path: string): Promise<ParquetRecords> {
    const [library, compressors] = await librariesFor(path);
    const file = await openPlain(path);
    try {
      const { size } = await onFile("to be read", path, () => file.stat());
      const buffer: AsyncBuffer = { byteLength: size, slice: (from, to = size) => observed(bytesOf(path, file, from, Math.min(to, size))) };
      await checkFooter(path, file, size);
      const metadata = await damaged(path, () => library.parquetMetadataAsync(buffer, { geoparquet: false }));
      checkGroups(path, metadata, size);
      await damaged(path, async () => checkColumns(path, metadata, library));
      return new ParquetRecords(path, file, buffer, metadata, library, compressors);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get length(): number {
    return this.blocks.reduce((sum, rows) => sum + rows, 0);
  }
  get columns(): readonly string[] {
    return this.library.parquetSchema(this.metadata).children.map(({ element }) => element.name);
  }
  numberOf(index: number): number {
    return index + 1;
  }

  async record(index: number): Promise<DataRecord> {
    checkIndex(this.path, index, this.length);
    const group = findLast(this.#starts, index);
    const known = this.#groups.get(group);
    const rows = known ?? this.#read(group);
    this.#groups.delete(group);
    this.#groups.set(group, rows);
    for (const oldest of this.#groups.keys()) {
      if (this.#groups.size <= this.together + 1) break;
      this.#groups.delete(oldest);
    }
    return { number: index + 1, fields: (await rows)[index - (this.#starts[group] as number)] as DataRecord["fields"] };
  }

  close(): Promise<void> {
    this.#groups.clear();
    return this.file.close();
  }

  /** Nobody says how many values a page may claim, and room is made for as many. */
  async #checkPages(group: number): Promise<void> {
    const { path, file, buffer } = this;
    for (const { meta_data: column } of this.metadata.row_groups[group]?.columns ?? []) {
      if (!column) continue;
      const name = column.path_in_schema.join(".");
      const [from, bytes] = [Number(column.dictionary_page_offset || column.data_page_offset), Number(column.total_compressed_size)];
      if (!(from >= 0 && bytes >= 0 && from + bytes <= buffer.byteLength))
        throw broken(path, `bytes ${from} to ${from + bytes} for column ${name}`);
      const { element } = this.library.parquetSchema(this.metadata).children.find((child) => child.element.name === name) ?? {};
      const chunk = { name, from, bytes, unpacked: Number(column.total_uncompressed_size), rows: this.blocks[group] as number };
      const flat = element !== undefined && element.repetition_type !== "REPEATED";
      await checkPages(
        { ...chunk, flat },
        (start, end) => bytesOf(path, file, start, end),
        (got) => broken(path, got),
      );
    }
  }

  async #read(group: number): Promise<readonly DataRecord["fields"][]> {
    const rowStart = this.#starts[group] as number;
    const rowEnd = rowStart + (this.blocks[group] as number);
    const { buffer: file, metadata, compressors } = this;
    await this.#checkPages(group);
    const rows = await damaged(this.path, () =>
      this.library.parquetReadObjects({ file, metadata, compressors, rowStart, rowEnd, utf8: false, geoparquet: false }),
    );
    if (rows.length !== rowEnd - rowStart) throw broken(this.path, `${rows.length} rows in group ${group + 1} of ${rowEnd - rowStart}`);
    return rows.map((row) => plain(row) as DataRecord["fields"]);
  }
}

/** As JSON would have it: whole numbers as numbers, times as text; bytes stay. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (Array.isArray(value)) return value.map(plain);
  if (ArrayBuffer.isView(value)) return value instanceof Uint8Array ? value : Array.from(value as unknown as ArrayLike<number>);
  if (typeof value !== "object" || value === null) return value;
  const own = Object.entries(value).map(([key, inner]) => [key, plain(inner)] as const);
  return Object.fromEntries(own);
}

async function librariesFor(path: string): Promise<[Library, Compressors]> {
  try {
    const [library, { compressors, decompressZstd }] = await Promise.all([import("hyparquet"), import("hyparquet-compressors")]);
    // A page says how long it will be; nothing is unpacked beyond.
    const bounded = Object.entries({
      ...compressors,
      ZSTD: (input: Uint8Array, length: number) => decompressZstd(input, new Uint8Array(length)),
    }).map(([name, unpack]) => [name, (input: Uint8Array, length: number) => unpack(input, checkedLength(path, length))]);
    return [library, Object.fromEntries(bounded)];
  } catch (cause) {
    if (!isMissing(cause)) throw cause;
    throw new DataError(
      "E_DATA",
      path,
      undefined,
      "hyparquet and hyparquet-compressors, which read Parquet",
      `no such library that loads (${reasonOf(cause)})`,
      "install them: npm install hyparquet hyparquet-compressors",
      { cause },
    );
  }
}

function checkedLength(path: string, length: number): number {
  if (length >= 0 && length <= MOST_GROUP) return length;
  throw broken(path, `a page of ${length} bytes`);
}

async function checkFooter(path: string, file: FileHandle, size: number): Promise<void> {
  if (size < 12) throw broken(path, `${size} bytes`);
  const end = Buffer.from(await bytesOf(path, file, size - 8, size));
  if (end.toString("latin1", 4) !== "PAR1") throw broken(path, `another end than PAR1 (${JSON.stringify(end.toString("latin1", 4))})`);
  const length = end.readUInt32LE(0);
  if (length > Math.min(MOST_FOOTER, size - 12)) throw broken(path, `a description of ${length} bytes`);
}

function checkGroups(path: string, { row_groups: groups, num_rows: all }: FileMetaData, size: number): void {
  let sum = 0;
  for (const [i, { num_rows, total_byte_size }] of groups.entries()) {
    const [rows, bytes] = [Number(num_rows), Number(total_byte_size)];
    if (!(Number.isSafeInteger(rows) && rows >= 0)) throw broken(path, `${num_rows} rows in group ${i + 1}`);
    if (rows > ROWS_A_BYTE * size) throw broken(path, `${rows} rows in group ${i + 1} of a file of ${size} bytes`);
    for (const [what, most, got] of [
      ["bytes", MOST_GROUP, bytes],
      ["rows", MOST_ROWS, rows],
    ] as const)
      if (!(got <= most)) {
        const remedy = "write it with smaller ones, as row_group_size=100 of pyarrow for rows with pictures";
        throw new DataError("E_DATA", path, undefined, `groups of at most ${most} ${what}`, `${got} in group ${i + 1}`, remedy);
      }
    sum += rows;
  }
  if (!Number.isSafeInteger(sum) || sum !== Number(all)) throw broken(path, `${all} rows, and ${sum} in its groups`);
}

/** Bytes may be asked for ahead, and never taken where something else fails first. */
function observed<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

/** A column that stands elsewhere than where the schema has it would be read, and nobody would hear of its errors. */
function checkColumns(path: string, metadata: FileMetaData, library: Library): void {
  const leaves: string[] = [];
  const walk = ({ children, path: place }: ReturnType<Library["parquetSchema"]>): void => {
    if (!children.length) leaves.push(place.join("."));
    for (const child of children) walk(child);
  };
  walk(library.parquetSchema(metadata));
  for (const [i, { columns }] of metadata.row_groups.entries()) {
    const own = columns.map(({ meta_data }) => meta_data?.path_in_schema.join("."));
    if (own.length !== leaves.length || own.some((place, k) => place !== leaves[k]))
      throw broken(path, `other columns in group ${i + 1} than in the schema`);
  }
}

async function bytesOf(path: string, file: FileHandle, from: number, to: number): Promise<ArrayBuffer> {
  const length = to - from;
  if (!(from >= 0 && length >= 0 && length <= 2 * MOST_GROUP)) throw broken(path, `bytes ${from} to ${to}`);
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; ) {
    const { bytesRead } = await onFile("to be read", path, () => file.read(bytes, at, length - at, from + at));
    if (!bytesRead) throw broken(path, `an end at ${from + at} bytes`);
    at += bytesRead;
  }
  return bytes.buffer;
}

/** What a reader of others throws of a stranger's file, in our words. */
async function damaged<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    if (cause instanceof DataError) throw cause;
    throw broken(path, reasonOf(cause), cause);
  }
}

const broken = (path: string, got: string, cause?: unknown): DataError =>
  new DataError("E_DATA", path, undefined, "a whole Parquet file", got, "fetch or write it again", { cause });
