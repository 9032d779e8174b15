import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Tensor } from "../../lib/core/tensor.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { halfToFloat } from "../../lib/io/half.js";
import { SafetensorsFile, saveSafetensors } from "../../lib/io/safetensors.js";
import { encodeHeader } from "../../lib/io/safetensors-header.js";
import { here } from "../case.js";

const test = suite("safetensors");
let folder = "";
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), "anymal-safetensors-"));
});
test.after.each(() => rmSync(folder, { recursive: true, force: true }));

function file(header: string | Uint8Array, data = new Uint8Array(0), length?: bigint): string {
  const json = typeof header === "string" ? new TextEncoder().encode(header) : header;
  const prefix = new Uint8Array(8);
  new DataView(prefix.buffer).setBigUint64(0, length ?? BigInt(json.length), true);
  const path = join(folder, "x.safetensors");
  writeFileSync(path, Buffer.concat([prefix, json, data]));
  return path;
}
const header = (entries: Record<string, unknown>) => JSON.stringify(entries);
const f32 = (shape: unknown, offsets: unknown, dtype: unknown = "F32") => ({ dtype, shape, data_offsets: offsets });

const four = new Uint8Array(4);
const hostile: Record<string, () => string> = {
  "an empty file": () => {
    const path = join(folder, "x.safetensors");
    writeFileSync(path, "");
    return path;
  },
  "a file of seven bytes": () => {
    const path = join(folder, "x.safetensors");
    writeFileSync(path, "1234567");
    return path;
  },
  "a header longer than the file": () => file("{}", undefined, 1000n),
  "a header of 2^64 - 1 bytes": () => file("{}", undefined, 2n ** 64n - 1n),
  "a header longer than the cap": () => file("{}", undefined, 100_000_001n),
  "no header at all": () => file(""),
  "a header that is no object": () => file("[1]"),
  "a header with leading space": () => file(" {}"),
  "broken JSON": () => file('{"a":'),
  "bytes that are not UTF-8": () => file(Uint8Array.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d])),
  "the same name twice": () => file(`{"a":${header(f32([1], [0, 4]))},"a":${header(f32([1], [0, 4]))}}`, four),
  "the same name twice, once escaped": () => file(`{"a":${header(f32([1], [0, 4]))},"\\u0061":${header(f32([1], [0, 4]))}}`, four),
  "the same key twice inside an entry": () => file('{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', four),
  "an entry that is no object": () => file('{"a":7}'),
  "an unknown dtype": () => file(header({ a: f32([1], [0, 4], "F31") }), four),
  "a dtype that is a property of every object": () => file(header({ a: f32([1], [0, 4], "constructor") }), four),
  "a shape that is no array": () => file(header({ a: f32(1, [0, 4]) }), four),
  "a negative size": () => file(header({ a: f32([-1], [0, 4]) }), four),
  "a size that is not whole": () => file(header({ a: f32([0.5], [0, 4]) }), four),
  "a size beyond exact integers": () => file(header({ a: f32([2 ** 60], [0, 4]) }), four),
  "sizes whose product overflows": () => file(header({ a: f32([2 ** 32, 2 ** 32], [0, 4]) }), four),
  "one offset": () => file(header({ a: f32([1], [0]) }), four),
  "offsets the wrong way round": () => file(header({ a: f32([1], [4, 0]) }), four),
  "negative offsets": () => file(header({ a: f32([1], [-4, 0]) }), four),
  "offsets past the end": () => file(header({ a: f32([2], [0, 8]) }), four),
  "a shape that does not fill its bytes": () => file(header({ a: f32([2], [0, 4]) }), four),
  "overlapping tensors": () => file(header({ a: f32([2], [0, 8]), b: f32([2], [4, 12]) }), new Uint8Array(12)),
  "two names for the same bytes": () => file(header({ a: f32([1], [0, 4]), b: f32([1], [0, 4]) }), four),
  "a gap between tensors": () => file(header({ a: f32([1], [0, 4]), b: f32([1], [8, 12]) }), new Uint8Array(12)),
  "a gap before the first": () => file(header({ a: f32([1], [4, 8]) }), new Uint8Array(8)),
  "bytes after the last": () => file(header({ a: f32([1], [0, 4]) }), new Uint8Array(5)),
  "metadata that is no object": () => file('{"__metadata__":[]}'),
  "metadata that is not text": () => file('{"__metadata__":{"a":1}}'),
};

