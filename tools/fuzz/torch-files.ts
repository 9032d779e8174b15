// Writes files of torch.save as tests and fuzzing need them: any pickle, any storages, any lie about them.
import { crc32 } from "node:zlib";
import { joined } from "./input.js";
import type { Field, Seed } from "./target.js";

/** What a pickle holds beside JavaScript's own values; a Map is a dict. */
export class Tup {
  readonly items: readonly unknown[];
  constructor(...items: readonly unknown[]) {
    this.items = items;
  }
}
export class Global {
  constructor(
    readonly module: string,
    readonly name: string,
  ) {}
}
export class Reduce {
  readonly args: Tup;
  constructor(
    readonly callable: unknown,
    ...args: readonly unknown[]
  ) {
    this.args = new Tup(...args);
  }
}
export class Persistent {
  constructor(readonly id: unknown) {}
}
/** Operations as they are. */
export class Raw {
  constructor(readonly bytes: Uint8Array) {}
}

const latin = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0));
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
export const bytesOf = (...parts: readonly (string | number | Uint8Array)[]): Uint8Array =>
  joined(...parts.map((part) => (typeof part === "string" ? latin(part) : typeof part === "number" ? Uint8Array.of(part) : part)));
export function little(value: number | bigint, bytes: 2 | 4 | 8): Uint8Array {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
  return new Uint8Array(view.buffer, 0, bytes);
}

function operations(value: unknown): Uint8Array {
  if (value === null || value === undefined) return bytesOf("N");
  if (typeof value === "boolean") return bytesOf(value ? 0x88 : 0x89);
  if (typeof value === "bigint") return bytesOf(0x8a, 10, little(value, 8), little(value >> 64n, 2));
  if (typeof value === "number" && Number.isInteger(value) && Math.abs(value) < 2 ** 31) return bytesOf("J", little(value, 4));
  if (typeof value === "number" && Number.isSafeInteger(value)) return bytesOf(0x8a, 8, little(value, 8));
  if (typeof value === "number") return bytesOf("G", new Uint8Array(new Float64Array([value]).buffer).reverse());
  if (typeof value === "string") return bytesOf("X", little(utf8(value).length, 4), utf8(value));
  if (value instanceof Uint8Array) return bytesOf("B", little(value.length, 4), value);
  if (value instanceof Raw) return value.bytes;
  if (value instanceof Tup) return bytesOf("(", ...value.items.map(operations), "t");
  if (value instanceof Global) return bytesOf(`c${value.module}\n${value.name}\n`);
  if (value instanceof Reduce) return bytesOf(operations(value.callable), operations(value.args), "R");
  if (value instanceof Persistent) return bytesOf(operations(value.id), "Q");
  if (value instanceof Map) return bytesOf("}(", ...[...value].flat().map(operations), "u");
  if (Array.isArray(value)) return bytesOf("](", ...value.map(operations), "e");
  throw new TypeError(`no pickle of ${String(value)}`);
}
/** A whole pickle of protocol 2. */
export const pickled = (value: unknown): Uint8Array => bytesOf(0x80, 2, operations(value), ".");

export interface Planned {
  name: string;
  /** The data's key; tensors of one key share it. */
  key?: string;
  /** "Float" for torch.FloatStorage. */
  kind?: string;
  numel?: number | bigint;
  first?: number | bigint;
  size: readonly (number | bigint)[];
  stride?: readonly (number | bigint)[];
}

const dense = (size: readonly (number | bigint)[]): number[] =>
  size.map((_, i) => size.slice(i + 1).reduce<number>((product, n) => product * Number(n), 1));

/** A tensor as torch.save describes it. */
export function tensor(
  { name, key = name, kind = "Float", numel, first = 0, size, stride = dense(size) }: Planned,
  view?: unknown,
): Reduce {
  const all = size.reduce<number>((product, n) => product * Number(n), 1);
  const place = new Tup("storage", new Global("torch", `${kind}Storage`), key, "cpu", numel ?? all, ...(view === undefined ? [] : [view]));
  const hooks = new Reduce(new Global("collections", "OrderedDict"));
  return new Reduce(
    new Global("torch._utils", "_rebuild_tensor_v2"),
    new Persistent(place),
    first,
    new Tup(...size),
    new Tup(...stride),
    false,
    hooks,
  );
}
/** A state dict of them. */
export const dictOf = (tensors: readonly Planned[], view?: unknown): Map<string, unknown> =>
  new Map(tensors.map((one) => [one.name, tensor(one, view)]));

export interface Entry {
  name: string;
  data: Uint8Array;
  crc?: number;
  method?: number;
  flags?: number;
  /** Told in the directory instead of the truth. */
  bytes?: number;
  header?: number;
}

