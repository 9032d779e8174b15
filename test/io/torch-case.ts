// Files of torch.save for tests: written from the tensors of a folder, and compared with them.
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { type ConvertOptions, convertCheckpoint } from "../../lib/io/convert.js";
import { dictOf, zipForm } from "../../tools/fuzz/torch-files.js";

/** Of one test file; removed with remove(). */
export const root = mkdtempSync(join(tmpdir(), "anymal-convert-"));
export const remove = (): void => rmSync(root, { recursive: true });
let made = 0;
export const fresh = (): string => join(root, `out-${made++}`);

export interface Stored {
  dtype: string;
  shape: readonly number[];
  bytes: Uint8Array;
}
export type Tensors = Map<string, Stored>;
/** Numbers of a shape, no two alike. */
export function floats(shape: readonly number[], scale: number): Stored {
  const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i) * scale);
  return { dtype: "F32", shape, bytes: new Uint8Array(values.buffer) };
}
const KINDS: Readonly<Record<string, string>> = { F32: "Float", I64: "Long" };

export function tensorsOf(folder: string): Tensors {
  using checkpoint = Checkpoint.open(folder);
  return new Map(
    Array.from(checkpoint.names(), (name) => {
      const { dtype, shape } = checkpoint.entry(name);
      return [name, { dtype, shape, bytes: new Uint8Array(checkpoint.bytes(name)) }] as const;
    }),
  );
}

/** As torch.save writes a state dict; two tensors of one object share a storage. */
export function torchFile(path: string, tensors: Tensors, wrap: (dict: unknown) => unknown = (dict) => dict): void {
  const keys = new Map<Stored, string>();
  for (const one of tensors.values()) if (!keys.has(one)) keys.set(one, String(keys.size));
  const planned = Array.from(tensors, ([name, one]) => {
    const numel = one.shape.reduce((a, b) => a * b, 1);
    return { name, key: keys.get(one) as string, kind: KINDS[one.dtype] as string, numel, size: one.shape };
  });
  const data = Object.fromEntries(Array.from(keys, ([{ bytes }, key]) => [key, bytes]));
  writeFileSync(path, zipForm(wrap(dictOf(planned)), data).bytes);
}

export function sameTensors(folder: string, wanted: Tensors): void {
  const got = tensorsOf(folder);
  assert.equal([...got.keys()].sort(), [...wanted.keys()].sort());
  for (const [name, { dtype, shape, bytes }] of wanted) {
    const one = got.get(name) as Stored;
    assert.equal([one.dtype, one.shape], [dtype, shape], name);
    assert.ok(Buffer.from(bytes).equals(one.bytes), `${name}: other numbers`);
  }
}

export function folderOf(...names: string[]): string {
  const folder = fresh();
  mkdirSync(folder);
  for (const name of names) copyFileSync(name, join(folder, name.split("/").at(-1) as string));
  return folder;
}

/** What the conversion was refused with. */
export async function refusal(from: string, options: ConvertOptions = {}, to = fresh()): Promise<{ code: string; message: string }> {
  const error = await convertCheckpoint(from, to, options).then(
    () => undefined,
    (thrown) => thrown,
  );
  assert.ok(error, "it was converted");
  return error;
}