for (const [what, make] of Object.entries(hostile)) {
  test(`refused: ${what}`, () => {
    assert.throws(
      () => new SafetensorsFile(make()),
      (e: { code?: string; expected?: string; got?: string }) => e.code === "E_SAFETENSORS" && Boolean(e.expected) && Boolean(e.got),
    );
  });
}

test("accepted: nothing, empty tensors, names of every kind, metadata, trailing spaces", () => {
  new SafetensorsFile(file("{}")).close();
  const odd = {
    "": f32([0, 3], [0, 0]),
    __proto__x: f32([1], [0, 4]),
    'quote " \\ \n': f32([], [4, 8]),
    __metadata__: { by: "hand, [with] {brackets}" },
  };
  using f = new SafetensorsFile(file(`${header(odd)}   `, new Uint8Array(8)));
  assert.equal([...f.entries.keys()].sort(), ["", "__proto__x", 'quote " \\ \n']);
  assert.is(f.metadata.get("by"), "hand, [with] {brackets}");
  using proto = new SafetensorsFile(file(`{"__proto__":${header(f32([1], [0, 4]))}}`, four));
  assert.equal([...proto.entries.keys()], ["__proto__"]);
});

test("every dtype that a device or this library has", async () => {
  const parts: [string, string, number[], ArrayBufferView, number[]][] = [
    ["f64", "F64", [2], new Float64Array([0.5, -3]), [0.5, -3]],
    ["i64", "I64", [2], new BigInt64Array([-5n, 7n]), [-5, 7]],
    ["f32", "F32", [1, 2], new Float32Array([1.5, -2.25]), [1.5, -2.25]],
    ["i32", "I32", [2], new Int32Array([-1, 2147483647]), [-1, 2147483647]],
    ["bf16", "BF16", [2], new Uint16Array([0x3fc0, 0xc000]), [1.5, -2]],
    ["f16", "F16", [2], new Uint16Array([0x3e00, 0x0001]), [1.5, 2 ** -24]],
    ["u8", "U8", [2], new Uint8Array([0, 255]), [0, 255]],
    ["i8", "I8", [2], new Int8Array([-1, 1]), [255, 1]],
    ["bool", "BOOL", [2], new Uint8Array([1, 0]), [1, 0]],
  ];
  const path = join(folder, "all.safetensors");
  await saveSafetensors(
    path,
    parts.map(([name, dtype, shape, data]) => [name, { dtype: dtype as "F32", shape, data }]),
  );
  using f = new SafetensorsFile(path);
  for (const [name, , shape, , want] of parts) {
    using tensor = f.load(name, here);
    assert.equal(tensor.shape, shape);
    assert.equal(Array.from(await tensor.data()), want, name);
    assert.equal(Array.from(f.values(name)), want, name);
  }
  using narrow = f.load("f16", here, { dtype: "bf16" });
  assert.is(narrow.dtype, "bf16");
  assert.is(f.load("i32", here, { dtype: "bf16" }).dtype, "i32", "integers stay what they are");
});

test("a 64-bit integer that does not fit is refused", async () => {
  const path = join(folder, "big.safetensors");
  await saveSafetensors(path, [["n", { dtype: "I64", shape: [1], data: new BigInt64Array([2n ** 40n]) }]]);
  assert.throws(
    () => new SafetensorsFile(path).load("n", here),
    (e: { code?: string }) => e.code === "E_SAFETENSORS",
  );
});

test("what is written is read back bit for bit, aligned, and leaves no other file behind", async () => {
  const path = join(folder, "w.safetensors");
  const a = Tensor.from(new Float32Array([1, 2, 3, 4, 5, 6]), [2, 3], { device: here });
  const b = Tensor.from(new Float32Array([0.5, -1, 3]), [3], { device: here, dtype: "bf16" });
  const c = Tensor.from(new Uint8Array([9]), [1], { device: here, dtype: "u8" });
  const d = Tensor.from(new Int32Array([-4]), [1], { device: here, dtype: "i32" });
  await saveSafetensors(path, Object.entries({ c, b, a, d }), { format: "pt" });
  assert.equal(readdirSync(folder), ["w.safetensors"]);
  using f = new SafetensorsFile(path);
  assert.is(f.metadata.get("format"), "pt");
  for (const [name, tensor] of Object.entries({ a, b, c, d })) {
    assert.equal(await f.load(name, here).data(), await tensor.data());
    assert.is(f.load(name, here).dtype, tensor.dtype);
  }
  for (const entry of f.entries.values()) assert.is(entry.offset % ({ F32: 4, I32: 4, BF16: 2 }[entry.dtype as string] ?? 1), 0);
});