/** A zip archive as torch writes it, and where its lengths are. */
export function zipFile(entries: readonly Entry[]): Seed {
  const parts: Uint8Array[] = [];
  const fields: Field[] = [];
  let at = 0;
  const write = (part: Uint8Array, known: readonly (readonly [number, 2 | 4])[] = []) => {
    for (const [offset, bytes] of known) fields.push({ at: at + offset, bytes });
    parts.push(part);
    at += part.length;
  };
  const directory = entries.map(({ name, data, crc = crc32(data), method = 0, flags = 0x800, bytes = data.length, header = at }) => {
    const common = bytesOf(
      little(flags, 2),
      little(method, 2),
      little(0, 4),
      little(crc, 4),
      little(bytes, 4),
      little(bytes, 4),
      little(utf8(name).length, 2),
    );
    write(bytesOf("PK\x03\x04", little(0, 2), common, little(0, 2), utf8(name)), [
      [26, 2],
      [28, 2],
    ]);
    write(data);
    return bytesOf(
      "PK\x01\x02",
      little(0, 2),
      little(0, 2),
      common,
      little(0, 4),
      little(0, 4),
      little(0, 4),
      little(header, 4),
      utf8(name),
    );
  });
  const start = at;
  for (const entry of directory)
    write(entry, [
      [8, 2],
      [10, 2],
      [16, 4],
      [20, 4],
      [24, 4],
      [28, 2],
      [42, 4],
    ]);
  write(
    bytesOf(
      "PK\x05\x06",
      little(0, 4),
      little(entries.length, 2),
      little(entries.length, 2),
      little(at - start, 4),
      little(start, 4),
      little(0, 2),
    ),
    [
      [8, 2],
      [10, 2],
      [12, 4],
      [16, 4],
    ],
  );
  return { bytes: joined(...parts), fields };
}

export type Data = Readonly<Record<string, Uint8Array>>;

export const zipForm = (root: unknown, data: Data, others: readonly Entry[] = []): Seed =>
  zipFile([
    { name: "x/data.pkl", data: pickled(root) },
    ...Object.entries(data).map(([key, bytes]) => ({ name: `x/data/${key}`, data: bytes })),
    ...others,
  ]);

const MAGIC = 0x1950a86a20f9469cfc6cn;

/** `widths`: bytes of a number by key; 4 where it is not said. */
export function streamForm(root: unknown, data: Data, widths: Readonly<Record<string, number>> = {}): Seed {
  const keys = Object.keys(data);
  const head = joined(
    pickled(MAGIC),
    pickled(1001),
    pickled(new Map<string, unknown>([["little_endian", true]])),
    pickled(root),
    pickled(keys),
  );
  const parts = [head];
  const fields: Field[] = [];
  let at = head.length;
  for (const key of keys) {
    const content = data[key] as Uint8Array;
    fields.push({ at, bytes: 8 });
    parts.push(little(content.length / (widths[key] ?? 4), 8), content);
    at += 8 + content.length;
  }
  return { bytes: joined(...parts), fields };
}

/** A tar archive. */
export function tarFile(entries: readonly { name: string; data: Uint8Array; bytes?: number }[]): Uint8Array {
  const blocks = entries.map(({ name, data, bytes = data.length }) => {
    const header = new Uint8Array(512);
    header.set(utf8(name).subarray(0, 99));
    header.set(latin(bytes.toString(8).padStart(11, "0")), 124);
    header.set(latin("        0"), 148);
    header.set(
      latin(
        header
          .reduce((sum, byte) => sum + byte, 0)
          .toString(8)
          .padStart(6, "0"),
      ),
      148,
    );
    header[154] = 0;
    return joined(header, data, new Uint8Array((512 - (data.length % 512)) % 512));
  });
  return joined(...blocks, new Uint8Array(1024));
}

/** The form of PyTorch 0.1: one storage of f32, and tensors on it by number. */
export function tarForm(data: Uint8Array, tensors: readonly Planned[]): Uint8Array {
  const kind = new Global("torch", "FloatStorage");
  const storages = joined(pickled(1), pickled(new Tup(7, "cpu", kind)), little(data.length / 4, 8), data, pickled([]));
  const listed = tensors.map(({ size, first = 0, stride = dense(size) }, i) => {
    const longs = [...size, ...stride, first].map((n) => little(n, 8));
    return joined(pickled(new Tup(i + 1, 7, new Global("torch", "FloatTensor"))), little(size.length, 4), little(0, 4), ...longs);
  });
  const root = new Map(tensors.map(({ name }, i) => [name, new Persistent(String(i + 1))]));
  return tarFile([
    { name: "storages", data: storages },
    { name: "tensors", data: joined(pickled(tensors.length), ...listed) },
    { name: "pickle", data: pickled(root) },
  ]);
}
