// The form before PyTorch 1.6, and with _use_new_zipfile_serialization=False since: five pickles one after the other, then the storages.
import type { Pieces } from "../../core/turns.js";
import { allowed } from "./allowed.js";
import { type Bytes, Cursor } from "./cursor.js";
import { quoted } from "./error.js";
import type { Fail } from "./literals.js";
import type { Surroundings } from "./machine.js";
import { unpickle } from "./pickle.js";
import { natural, Storages, StoredStorage, storageId } from "./tensor.js";
import { Tuple, type Value } from "./values.js";

/** 0x1950a86a20f9469cfc6c, torch's own. */
const MAGIC = 119547037146038801333356n;
const VERSION = 1001;

export function* readStreamForm(file: Bytes, fail: Fail): Pieces<Value> {
  const plain: Surroundings = { global: allowed(fail), persistent: () => fail("no storage here", "one") };
  const next = function* (from: number, surroundings = plain): Pieces<[Value, number]> {
    const cursor = new Cursor(file, from, file.size);
    return [yield* unpickle(cursor, surroundings), cursor.at];
  };
  const [magic, afterMagic] = yield* next(0);
  if (magic !== MAGIC) fail("the magic number of torch.save", "another pickle");
  const [version, afterVersion] = yield* next(afterMagic);
  if (version !== VERSION) fail(`version ${VERSION} of the form`, typeof version === "number" ? `${version}` : "none");
  const [, afterSystem] = yield* next(afterVersion);
  const storages = new Storages(fail);
  const views = new Map<string, StoredStorage>();
  const persistent = (id: Value): StoredStorage => {
    const { kind, key, numel, view } = storageId(id, fail);
    const storage = storages.of(key, kind, numel);
    return view === null ? storage : viewOf(storage, view, views, fail);
  };
  const [root, afterRoot] = yield* next(afterSystem, { global: allowed(fail), persistent });
  const [keys, start] = yield* next(afterRoot);
  place(file, start, keys, storages, fail);
  return root;
}

/** (key, offset, length) in numbers of the storage that it is a part of. */
function viewOf(base: StoredStorage, view: Value, views: Map<string, StoredStorage>, fail: Fail): StoredStorage {
  const [key, from, numel] = view instanceof Tuple ? view.items : fail("a view of a storage as a tuple", "something else");
  const name = `${base.key}/${typeof key === "string" || typeof key === "number" ? key : fail("a view's key", "none")}`;
  const [offset, length] = [natural(from, "a view's place", fail), natural(numel, "a view's length", fail)];
  if (offset + length > base.numel) fail(`a view inside of a storage of ${base.numel} numbers`, `one that ends at ${offset + length}`);
  const made = views.get(name) ?? new StoredStorage(name, base.dtype, length, { storage: base, from: offset });
  if (made.numel !== length || made.base?.from !== offset) fail("a view to be told of in one way", "two that differ");
  views.set(name, made);
  return made;
}

/** The storages follow in the order of their keys, each behind its length. */
function place(file: Bytes, start: number, keys: Value, storages: Storages, fail: Fail): void {
  if (!Array.isArray(keys)) return void fail("the list of the storages' keys", "something else");
  let at = start;
  for (const key of keys) {
    const storage = storages.all.get(String(typeof key === "object" ? "" : key));
    if (!storage || storage.offset !== undefined)
      return void fail("each storage once", typeof key === "string" ? quoted(key) : "another key");
    if (at + 8 > file.size) fail(`the storage ${quoted(storage.key)} at ${at}`, `a file of ${file.size} bytes`);
    const numel = new DataView(file.read(at, 8)).getBigInt64(0, true);
    if (numel !== BigInt(storage.numel)) fail(`${storage.numel} numbers in the storage ${quoted(storage.key)}`, `${numel}`);
    if (at + 8 + storage.bytes > file.size)
      fail(`${storage.bytes} bytes of the storage ${quoted(storage.key)} at ${at + 8}`, `a file of ${file.size} bytes`);
    storage.offset = at + 8;
    at += 8 + storage.bytes;
  }
  for (const { key, offset } of storages.all.values()) if (offset === undefined) fail(`the storage ${quoted(key)} in the file`, "none");
}
