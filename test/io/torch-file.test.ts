// Files of torch.save against the numbers that torch has for them: all three forms, every dtype, every way in which a tensor may lie in its storage.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SafetensorsFile } from "../../lib/io/safetensors.js";
import { TorchFile } from "../../lib/io/torch-file.js";
import { dictOf, streamForm, zipForm } from "../../tools/fuzz/torch-files.js";
import { caseFolder, here } from "../case.js";

const test = suite("files of torch.save");
const folder = caseFolder("torch-files");
const info = JSON.parse(readFileSync(join(folder, "expected.json"), "utf8"));
const at = (name: string) => join(folder, `${name}.pt`);
const expected = new SafetensorsFile(join(folder, "expected.safetensors"));
test.after(() => expected.close());
const refused = (run: () => unknown, says: RegExp) =>
  assert.throws(run, (e: { code?: string; message: string }) => e.code === "E_PICKLE" && says.test(e.message));

/** Bytes, shape, dtype; whole, in pieces, from the middle, and on the device. */
async function same(file: TorchFile, name: string, wanted = name): Promise<void> {
  const { dtype, shape, bytes } = expected.entry(wanted);
  assert.equal(file.entry(name), { dtype, shape, bytes }, name);
  const want = Buffer.from(expected.bytes(wanted));
  assert.ok(want.equals(Buffer.from(file.bytes(name))), `${name}: other numbers`);
  assert.ok(want.equals(Buffer.concat([...file.pieces(file.tensor(name))])), `${name}: other numbers in pieces`);
  assert.ok(want.subarray(bytes >> 1).equals(Buffer.from(file.bytes(name, bytes >> 1))), `${name}: other numbers from the middle`);
  if (["I16", "U16", "U32", "F8_E4M3"].includes(dtype)) return;
  assert.equal(file.values(name), expected.values(wanted));
  for (const wide of [undefined, "bf16"] as const) {
    using ours = file.load(name, here, { dtype: wide });
    using theirs = expected.load(wanted, here, { dtype: wide });
    assert.equal([ours.dtype, ours.shape], [theirs.dtype, theirs.shape], name);
    assert.equal(await ours.bytes(), await theirs.bytes(), name);
  }
  using raw = file.loadBytes(name, here);
  assert.equal(Buffer.from(await raw.bytes()), want);
}

for (const [name, form] of [
  ["zip", "zip"],
  ["protocol3", "zip"],
  ["protocol4", "zip"],
  ["protocol5", "zip"],
  ["stream", "stream"],
  ["stream4", "stream"],
  ["tar", "tar"],
] as const)
  test(`${name}: the numbers of torch`, async () => {
    using file = new TorchFile(at(name));
    assert.is(file.form, form);
    assert.equal([...file.names()], form === "tar" ? info.tar : info.names);
    for (const one of file.names()) await same(file, one);
  });

test("dtypes that PyTorch has had since, and one that safetensors has no word for", async () => {
  using later = new TorchFile(at("later"));
  assert.equal([...later.names()].length, 3);
  for (const name of later.names()) await same(later, name, `later.${name}`);
  using complex = new TorchFile(at("complex"));
  assert.is(complex.entry("freqs").dtype, "torch.complex64");
  refused(() => complex.load("freqs", here), /"freqs" in F32, BF16.*got torch\.complex64/);
  complex.load("w", here).dispose();
});

test("what a training script keeps beside the model is passed over", async () => {
  using file = new TorchFile(at("training"));
  assert.is(file.key, "model");
  assert.equal([...file.names()], ["weight", "bias"]);
  for (const name of file.names()) await same(file, name, `training.${name}`);
});

test("TorchScript: the module's tensors by their places in it; its code is not looked at", async () => {
  using file = new TorchFile(at("scripted"));
  assert.equal([...file.names()].sort(), ["inner.bias", "inner.weight", "table"]);
  for (const name of file.names()) await same(file, name, `scripted.${name}`);
});

test("of two dicts of tensors one has to be named; the message names the flag", () => {
  refused(() => new TorchFile(at("two")), /got 2: "model", "ema"; choose one: --key model, or the option key/);
  for (const [key, names] of [
    ["model", ["weight", "bias"]],
    ["ema", ["weight"]],
    [".", ["model.weight", "model.bias", "ema.weight"]],
  ] as const) {
    using file = new TorchFile(at("two"), { key });
    assert.equal([...file.names()], names);
  }
  refused(() => new TorchFile(at("two"), { key: "epoch" }), /a dict of tensors at "epoch", got none; there is 2: "model", "ema"/);
  using optimizer = new TorchFile(at("training"), { key: "model" });
  assert.is(optimizer.key, "model");
  assert.throws(() => new TorchFile(at("two"), { kee: "model" } as object), /did you mean "key"/);
});

