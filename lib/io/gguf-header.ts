// The head of a GGUF file (llama.cpp's ggml/docs/gguf.md): magic, version, counts, keys with typed values, then where each tensor lies.
// Files come from anywhere: every count and length is compared with the bytes that are left before anything is made of it.
import { AnymalError } from "../core/errors.js";
import { atOnce, type Pieces } from "../core/turns.js";
import { byNumber, type GgufTypeName, typeOf } from "./gguf-types.js";

/** E_GGUF: a file that is no GGUF, is damaged, or has a type that is not read. */
export class GgufError extends AnymalError {
  override readonly name = "GgufError";
  constructor(
    readonly file: string,
    readonly expected: string,
    readonly got: string,
    advice = "the file is damaged or was not written for llama.cpp: fetch it again",
  ) {
    super("E_GGUF", `${file}: expected ${expected}, got ${got}; ${advice}`);
  }
}

/** Numbers of 64 bits that are not exact as a number stay bigint; arrays of numbers are typed arrays over a copy of their bytes. */
export type GgufValue = number | bigint | boolean | string | GgufArray;
export type GgufArray =
  | readonly string[]
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array
  | BigUint64Array
  | BigInt64Array;

export interface GgufTensor {
  type: GgufTypeName;
  /** Row-major, the leading size first: the reverse of the order in the file. */
  shape: readonly number[];
  /** From the start of the file. */
  offset: number;
  bytes: number;
}
export interface GgufHeader {
  version: number;
  values: ReadonlyMap<string, GgufValue>;
  tensors: ReadonlyMap<string, GgufTensor>;
}

/** What the header is read from. Throws when [offset, offset + length) is not inside. */
export interface GgufBytes {
  readonly size: number;
  read(offset: number, length: number): ArrayBuffer;
}

// The largest vocabularies with their merges take about 20 MB. More is an attack or a mistake, and must not cost memory.
const MAX_HEADER = 2 ** 26;
const MAX_ENTRIES = 2 ** 22;
const MAX_TENSORS = 2 ** 16;
const MAX_NAME = 2 ** 16 - 1;
const MAX_DIMS = 4;
const DEFAULT_ALIGNMENT = 32;

const STRING = 8;
const ARRAY = 9;
// biome-ignore format: a table
const KINDS: Readonly<Record<number, { name: string; bytes: number; array: (buffer: ArrayBuffer) => GgufArray }>> = {
  0: { name: "u8", bytes: 1, array: (b) => new Uint8Array(b) },
  1: { name: "i8", bytes: 1, array: (b) => new Int8Array(b) },
  2: { name: "u16", bytes: 2, array: (b) => new Uint16Array(b) },
  3: { name: "i16", bytes: 2, array: (b) => new Int16Array(b) },
  4: { name: "u32", bytes: 4, array: (b) => new Uint32Array(b) },
  5: { name: "i32", bytes: 4, array: (b) => new Int32Array(b) },
  6: { name: "f32", bytes: 4, array: (b) => new Float32Array(b) },
  7: { name: "bool", bytes: 1, array: (b) => new Uint8Array(b) },
  10: { name: "u64", bytes: 8, array: (b) => new BigUint64Array(b) },
  11: { name: "i64", bytes: 8, array: (b) => new BigInt64Array(b) },
  12: { name: "f64", bytes: 8, array: (b) => new Float64Array(b) },
};
const BOOL = 7;
const AT_ONCE = 1024;

type Fail = (expected: string, got: string, advice?: string) => never;

export function readGgufHeader(bytes: GgufBytes, file: string): GgufHeader {
  return atOnce(ggufHeader(bytes, file));
}

