// The first form of all, of PyTorch 0.1: a tar archive of "storages", "tensors" and "pickle", in which tensors are told of by numbers.
import type { Pieces } from "../../core/turns.js";
import { allowed } from "./allowed.js";
import { type Bytes, Cursor } from "./cursor.js";
import { StorageKind } from "./dtypes.js";
import { quoted } from "./error.js";
import type { Fail } from "./literals.js";
import type { Surroundings } from "./machine.js";
import { unpickle } from "./pickle.js";
import { natural, StoredStorage, type StoredTensor, storedTensor } from "./tensor.js";
import { Tuple, type Value } from "./values.js";

const BLOCK = 512;
/** The archive has three members; more than a few are another archive. */
const MOST_MEMBERS = 64;
const MOST_DIMENSIONS = 64;

interface Part {
  from: number;
  end: number;
}

/** Is this the first block of a tar archive? Its checksum counts its own field as blanks. */
export function isTar(block: Uint8Array): boolean {
  if (block.length < BLOCK) return false;
  let sum = 0;
  for (let i = 0; i < BLOCK; ++i) sum += i >= 148 && i < 156 ? 0x20 : (block[i] as number);
  return octal(block, 148, 8) === sum;
}

export function* readTarForm(file: Bytes, fail: Fail): Pieces<Value> {
  const parts = membersOf(file, fail);
  const part = (name: string): Part => parts.get(name) ?? fail(`"${name}" in the archive`, "none");
  const objects = new Map<string, StoredStorage | StoredTensor>();
  yield* readStorages(file, part("storages"), objects, fail);
  yield* readTensors(file, part("tensors"), objects, fail);
  const { from, end } = part("pickle");
  return yield* unpickle(new Cursor(file, from, end), {
    global: allowed(fail),
    persistent: (id) => objects.get(keyOf(id, fail)) ?? fail("the number of a tensor", "that of none"),
  });
}

function membersOf(file: Bytes, fail: Fail): Map<string, Part> {
  const parts = new Map<string, Part>();
  for (let at = 0, i = 0; at + BLOCK <= file.size; ++i) {
    const header = new Uint8Array(file.read(at, BLOCK));
    if (header.every((byte) => byte === 0)) break;
    if (i >= MOST_MEMBERS) fail(`an archive of at most ${MOST_MEMBERS} members`, "one of more");
    if (!isTar(header)) fail(`the header of a member at ${at}`, "something else");
    const name = text(header, 0, 100).replace(/^\.\//, "");
    const bytes = octal(header, 124, 12);
    const [from, type] = [at + BLOCK, String.fromCharCode(header[156] as number)];
    if (!(from + bytes <= file.size)) fail(`${quoted(name)} of ${bytes} bytes inside of the file`, `a file of ${file.size}`);
    if (type === "0" || type === "\0") {
      if (parts.has(name)) fail("every name once", `${quoted(name)} twice`);
      parts.set(name, { from, end: from + bytes });
    }
    at = from + Math.ceil(bytes / BLOCK) * BLOCK;
  }
  return parts;
}

/** NaN where it is none. Long numbers are written in base 256, which begins with a set bit. */
function octal(block: Uint8Array, at: number, length: number): number {
  if ((block[at] as number) & 0x80) return block.subarray(at + 1, at + length).reduce((sum, byte) => sum * 256 + byte, 0);
  const digits = text(block, at, length).trim();
  return /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : Number.NaN;
}

/** Up to its first zero. */
const text = (block: Uint8Array, at: number, length: number): string =>
  new TextDecoder().decode(block.subarray(at, at + length)).replace(/\0.*$/s, "");

function keyOf(id: Value, fail: Fail): string {
  if (typeof id === "string" && /^-?\d{1,20}$/.test(id)) return String(BigInt(id));
  return typeof id === "number" || typeof id === "bigint" ? String(id) : fail("the number of a tensor or a storage", "something else");
}

/** A count, then for each (key, device, class) and the numbers behind their length; then views: (key, of which, from, length). */
function* readStorages(file: Bytes, { from, end }: Part, into: Map<string, StoredStorage | StoredTensor>, fail: Fail): Pieces<void> {
  const reader = new Reader(file, from, end, fail);
  for (let left = natural(yield* reader.pickle(), "the number of storages", fail); left > 0; --left) {
    const [key, , kind] = tupleOf(yield* reader.pickle(), fail);
    if (!(kind instanceof StorageKind)) return void fail("a storage's class", "something else");
    const numel = reader.long();
    const storage = new StoredStorage(keyOf(key, fail), kind.dtype, numel);
    storage.offset = reader.at;
    reader.skip(storage.bytes);
    into.set(storage.key, storage);
  }
  const views = yield* reader.pickle();
  for (const view of Array.isArray(views) ? views : []) {
    const [key, root, offset, length] = tupleOf(view, fail);
    const base = into.get(keyOf(root, fail));
    const [first, numel] = [natural(offset, "a view's place", fail), natural(length, "a view's length", fail)];
    if (!(base instanceof StoredStorage) || first + numel > base.numel) return void fail("a view inside of its storage", "another one");
    into.set(keyOf(key, fail), new StoredStorage(keyOf(key, fail), base.dtype, numel, { storage: base, from: first }));
  }
}

/** A count, then for each (key, storage, class) and how many dimensions, their sizes, their steps, and where the first number stands. */
function* readTensors(file: Bytes, { from, end }: Part, into: Map<string, StoredStorage | StoredTensor>, fail: Fail): Pieces<void> {
  const reader = new Reader(file, from, end, fail);
  for (let left = natural(yield* reader.pickle(), "the number of tensors", fail); left > 0; --left) {
    const [key, storage] = tupleOf(yield* reader.pickle(), fail);
    const dimensions = reader.half();
    reader.half(); // once it was written as a longer number, of which half was never meant
    if (dimensions > MOST_DIMENSIONS) fail(`a tensor of at most ${MOST_DIMENSIONS} dimensions`, `${dimensions}`);
    const longs = () => Array.from({ length: dimensions }, () => reader.long());
    const [size, stride] = [longs(), longs()];
    into.set(keyOf(key, fail), storedTensor(fail, into.get(keyOf(storage, fail)), { size, stride, first: reader.long() }));
  }
}

const tupleOf = (value: Value, fail: Fail): readonly Value[] => (value instanceof Tuple ? value.items : fail("a tuple", "something else"));

/** Pickles with numbers between them. */
class Reader {
  readonly #plain: Surroundings;
  at: number;
  constructor(
    private readonly file: Bytes,
    from: number,
    private readonly end: number,
    private readonly fail: Fail,
  ) {
    this.at = from;
    this.#plain = { global: allowed(fail), persistent: () => fail("no tensor here", "one") };
  }
  *pickle(): Pieces<Value> {
    const cursor = new Cursor(this.file, this.at, this.end);
    const value = yield* unpickle(cursor, this.#plain);
    this.at = cursor.at;
    return value;
  }
  long(): number {
    return natural(Number(new DataView(this.#take(8)).getBigInt64(0, true)), "a length", this.fail);
  }
  half(): number {
    return new DataView(this.#take(4)).getUint32(0, true);
  }
  #take(bytes: number): ArrayBuffer {
    this.skip(bytes);
    return this.file.read(this.at - bytes, bytes);
  }
  skip(bytes: number): void {
    if (!(this.at + bytes <= this.end)) this.fail(`${bytes} more bytes at ${this.at}`, `an archive's part that ends at ${this.end}`);
    this.at += bytes;
  }
}
