// GGUF files: every type's numbers against llama.cpp's gguf-py, and headers that lie.
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GgufFile } from "../../lib/io/gguf.js";
import { GgufCheckpoint, hubName } from "../../lib/io/gguf-checkpoint.js";
import { f32, flag, type GgufEntry, type GgufField, type GgufPlan, ggufFile, list, text, u32 } from "../../tools/fuzz/gguf-file.js";
import { Case, here } from "../case.js";

const test = suite("gguf");
const c = new Case("gguf-types");
const types = join(c.folder, "types.gguf");
let folder = "";
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), "anymal-gguf-"));
});
test.after.each(() => rmSync(folder, { recursive: true, force: true }));

const code =
  (wanted: string, words = /./) =>
  (e: { code?: string; message: string }) =>
    e.code === wanted && words.test(e.message);
function file(bytes: Uint8Array): string {
  const path = join(folder, "x.gguf");
  writeFileSync(path, bytes);
  return path;
}

for (const type of c.info.types as string[]) {
  test(`${type}: the numbers of gguf-py, bit for bit`, async () => {
    using gguf = new GgufFile(types);
    const want = c.values(type) as Float32Array;
    assert.equal(gguf.tensor(type).shape, c.shape(type));
    assert.equal(gguf.numbers(type), want);
    using tensor = gguf.load(type, here, { dtype: "f32" });
    assert.equal(tensor.shape, c.shape(type));
    assert.equal(await tensor.data(), want);
    using narrow = gguf.load(type, here, { dtype: "bf16" });
    using cast = c.tensor(type, { dtype: "bf16" });
    assert.equal(await narrow.data(), await cast.data());
  });
}

test("types that are not widened are refused by their name, with what to do", () => {
  using gguf = new GgufFile(types);
  for (const type of c.info.refused as string[])
    assert.throws(() => gguf.load(`other.${type}`, here), code("E_GGUF", new RegExp(`"other.${type}".*got ${type}; .*llama-quantize`)));
  assert.throws(() => new GgufCheckpoint(types), code("E_GGUF", /other/));
});

test("values of every kind", () => {
  using gguf = new GgufFile(types);
  assert.equal(gguf.values.get("test.words"), c.info.words);
  assert.equal(Array.from(gguf.values.get("test.numbers") as Float32Array), c.info.numbers);
  const values: [string, GgufField][] = [
    ["u8", { type: 0, value: 200 }],
    ["i8", { type: 1, value: -3 }],
    ["u16", { type: 2, value: 60000 }],
    ["i16", { type: 3, value: -300 }],
    ["u32", u32(2 ** 32 - 1)],
    ["i32", { type: 5, value: -70000 }],
    ["f32", f32(1.5)],
    ["bool", flag(true)],
    ["string", text("grüße \ufeff")],
    ["u64", { type: 10, value: 2n ** 63n }],
    ["i64", { type: 11, value: -5 }],
    ["f64", { type: 12, value: 0.1 }],
    ["none", list(8, [])],
    ["words", list(8, ["", "a"])],
    ["shorts", list(3, [1, -2])],
    ["longs", list(10, [1n, 2n ** 40n])],
  ];
  using own = new GgufFile(file(ggufFile({ values, tensors: [] }).bytes));
  const read = Object.fromEntries(own.values);
  // biome-ignore format: as above
  assert.equal(
    { ...read, shorts: [...(read.shorts as Int16Array)], longs: [...(read.longs as BigUint64Array)] },
    { u8: 200, i8: -3, u16: 60000, i16: -300, u32: 2 ** 32 - 1, i32: -70000, f32: 1.5, bool: true, string: "grüße \ufeff", u64: 2n ** 63n, i64: -5, f64: 0.1,
      none: [], words: ["", "a"], shorts: [1, -2], longs: [1n, 2n ** 40n] },
  );
});

test("a tensor larger than one step of widening", async () => {
  const rows = 2500;
  const data = new Uint8Array(rows * 512 * 2);
  const view = new DataView(data.buffer);
  for (let i = 0; i < rows * 512; ++i) view.setUint16(2 * i, (i * 7) % 31744, true); // all halves but infinities
  using gguf = new GgufFile(file(ggufFile({ values: [], tensors: [{ name: "a", type: 1, sizes: [512, rows], data }] }).bytes));
  using tensor = gguf.load("a", here);
  assert.equal(tensor.shape, [rows, 512]);
  assert.equal(await tensor.data(), gguf.numbers("a"));
  using regrouped = gguf.load("a", here, { shape: [rows * 512] });
  assert.equal(regrouped.shape, [rows * 512]);
  assert.throws(() => gguf.load("a", here, { shape: [5] }), code("E_GGUF"));
});