/** The same in pieces: a vocabulary with its merges is a quarter of a million strings. */
export function* ggufHeader(bytes: GgufBytes, file: string): Pieces<GgufHeader> {
  const fail: Fail = (expected, got, advice) => {
    throw new GgufError(file, expected, got, advice);
  };
  const cursor = new Cursor(bytes, fail);
  const version = readVersion(cursor, fail);
  const tensorCount = cursor.count("tensors", MAX_TENSORS, 24);
  const valueCount = cursor.count("keys", MAX_ENTRIES, 13);
  const values = new Map<string, GgufValue>();
  for (let i = 0; i < valueCount; ++i) {
    const key = cursor.string("a key", MAX_NAME);
    if (values.has(key)) fail("every key once", `"${shown(key)}" twice`);
    values.set(key, yield* readValue(cursor, key, fail));
    if (i % AT_ONCE === AT_ONCE - 1) yield;
  }
  const alignment = alignmentOf(values, fail);
  const tensors = new Map<string, GgufTensor>();
  for (let i = 0; i < tensorCount; ++i) {
    const name = cursor.string("a tensor's name", MAX_NAME);
    if (tensors.has(name)) fail("every tensor once", `"${shown(name)}" twice`);
    tensors.set(name, readTensor(cursor, name, fail));
    if (i % AT_ONCE === AT_ONCE - 1) yield;
  }
  place(tensors, Math.ceil(cursor.at / alignment) * alignment, alignment, bytes.size, fail);
  return { version, values, tensors };
}

const shown = (name: string): string => (name.length > 80 ? `${name.slice(0, 80)}…` : name);

function readVersion(cursor: Cursor, fail: Fail): number {
  if (cursor.left < 24) fail("at least 24 bytes", `a file of ${cursor.left}`);
  const magic = cursor.u32();
  if (magic !== 0x46554747) fail('a file that begins with "GGUF"', `0x${magic.toString(16).padStart(8, "0")}`, "it is no GGUF file");
  const version = cursor.u32();
  if (version === 2 || version === 3) return version;
  const swapped = version > 0xffff;
  return fail(
    "GGUF version 2 or 3, little-endian",
    swapped ? "a big-endian file" : `version ${version}`,
    swapped ? "convert it with gguf-py's gguf_convert_endian.py" : "convert the model again with a newer convert_hf_to_gguf.py",
  );
}