test("a write that fails leaves the old file as it was", async () => {
  const path = join(folder, "w.safetensors");
  const a = Tensor.from(new Float32Array([1]), [1], { device: here });
  await saveSafetensors(path, [["a", a]]);
  const before = readFileSync(path);
  const writing = saveSafetensors(path, [
    ["a", a],
    [
      "b",
      {
        get dtype() {
          return "F32" as const;
        },
        shape: [1],
        get data(): ArrayBufferView {
          throw new Error("out of paper");
        },
      },
    ],
  ]);
  await writing.then(
    () => assert.unreachable(),
    (e: Error) => assert.match(e.message, /out of paper/),
  );
  assert.equal(readFileSync(path), before);
  assert.equal(readdirSync(folder), ["w.safetensors"]);
});

test("names that the format cannot hold are refused", async () => {
  const a = Tensor.from(new Float32Array([1]), [1], { device: here });
  for (const tensors of [
    [
      ["a", a],
      ["a", a],
    ],
    [["__metadata__", a]],
  ] as [string, Tensor][][]) {
    await saveSafetensors(join(folder, "w.safetensors"), tensors).then(
      () => assert.unreachable(),
      (e: { code?: string }) => assert.is(e.code, "E_SAFETENSORS"),
    );
  }
  assert.equal(readdirSync(folder), []);
});

function shard(name: string, tensor: string): void {
  const head = encodeHeader([[tensor, { dtype: "F32", shape: [1] }]]);
  writeFileSync(join(folder, name), Buffer.concat([head, Buffer.from(new Float32Array([tensor.length]).buffer)]));
}
const index = (weight_map: unknown) =>
  writeFileSync(join(folder, "model.safetensors.index.json"), JSON.stringify({ metadata: {}, weight_map }));

test("shards: each tensor from the file that the index names", async () => {
  shard("model-1.safetensors", "one");
  shard("model-2.safetensors", "seven77");
  index({ one: "model-1.safetensors", seven77: "model-2.safetensors" });
  using checkpoint = Checkpoint.open(folder);
  assert.equal([...checkpoint.names()], ["one", "seven77"]);
  assert.equal([...(await checkpoint.load("seven77", here).data())], [7]);
});

test("shards: what is missing or points elsewhere is refused", () => {
  shard("model-1.safetensors", "one");
  mkdirSync(join(folder, "sub"));
  const refused = (weight_map: unknown, message: RegExp) => {
    index(weight_map);
    assert.throws(
      () => Checkpoint.open(folder),
      (e: { code?: string; message: string }) => e.code === "E_SAFETENSORS" && message.test(e.message),
    );
  };
  refused({ one: "model-1.safetensors", two: "model-2.safetensors" }, /model-2\.safetensors.*no such file/);
  refused({ two: "model-1.safetensors" }, /"two" in model-1/);
  for (const path of [
    "../x.safetensors",
    "/etc/passwd",
    "sub/../model-1.safetensors",
    "sub/x",
    "..",
    ".",
    "",
    "a\\b",
    "C:x",
    "a\0b",
    7,
    null,
  ]) {
    refused({ one: path }, /a file of this folder/);
  }
  refused([], /weight_map/);
  writeFileSync(join(folder, "model.safetensors.index.json"), "{");
  assert.throws(() => Checkpoint.open(folder), /JSON/);
});

test("a folder without weights says what it looked for", () => {
  assert.throws(() => Checkpoint.open(folder), /model\.safetensors or model\.safetensors\.index\.json/);
});

test("every half-precision number", () => {
  const view = new DataView(new ArrayBuffer(4));
  for (let bits = 0; bits < 0x10000; ++bits) {
    const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
    if (exponent === 0 || exponent === 31) continue;
    view.setUint32(0, ((bits & 0x8000) << 16) | ((exponent + 112) << 23) | (fraction << 13));
    if (halfToFloat(bits) !== view.getFloat32(0)) assert.unreachable(`${bits.toString(16)}`);
  }
  assert.is(halfToFloat(0x7c00), Infinity);
  assert.is(halfToFloat(0xfc00), -Infinity);
  assert.ok(Number.isNaN(halfToFloat(0x7e00)));
  assert.ok(Object.is(halfToFloat(0x8000), -0));
  assert.is(halfToFloat(0x03ff), 1023 * 2 ** -24);
});

test.run();