test("names of llama.cpp, as Hugging Face has them", () => {
  assert.is(hubName("token_embd.weight"), "model.embed_tokens.weight");
  assert.is(hubName("blk.11.ffn_down.weight"), "model.layers.11.mlp.down_proj.weight");
  assert.is(hubName("blk.0.attn_k_norm.weight"), "model.layers.0.self_attn.k_norm.weight");
  for (const strange of ["blk.0.ffn_gate_exps.weight", "blk.0.output.weight", "attn_q.weight", "blk.0.constructor.weight", "", "x"])
    assert.is(hubName(strange), strange);
});

const one: GgufEntry = { name: "a", type: 0, sizes: [1], data: new Uint8Array(4) };
const two: GgufEntry = { name: "b", type: 0, sizes: [1], data: new Uint8Array(4) };
const most = 2n ** 64n - 1n;
const key = (field: GgufField): GgufPlan => ({ values: [["a", field]], tensors: [] });
const tensor = (lie: Partial<GgufEntry>): GgufPlan => ({ values: [], tensors: [{ ...one, ...lie }] });
const aligned = (field: GgufField): GgufPlan => ({ values: [["general.alignment", field]], tensors: [one] });
const hostile: Record<string, GgufPlan> = {
  "a count of 2^64 - 1 tensors": { values: [], tensors: [], tensorCount: most },
  "a count of 2^63 keys": { values: [], tensors: [], valueCount: 2n ** 63n },
  "more tensors than there are": { values: [], tensors: [one], tensorCount: 2n },
  "more keys than there are": { values: [["a", u32(1)]], tensors: [], valueCount: 3n },
  "version 1": { version: 1, values: [], tensors: [] },
  "a big-endian file": { version: 0x03000000, values: [], tensors: [] },
  "a type of value that there is not": key({ type: 13 as 12, value: 1 }),
  "an array of arrays": key(list(9, [])),
  "an array of what there is not": key(list(77, [])),
  "an array of 2^60 numbers": key({ type: 9, of: 4, items: [], count: 2n ** 60n }),
  "an array of 2^61 strings": key({ type: 9, of: 8, items: [], count: 2n ** 61n }),
  "a string of 2^64 - 1 bytes": key({ type: 8, value: "x", length: most }),
  "a truth of 2": key({ type: 7, value: 2 }),
  "a key twice": { ...key(u32(1)), values: ["a", "a"].map((name): [string, GgufField] => [name, u32(1)]) },
  "a tensor twice": { values: [], tensors: [one, one] },
  "alignment 0": aligned(u32(0)),
  "alignment 48": aligned(u32(48)),
  "alignment 2^31, of which there is no room": aligned(u32(2 ** 31)),
  "alignment in words": aligned(text("32")),
  "five sizes": tensor({ sizes: [1, 1, 1, 1, 1] }),
  "a size of 2^64 - 1": tensor({ sizes: [most] }),
  "sizes whose product overflows": tensor({ sizes: [2n ** 32n, 2n ** 32n, 2n ** 32n] }),
  "sizes larger than the file": tensor({ sizes: [2n ** 20n] }),
  "a type of tensor that there is not": tensor({ type: 4 }),
  "rows of half blocks": tensor({ type: 8, sizes: [16, 2], data: new Uint8Array(34) }),
  "an offset beyond the end": tensor({ offset: 2n ** 40n }),
  "an offset of 2^64 - 1": tensor({ offset: most }),
  "tensors that overlap": { values: [], tensors: [one, { ...two, offset: 0n }] },
  "a gap between tensors": { values: [], tensors: [one, { ...two, offset: 64n }] },
};
for (const [what, lie] of Object.entries(hostile)) {
  test(`refused: ${what}`, () => {
    const path = file(ggufFile(lie).bytes);
    const before = process.memoryUsage().rss;
    assert.throws(
      () => new GgufFile(path),
      (e: { code?: string; expected?: string; got?: string }) => e.code === "E_GGUF" && Boolean(e.expected) && Boolean(e.got),
    );
    assert.ok(process.memoryUsage().rss - before < 64 * 2 ** 20);
  });
}

test("a file cut anywhere in its header is refused; cut in its data too", () => {
  const whole = readFileSync(types);
  using gguf = new GgufFile(types);
  const dataAt = Math.min(...[...gguf.tensors.values()].map(({ offset }) => offset));
  for (let length = 0; length < whole.length; length += length < dataAt ? 13 : 4099)
    assert.throws(() => new GgufFile(file(whole.subarray(0, length))), code("E_GGUF"), String(length));
});

test("a file that is cut while it is open rejects, and does not crash", async () => {
  const path = file(readFileSync(types));
  using gguf = new GgufFile(path);
  truncateSync(path, 4096);
  assert.throws(() => gguf.numbers("Q6_K"), code("E_FILE", /cut/));
});

test("what is no GGUF file", () => {
  for (const bytes of [Buffer.from(""), Buffer.from("GG"), Buffer.from("PK\x03\x04.................................")]) {
    assert.throws(() => new GgufFile(file(bytes)), code("E_GGUF"));
  }
  assert.throws(() => new GgufFile(join(folder, "none.gguf")), code("E_FILE"));
});

test.run();
