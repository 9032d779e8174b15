// A tensor of a file as torch.save describes it: a storage, where in it the first number stands, and how far each dimension steps.
import { shapeSize } from "../safetensors-header.js";
import { StorageKind, TorchDType } from "./dtypes.js";
import type { Fail } from "./literals.js";
import { kindOf, Tuple, type Value } from "./values.js";

/** As NumPy and PyTorch have it. */
const MOST_DIMENSIONS = 64;
/** Numbers of a tensor that repeats those of a smaller storage, as expand() makes them. */
const MOST_REPEATED = 2 ** 24;

export class StoredStorage {
  /** In the file; found when it is known where the storages begin. */
  offset: number | undefined;
  /** What the container has a checksum of; 0 says that none was computed. */
  check: { readonly crc: number; readonly offset: number; readonly bytes: number } | undefined;

  constructor(
    readonly key: string,
    readonly dtype: TorchDType,
    readonly numel: number,
    /** For a part of another one: which, and how many numbers lie before it. */
    readonly base?: { readonly storage: StoredStorage; readonly from: number },
  ) {}

  /** Where its first byte stands. */
  get place(): number {
    const { base } = this;
    if (base) return base.storage.place + base.from * this.dtype.bytes;
    return this.offset as number;
  }

  get bytes(): number {
    return this.numel * this.dtype.bytes;
  }
}

export class StoredTensor {
  constructor(
    readonly storage: StoredStorage,
    readonly dtype: TorchDType,
    /** Numbers before the first one. */
    readonly first: number,
    readonly shape: readonly number[],
    readonly stride: readonly number[],
  ) {}

  get numel(): number {
    return shapeSize(this.shape);
  }
  /** All of its numbers, in order. */
  get bytes(): number {
    return this.numel * this.dtype.bytes;
  }
  /** Do the numbers lie in the file one after the other? */
  get isContiguous(): boolean {
    let step = 1;
    for (let i = this.shape.length - 1; i >= 0; --i) {
      const size = this.shape[i] as number;
      if (size === 0) return true;
      if (size !== 1 && this.stride[i] !== step) return false;
      step *= size;
    }
    return true;
  }
  /** The same for two tensors that are one. */
  get identity(): string {
    const { storage, dtype, first, shape, stride } = this;
    return `${storage.key} ${dtype.name} ${first} ${shape} ${shape.map((size, i) => (size > 1 ? stride[i] : 0))}`;
  }

  narrow(dimension: number, from: number, length: number): StoredTensor {
    const shape = this.shape.map((size, i) => (i === dimension ? length : size));
    return new StoredTensor(this.storage, this.dtype, this.first + from * (this.stride[dimension] as number), shape, this.stride);
  }
  /** Without its first dimension, of which one place is taken. */
  select(place: number): StoredTensor {
    const first = this.first + place * (this.stride[0] as number);
    return new StoredTensor(this.storage, this.dtype, first, this.shape.slice(1), this.stride.slice(1));
  }
  permuted(order: readonly number[]): StoredTensor {
    const of = (list: readonly number[]) => order.map((i) => list[i] as number);
    return new StoredTensor(this.storage, this.dtype, this.first, of(this.shape), of(this.stride));
  }
  /** A dimension as several; their product is its size. */
  divided(dimension: number, sizes: readonly number[]): StoredTensor {
    const step = this.stride[dimension] as number;
    const strides = sizes.map((_, i) => step * shapeSize(sizes.slice(i + 1)));
    const into = (list: readonly number[], parts: readonly number[]) => [
      ...list.slice(0, dimension),
      ...parts,
      ...list.slice(dimension + 1),
    ];
    return new StoredTensor(this.storage, this.dtype, this.first, into(this.shape, sizes), into(this.stride, strides));
  }
}

/** A size, a step or a place. */
export function natural(value: Value, what: string, fail: Fail): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0)
    return fail(`${what} that is an integer of at least 0`, typeof value === "number" ? String(value) : kindOf(value));
  return value;
}

function naturals(value: Value, what: string, fail: Fail): number[] {
  const items = value instanceof Tuple ? value.items : Array.isArray(value) ? value : fail(`${what} as a tuple`, kindOf(value));
  if (items.length > MOST_DIMENSIONS) fail(`at most ${MOST_DIMENSIONS} of ${what}`, String(items.length));
  return items.map((item) => natural(item, what, fail));
}

/** Checked before anything is read or made: every number of the tensor lies inside of its storage. */
export function storedTensor(fail: Fail, storage: Value, given: { first: Value; size: Value; stride: Value; dtype?: Value }): StoredTensor {
  if (!(storage instanceof StoredStorage)) return fail("a storage under a tensor", kindOf(storage));
  const dtype = given.dtype ?? storage.dtype;
  if (!(dtype instanceof TorchDType)) return fail("a dtype of PyTorch", kindOf(dtype));
  const first = natural(given.first, "a tensor's place in its storage", fail);
  const shape = naturals(given.size, "a tensor's sizes", fail);
  const stride = naturals(given.stride, "a tensor's steps", fail);
  if (shape.length !== stride.length) fail("as many sizes as steps", `${shape.length} and ${stride.length}`);
  const tensor = new StoredTensor(storage, dtype, first, shape, stride);
  const there = dtype === storage.dtype ? storage.numel : Math.floor(storage.bytes / dtype.bytes);
  if (shape.includes(0)) return tensor;
  const last = shape.reduce((sum, size, i) => sum + (size - 1) * (stride[i] as number), first);
  if (!(last < there)) fail(`a tensor inside of its storage of ${there} numbers`, `one that ends behind number ${last}`);
  if (tensor.numel > Math.max(there, MOST_REPEATED))
    fail(`at most ${MOST_REPEATED} numbers that repeat others`, `${tensor.numel} over a storage of ${there}`);
  return tensor;
}

/** ("storage", class, key, device, numel) of a persistent id, to which the older form adds a view. */
export function storageId(id: Value, fail: Fail): { kind: StorageKind; key: string; numel: number; view: Value } {
  if (!(id instanceof Tuple) || id.items[0] !== "storage")
    return fail("the id of a storage", id instanceof Tuple ? kindOf(id.items[0]) : kindOf(id));
  const [, kind, key, , numel, view] = id.items;
  if (!(kind instanceof StorageKind)) return fail("a storage's class", kindOf(kind));
  if (typeof key !== "string" && typeof key !== "number" && typeof key !== "bigint") return fail("a storage's key", kindOf(key));
  return { kind, key: String(key), numel: natural(numel, "a storage's length", fail), view: view ?? null };
}

/** Storages by their keys; tensors that share one find the same. */
export class Storages {
  readonly all = new Map<string, StoredStorage>();
  constructor(private readonly fail: Fail) {}

  /** `place` is asked when a key comes for the first time. */
  of(key: string, { dtype }: StorageKind, numel: number, place: (storage: StoredStorage) => void = () => {}): StoredStorage {
    const before = this.all.get(key);
    if (before && (before.dtype !== dtype || before.numel !== numel)) this.fail("a storage to be told of in one way", "two that differ");
    if (before) return before;
    const storage = new StoredStorage(key, dtype, numel);
    if (!Number.isSafeInteger(storage.bytes)) this.fail("a storage that a file can hold", `one of ${numel} numbers`);
    place(storage);
    this.all.set(key, storage);
    return storage;
  }
}