function* readValue(cursor: Cursor, key: string, fail: Fail): Pieces<GgufValue> {
  const type = cursor.u32();
  if (type === STRING) return cursor.string(`"${shown(key)}"`, MAX_HEADER);
  if (type === ARRAY) return yield* readArray(cursor, key, fail);
  const kind = Object.hasOwn(KINDS, type) ? KINDS[type] : undefined;
  if (!kind) return fail(`a type of value from 0 to 12 for "${shown(key)}"`, `${type}`);
  const value = kind.array(cursor.take(kind.bytes))[0] as number | bigint;
  if (type === BOOL) return value === 0 ? false : value === 1 ? true : fail(`0 or 1 for "${shown(key)}"`, `${value}`);
  return typeof value === "bigint" && BigInt(Number(value)) === value && Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

function* readArray(cursor: Cursor, key: string, fail: Fail): Pieces<GgufArray> {
  const type = cursor.u32();
  const kind = Object.hasOwn(KINDS, type) ? KINDS[type] : undefined;
  if (type !== STRING && !kind)
    return fail(`an array of numbers or strings for "${shown(key)}"`, type === ARRAY ? "an array of arrays" : `type ${type}`);
  const count = cursor.count(`entries of "${shown(key)}"`, MAX_ENTRIES, kind?.bytes ?? 8);
  if (kind) return kind.array(cursor.take(count * kind.bytes));
  const strings: string[] = [];
  for (let i = 0; i < count; ++i) if (strings.push(cursor.string(`"${shown(key)}"`, MAX_HEADER)) % AT_ONCE === 0) yield;
  return strings;
}

function alignmentOf(values: ReadonlyMap<string, GgufValue>, fail: Fail): number {
  const alignment = values.get("general.alignment") ?? DEFAULT_ALIGNMENT;
  if (typeof alignment !== "number" || !Number.isInteger(Math.log2(alignment)) || alignment < 1)
    return fail("general.alignment to be a power of two", typeof alignment === "object" ? "an array" : `${alignment}`);
  return alignment;
}

/** Its offset is still that within the data. */
function readTensor(cursor: Cursor, name: string, fail: Fail): GgufTensor {
  const dims = cursor.u32();
  if (dims > MAX_DIMS) fail(`"${shown(name)}" to have at most ${MAX_DIMS} sizes`, `${dims}`);
  const sizes = Array.from({ length: dims }, () => cursor.u64());
  const number = cursor.u32();
  const type =
    byNumber(number) ?? fail(`"${shown(name)}" in a type of ggml`, `type ${number}`, "convert it to F16 or Q8_0 with llama-quantize");
  const offset = cursor.u64();
  const elements = sizes.includes(0) ? 0 : sizes.reduce((a, b) => a * b, 1);
  const { block, bytes } = typeOf(type);
  const size = (elements / block) * bytes;
  if (!Number.isSafeInteger(elements) || !Number.isSafeInteger(Math.ceil(size)))
    fail(`"${shown(name)}" to have a size that can be counted`, `[${[...sizes].reverse()}]`);
  if ((sizes[0] ?? 1) % block) fail(`"${shown(name)}" to have rows of whole blocks of ${block}, as ${type} has`, `rows of ${sizes[0]}`);
  if (!Number.isSafeInteger(offset)) fail(`"${shown(name)}" to begin inside of the file`, `offset ${offset}`);
  return { type, shape: sizes.reverse(), offset, bytes: size };
}

// Without gaps and overlaps no two tensors can share bytes. llama.cpp asks for the same.
function place(tensors: Map<string, GgufTensor>, start: number, alignment: number, fileSize: number, fail: Fail): void {
  let end = 0;
  for (const [name, tensor] of [...tensors].sort(([, a], [, b]) => a.offset - b.offset || a.bytes - b.bytes)) {
    if (tensor.offset !== end) fail(`"${shown(name)}" to start at data offset ${end}, where the one before it ends`, `${tensor.offset}`);
    tensor.offset += start;
    if (tensor.offset + tensor.bytes > fileSize)
      fail(`"${shown(name)}" to end at byte ${tensor.offset + tensor.bytes}`, `a file of ${fileSize}`, "it was cut: fetch it again");
    end = Math.ceil((end + tensor.bytes) / alignment) * alignment;
  }
}

const WINDOW = 2 ** 18;
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** Reads forwards through a window of the file, so that a header costs its own size and no more. */
class Cursor {
  at = 0;
  #start = 0;
  #window = new DataView(new ArrayBuffer(0));

  constructor(
    private readonly bytes: GgufBytes,
    private readonly fail: Fail,
  ) {}

  get left(): number {
    return Math.min(this.bytes.size, MAX_HEADER) - this.at;
  }

  /** Position in the window of the next `length` bytes, which are passed. */
  #pass(length: number): number {
    if (length > this.left) {
      const cut = this.at + length > this.bytes.size;
      this.fail(
        cut ? `${length} bytes at byte ${this.at}` : `a header of at most ${MAX_HEADER} bytes`,
        cut ? `a file of ${this.bytes.size}` : "a longer one",
        cut ? "it was cut, or its header lies: fetch it again" : undefined,
      );
    }
    if (this.at + length > this.#start + this.#window.byteLength) {
      this.#start = this.at;
      this.#window = new DataView(this.bytes.read(this.at, Math.min(Math.max(length, WINDOW), this.left)));
    }
    this.at += length;
    return this.at - length - this.#start;
  }

  /** A copy of the next bytes. */
  take(length: number): ArrayBuffer {
    const at = this.#pass(length);
    return this.#window.buffer.slice(at, at + length) as ArrayBuffer;
  }
  u32(): number {
    const at = this.#pass(4); // first: it may move the window
    return this.#window.getUint32(at, true);
  }
  /** Beyond 2^53 it is only near: what it counts is compared with less than that. */
  u64(): number {
    const at = this.#pass(8);
    return Number(this.#window.getBigUint64(at, true));
  }
  /** A count of things of at least `each` bytes, which must still lie in the file. */
  count(what: string, most: number, each: number): number {
    const count = this.u64();
    if (count > most) this.fail(`at most ${most} ${what}`, `${count}`);
    if (count * each > this.left)
      this.fail(`${count} ${what} in the ${this.left} bytes that are left`, `fewer`, "it was cut: fetch it again");
    return count;
  }
  string(what: string, most: number): string {
    const length = this.u64();
    if (length > most) this.fail(`${what} of at most ${most} bytes`, `a length of ${length}`);
    const at = this.#pass(length);
    return utf8.decode(new Uint8Array(this.#window.buffer, at, length));
  }
}
