// Views of a checkpoint: part of it, under other names; each name in one view, and what is in none told.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { saveSafetensors } from "../../lib/io/safetensors.js";
import { Stacked } from "../../lib/io/stacked.js";
import { left, renamed, within } from "../../lib/io/views.js";
import { here } from "../case.js";

const test = suite("views");
let folder: string;
let file: Checkpoint;
test.before(async () => {
  folder = mkdtempSync(join(tmpdir(), "anymal-views-"));
  const tensor = (value: number) => ({ dtype: "F32" as const, shape: [2], data: Float32Array.of(value, -value) });
  const names = ["a.x.weight", "a.y", "ab.z", "b.x.weight", "c"];
  await saveSafetensors(
    join(folder, "model.safetensors"),
    names.map((name, i) => [name, tensor(i)] as const),
  );
  file = Checkpoint.open(folder);
});
test.after(() => {
  file.close();
  rmSync(folder, { recursive: true });
});

test("within: what lies below a prefix, and not what begins alike", async () => {
  const view = within(file, "a");
  assert.equal([...view.names()].sort(), ["x.weight", "y"]);
  assert.equal([view.has("y"), view.has("z"), view.has("a.y"), view.path], [true, false, false, file.path]);
  assert.equal(view.entry("y"), file.entry("a.y"));
  using tensor = view.load("y", here);
  assert.equal([...(await tensor.data())], [1, -1]);
  assert.equal(view.bytes("y"), file.bytes("a.y"));
  assert.equal([...within(view, "x").names()], ["weight"]);
  assert.equal([...within(file, "").names()].sort(), [...file.names()].sort());
  assert.throws(
    () => view.load("z", here),
    (error: { code: string }) => error.code === "E_SAFETENSORS",
  );
});

test("renamed: other names, none where it says so, and never two for one", () => {
  const view = renamed(file, (name) => (name === "c" ? undefined : name.replace(/^a\./, "model.")));
  assert.equal([...view.names()].sort(), ["ab.z", "b.x.weight", "model.x.weight", "model.y"]);
  assert.throws(
    () => renamed(file, (name) => name.replace(/^b/, "a")),
    /one tensor for "a\.x\.weight", got "a\.x\.weight" and "b\.x\.weight"/,
  );
});

test("left: what no view shows; a name in two of them is refused", () => {
  const [a, b] = [within(file, "a"), within(file, "b")];
  assert.equal(left(file, [a, b]).sort(), ["ab.z", "c"]);
  assert.equal(left(file, [renamed(file, (name) => name)]), []);
  assert.throws(() => left(file, [a, renamed(file, (name) => name)]), /"a\.\S+" in one part of the model, got in two/);
});

test("stacked: rows behind a table's own, in whatever piece they are asked for; what does not fit is told", async () => {
  const whole = within(file, "");
  const view = new Stacked(whole, [["a.y", "c"]]);
  assert.equal([...view.names()].sort(), ["a.x.weight", "a.y", "ab.z", "b.x.weight"]);
  assert.equal([view.has("c"), view.has("a.y"), [...view.shown()].includes("c")], [false, true, true]);
  assert.equal(view.entry("a.y"), { dtype: "F32", shape: [4], bytes: 16 });
  using tensor = view.load("a.y", here);
  assert.equal([...(await tensor.data())], [1, -1, 4, -4]);
  using square = view.load("a.y", here, { shape: [2, 2], dtype: "bf16" });
  assert.equal([square.shape, square.dtype], [[2, 2], "bf16"]);
  const all = Buffer.concat([file.bytes("a.y"), file.bytes("c")].map((part) => Buffer.from(part)));
  assert.ok(Buffer.from(view.bytes("a.y")).equals(all));
  for (let from = 0; from < 16; ++from)
    for (let length = 1; from + length <= 16; ++length)
      assert.ok(Buffer.from(view.bytes("a.y", from, length)).equals(all.subarray(from, from + length)), `${from}, ${length}`);
  const other = renamed(file, (name) => name);
  const odd = { ...other.entry("c"), dtype: "BF16" };
  Object.defineProperty(other, "entry", { value: (name: string) => (name === "c" ? odd : file.entry(name)) });
  assert.throws(() => new Stacked(other, [["a.y", "c"]]), /"c" of rows of \[\] in F32, as "a\.y", got rows of \[\] in BF16/);
});

test.run();