test("keys with dots, dicts in dicts, dicts that hold each other", () => {
  const own = mkdtempSync(join(tmpdir(), "anymal-torch-"));
  try {
    const path = join(own, "x.pt");
    const data = { a: new Uint8Array(8), b: new Uint8Array(4) };
    const [a, b] = [dictOf([{ name: "a", size: [2] }]), dictOf([{ name: "b", size: [1] }])];
    writeFileSync(
      path,
      zipForm(
        new Map<string, unknown>([
          ["net.one", a],
          ["net", new Map([["two", b]])],
          ["other", [a]],
        ]),
        data,
      ).bytes,
    );
    const names = (key?: string) => {
      using file = new TorchFile(path, { key });
      return [...file.names()];
    };
    refused(() => names(), /2: "net\.one", "net\.two"/);
    assert.equal(names("net.one"), ["a"]);
    assert.equal(names("net.two"), ["b"]);
    assert.equal(names("net"), ["two.b"]);
    assert.equal(names("."), ["net.one.a", "net.two.b"]);
    writeFileSync(
      path,
      zipForm(
        new Map([
          ["a.b", new Map([["c", dictOf([{ name: "b", size: [1] }]).get("b")]])],
          ["a", new Map([["b.c", dictOf([{ name: "b", size: [1] }]).get("b")]])],
        ]),
        data,
      ).bytes,
    );
    refused(() => names("."), /every name once, got "a\.b\.c" twice/);
    writeFileSync(path, zipForm([1, 2], {}).bytes);
    refused(() => names(), /a dict of tensors by name, got a list/);
    writeFileSync(path, zipForm(new Map([["epoch", 3]]), {}).bytes);
    refused(() => names(), /a dict that holds tensors by name, got none/);
  } finally {
    rmSync(own, { recursive: true });
  }
});

test("an empty view may stand behind its storage's end, and the file's", async () => {
  const own = mkdtempSync(join(tmpdir(), "anymal-torch-"));
  try {
    const path = join(own, "x.pt");
    const views = [{ name: "a", numel: 2, first: 2 ** 20, size: [0, 3], stride: [3, 1] }];
    for (const { bytes } of [zipForm(dictOf(views), { a: new Uint8Array(8) }), streamForm(dictOf(views, null), { a: new Uint8Array(8) })]) {
      writeFileSync(path, bytes);
      using file = new TorchFile(path);
      assert.is(file.bytes("a").byteLength, 0);
      assert.equal([...file.pieces(file.tensor("a"))], []);
      using loaded = file.load("a", here);
      assert.equal(loaded.shape, [0, 3]);
    }
  } finally {
    rmSync(own, { recursive: true });
  }
});

test("tensors of more than a part of a file at once: turned, thinned out, repeated", () => {
  const own = mkdtempSync(join(tmpdir(), "anymal-torch-"));
  try {
    const path = join(own, "x.pt");
    const [rows, columns] = [1500, 1700]; // 10 MB: three parts of 4 MiB
    const numbers = Float32Array.from({ length: rows * columns }, (_, i) => i);
    const data = { s: new Uint8Array(numbers.buffer) };
    const at = { key: "s", numel: rows * columns };
    const views = [
      { ...at, name: "turned", size: [columns, rows], stride: [1, columns] },
      { ...at, name: "column", first: 5, size: [rows], stride: [columns] },
      { ...at, name: "far", first: 1, size: [2, 3], stride: [columns * (rows - 1), 7] },
      { ...at, name: "thick", size: [3, columns, 2], stride: [0, 1, columns * 1000] },
    ];
    for (const { bytes } of [zipForm(dictOf(views), data), streamForm(dictOf(views, null), data)]) {
      writeFileSync(path, bytes);
      using file = new TorchFile(path);
      const turned = new Float32Array(file.bytes("turned"));
      for (let i = 0; i < turned.length; i += 997) assert.is(turned[i], (i % rows) * columns + Math.floor(i / rows));
      assert.equal(
        file.values("column"),
        Float32Array.from({ length: rows }, (_, i) => 5 + i * columns),
      );
      const last = columns * (rows - 1);
      assert.equal(file.values("far"), Float32Array.of(1, 8, 15, last + 1, last + 8, last + 15));
      const thick = file.values("thick");
      assert.equal([thick[0], thick[1], thick[2], thick[2 * columns + 3]], [0, 1000 * columns, 1, 1000 * columns + 1]);
    }
  } finally {
    rmSync(own, { recursive: true });
  }
});

test.run();
