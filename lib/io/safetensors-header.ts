// The header of a safetensors file: 8 bytes of length, then JSON that maps names to {dtype, shape, data_offsets}, then the data.
// Files come from anywhere, so everything the header claims is checked before a byte of data is believed.

import { AnymalError } from "../core/errors.js";

/** E_SAFETENSORS: a file whose header claims what cannot be. */
export class SafetensorsError extends AnymalError {
  override readonly name = "SafetensorsError";
  constructor(
    readonly file: string,
    readonly expected: string,
    readonly got: string,
    advice = "the file is damaged or was not written by safetensors: fetch it again",
  ) {
    super("E_SAFETENSORS", `${file}: expected ${expected}, got ${got}; ${advice}`);
  }
}

// biome-ignore format: a table
const DTYPE_BYTES = {
  BOOL: 1, U8: 1, I8: 1, F8_E5M2: 1, F8_E4M3: 1, F8_E8M0: 1, I16: 2, U16: 2, F16: 2, BF16: 2, I32: 4, U32: 4, F32: 4, F64: 8, I64: 8, U64: 8,
} as const;
export type FileDType = keyof typeof DTYPE_BYTES;
export const fileDTypeBytes = (dtype: FileDType): number => DTYPE_BYTES[dtype];
/** Where it stands in the order of the reference implementation, which files have backwards: wide ones first keep each aligned without padding. */
export const fileDTypeRank = (dtype: FileDType): number => RANKS.indexOf(dtype);
const RANKS = Object.keys(DTYPE_BYTES);

export interface Entry {
  dtype: FileDType;
  shape: readonly number[];
  /** From the start of the file. */
  offset: number;
  bytes: number;
}
export interface Header {
  entries: Map<string, Entry>;
  metadata: Map<string, string>;
}

/** The same cap as the reference implementation: a longer header is an attack or a mistake. */
const MAX_HEADER = 100_000_000;
/** In one file. The largest published models have 100 000 in all of their shards; each is an object in memory, many times as long as its text. */
const MAX_TENSORS = 2 ** 17;
/** Brackets within brackets: sizes in an entry in the header are three. */
const DEEPEST = 8;
export const PREFIX = 8;
/** As NumPy and PyTorch have it. */
const MAX_RANK = 64;

/** What to do about torch.save's format, which is a program that runs when it is read. */
export const NO_PICKLES =
  "pickles can run code where Python reads them, so models are not loaded from them: anymal convert IN OUT writes its tensors as safetensors and runs nothing";

/** Of torch.save: a zip archive, or before torch 1.6 a pickle of protocol 2 or later. */
function isPickle(prefix: ArrayBuffer): boolean {
  const [a, b, c, d] = new Uint8Array(prefix) as unknown as [number, number, number, number];
  return (a === 0x50 && b === 0x4b && c === 3 && d === 4) || (a === 0x80 && b >= 2 && b <= 5 && c !== 0);
}

/** Length of the JSON part, from the file's first 8 bytes. */
export function headerLength(prefix: ArrayBuffer, file: string, fileSize: number): number {
  if (fileSize < PREFIX || prefix.byteLength < PREFIX) throw new SafetensorsError(file, "at least 8 bytes", `a file of ${fileSize} bytes`);
  const length = new DataView(prefix).getBigUint64(0, true);
  if (length > MAX_HEADER && isPickle(prefix))
    throw new SafetensorsError(file, "a file in safetensors format", "a pickle of PyTorch", NO_PICKLES);
  if (length > MAX_HEADER) throw new SafetensorsError(file, `a header of at most ${MAX_HEADER} bytes`, `a length of ${length}`);
  if (Number(length) > fileSize - PREFIX)
    throw new SafetensorsError(file, `a header of ${length} bytes`, `a file that ends after ${fileSize}`);
  return Number(length);
}

export function parseHeader(json: Uint8Array, file: string, fileSize: number): Header {
  const fail = (expected: string, got: string): never => {
    throw new SafetensorsError(file, expected, got);
  };
  const root = parseObject(json, fail);
  const dataStart = PREFIX + json.byteLength;
  const dataLength = fileSize - dataStart;
  const entries = new Map<string, Entry>();
  let metadata = new Map<string, string>();
  for (const [name, value] of Object.entries(root)) {
    if (name === "__metadata__") metadata = readMetadata(value, fail);
    else entries.set(name, readEntry(short(name), value, dataStart, dataLength, fail));
  }
  // Without gaps and overlaps nothing can hide in the file and no two tensors can share bytes.
  let end = dataStart;
  for (const [name, entry] of [...entries].sort(([, a], [, b]) => a.offset - b.offset || a.bytes - b.bytes)) {
    if (entry.offset !== end)
      fail(`"${short(name)}" to start at data offset ${end - dataStart}, where the one before it ends`, `${entry.offset - dataStart}`);
    end += entry.bytes;
  }
  if (end !== fileSize) fail(`${end} bytes in all`, `a file of ${fileSize}`);
  return { entries, metadata };
}

type Fail = (expected: string, got: string) => never;
const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);
const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const short = (text: string): string => (text.length > 80 ? `${text.slice(0, 80)}…` : text);
/** A value of foreign JSON as messages show it. */
export const show = (value: unknown): string => {
  try {
    return short(JSON.stringify(value) ?? "nothing");
  } catch {
    return typeof value; // nested deeper than the stack
  }
};

function parseObject(json: Uint8Array, fail: Fail): Record<string, unknown> {
  if (json[0] !== 0x7b) fail('a header that starts with "{"', json.length ? `byte ${json[0]}` : "an empty header");
  const { objects, keys, deepest } = survey(json);
  if (objects > MAX_TENSORS + 2) fail(`at most ${MAX_TENSORS} tensors`, `${objects - 1}`);
  if (deepest > DEEPEST) fail(`a header of at most ${DEEPEST} levels`, `${deepest}`);
  let text = "";
  let root: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(json);
    root = JSON.parse(text);
  } catch (error) {
    fail("a header in JSON", short((error as Error).message));
  }
  if (!isObject(root)) return fail("a JSON object", show(root));
  const twice = keysIn(root) === keys ? undefined : duplicateKey(text);
  if (twice !== undefined) fail("every name once", `"${short(twice)}" twice`);
  return root;
}

/** What there is outside of strings; of text that is no JSON, something. */
function survey(json: Uint8Array): { objects: number; keys: number; deepest: number } {
  let [objects, keys, depth, deepest] = [0, 0, 0, 0];
  for (let at = 0; at < json.length; ++at) {
    switch (json[at]) {
      case 0x22: // "
        for (++at; at < json.length && json[at] !== 0x22; ++at) if (json[at] === 0x5c) ++at;
        break;
      case 0x3a: // :
        ++keys;
        break;
      case 0x7b: // {
        ++objects;
        if (++depth > deepest) deepest = depth;
        break;
      case 0x5b: // [
        if (++depth > deepest) deepest = depth;
        break;
      case 0x5d: // ]
      case 0x7d: // }
        --depth;
    }
  }
  return { objects, keys, deepest };
}

/** Where no key stands twice, as many as there are colons. */
function keysIn(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0;
  if (Array.isArray(value)) return value.reduce((sum: number, one) => (typeof one === "object" ? sum + keysIn(one) : sum), 0);
  let count = 0;
  for (const key in value) count += 1 + keysIn((value as Record<string, unknown>)[key]);
  return count;
}

function readMetadata(value: unknown, fail: Fail): Map<string, string> {
  if (!isObject(value)) return fail("__metadata__ to be an object of strings", show(value));
  for (const [key, text] of Object.entries(value))
    if (typeof text !== "string") fail(`__metadata__ "${short(key)}" to be a string`, show(text));
  return new Map(Object.entries(value as Record<string, string>));
}

function readEntry(name: string, value: unknown, dataStart: number, dataLength: number, fail: Fail): Entry {
  if (!isObject(value)) return fail(`"${name}" to be an object`, show(value));
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== "string" || !Object.hasOwn(DTYPE_BYTES, dtype))
    return fail(`"${name}" to have one of the dtypes ${Object.keys(DTYPE_BYTES).join(", ")}`, show(dtype));
  if (!Array.isArray(shape) || !shape.every(isSize)) return fail(`"${name}" to have a shape of integers >= 0`, show(shape));
  if (shape.length > MAX_RANK) return fail(`"${name}" to have at most ${MAX_RANK} sizes`, `${shape.length}`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize))
    return fail(`"${name}" to have two data_offsets`, show(offsets));
  const [begin, end] = offsets as [number, number];
  if (begin > end || end > dataLength) fail(`"${name}" to lie inside the ${dataLength} bytes of data`, `data_offsets [${begin}, ${end}]`);
  const bytes = shapeSize(shape) * DTYPE_BYTES[dtype as FileDType];
  if (bytes !== end - begin) fail(`"${name}" to take ${bytes} bytes for ${dtype} [${shape}]`, `${end - begin}`);
  return { dtype: dtype as FileDType, shape, offset: dataStart + begin, bytes };
}

/** Infinity where the product leaves the range of exact integers. */
export function shapeSize(shape: readonly number[]): number {
  if (shape.includes(0)) return 0;
  const size = shape.reduce((a, b) => a * b, 1);
  return Number.isSafeInteger(size) ? size : Infinity;
}

// JSON.parse keeps the last of two equal keys without a word. `text` is valid JSON here, so looking at strings and brackets is enough.
function duplicateKey(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = []; // keys of each open object; undefined for an array
  let key = false;
  for (let i = 0; i < text.length; ++i) {
    const c = text[i];
    if (c === "{") {
      open.push(new Set());
      key = true;
    } else if (c === "[") {
      open.push(undefined);
      key = false;
    } else if (c === "}" || c === "]") {
      open.pop();
      key = false;
    } else if (c === ",") {
      key = open.at(-1) !== undefined;
    } else if (c === '"') {
      const start = i++;
      while (text[i] !== '"') i += text[i] === "\\" ? 2 : 1;
      if (!key) continue;
      key = false;
      const name = JSON.parse(text.slice(start, i + 1)) as string;
      const names = open.at(-1) as Set<string>;
      if (names.has(name)) return name;
      names.add(name);
    }
  }
  return undefined;
}

export interface Planned {
  dtype: FileDType;
  shape: readonly number[];
}

/** Prefix and JSON for tensors that follow in the given order. The data starts at a multiple of 8, as mapped readers like it. */
export function encodeHeader(tensors: Iterable<readonly [string, Planned]>, metadata: Readonly<Record<string, string>> = {}): Uint8Array {
  const root: Record<string, unknown> = Object.create(null);
  if (Object.keys(metadata).length) root.__metadata__ = metadata;
  let offset = 0;
  for (const [name, { dtype, shape }] of tensors) {
    const end = offset + shapeSize(shape) * DTYPE_BYTES[dtype];
    root[name] = { dtype, shape, data_offsets: [offset, end] };
    offset = end;
  }
  const text = new TextEncoder().encode(JSON.stringify(root));
  const length = Math.ceil(text.length / 8) * 8;
  const bytes = new Uint8Array(PREFIX + length).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(text, PREFIX);
  return bytes;
}
