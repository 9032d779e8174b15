// Values of other realms, as Jest and node:vm make them: read as one's own, or refused; never read as something else.
import { runInNewContext } from "node:vm";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bytesIn, isBytes, kindOfValue, own, typedArrayName } from "../../lib/core/realm.js";
import { scope } from "../../lib/core/scope.js";
import { Tensor } from "../../lib/core/tensor.js";
import { Case, here } from "../case.js";

const foreign = (code: string): never => runInNewContext(code) as never;
const on = { device: here };
const same = (got: ArrayLike<number>, want: number[]) => assert.equal(Array.from(got), want);

for (const [code, dtype, values] of [
  ["new Int32Array([1, -2])", "i32", [1, -2]],
  ["new Uint8Array([1, 254])", "u8", [1, 254]],
  ["new Float32Array([0.5, -2])", "f32", [0.5, -2]],
  ["new Float64Array([0.5, -2])", "f32", [0.5, -2]],
  ["[0.5, -2]", "f32", [0.5, -2]],
  ["new Proxy([0.5, -2], {})", "f32", [0.5, -2]],
  ["new Int32Array(new SharedArrayBuffer(8))", "i32", [0, 0]],
  ["new Int32Array(new ArrayBuffer(8, { maxByteLength: 16 }))", "i32", [0, 0]],
] as const)
  test(`Tensor.from ${code} of another realm is ${dtype}`, async () => {
    using t = Tensor.from(foreign(code), foreign("[2]"), on);
    assert.is(t.dtype, dtype);
    same(await t.data(), [...values]);
    using target = Tensor.zeros([2], { ...on, dtype });
    target.write(foreign(code));
    same(await target.data(), [...values]);
    using rounded = Tensor.from(foreign(code), new Proxy([2], {}), { ...on, dtype: "bf16" });
    same(await rounded.data(), [...values]);
  });

test("a part of a foreign buffer is that part", async () => {
  using t = Tensor.from(foreign("new Int32Array([9, 1, 2, 9]).subarray(1, 3)"), [2], on);
  same(await t.data(), [1, 2]);
  using bytes = Tensor.from(Buffer.from([9, 1, 2]).subarray(1), [2], on);
  assert.is(bytes.dtype, "u8");
});

test("what is no array of numbers is refused by its name, not read as other numbers", () => {
  for (const [value, words] of [
    [new Proxy(new Int32Array(2), {}), /got a Proxy/],
    [new ArrayBuffer(8), /got ArrayBuffer of 8 bytes/],
    [foreign("new ArrayBuffer(8)"), /got ArrayBuffer of 8 bytes/],
    [new SharedArrayBuffer(8), /got SharedArrayBuffer of 8 bytes/],
    [new DataView(new ArrayBuffer(2)), /got DataView of 2 bytes/],
    [new BigInt64Array(2), /got BigInt64Array of 2.*Number/],
    ["12", /got string/],
    [["1", "2"], /got string at 0/],
    [[1, null], /got null at 1/],
    // biome-ignore lint/suspicious/noSparseArray: the hole is what is tried
    [[1, ,], /got undefined at 1/],
    [undefined, /got undefined/],
    [{ length: 2, 0: 1, 1: 2 }, /got an object/],
  ] as const)
    assert.throws(
      () => Tensor.from(value as never, [2], on),
      (error: { code: string; message: string }) => error.code === "E_ARGUMENT" && words.test(error.message),
    );
});

test("a Proxy around a Tensor is named", () => {
  using t = Tensor.zeros([2], on);
  assert.throws(
    () => new Proxy(t, {}).handle,
    (error: { code: string; message: string }) => error.code === "E_ARGUMENT" && /Proxy/.test(error.message),
  );
});

test("scope knows a promise, a Map and a plain object of another realm", () => {
  assert.throws(
    () => scope(() => foreign("Promise.resolve(1)")),
    (error: { code: string }) => error.code === "E_ASYNC_SCOPE",
  );
  const [map, object] = [foreign("new Map()") as Map<string, Tensor>, foreign("({})") as { t: Tensor }];
  scope(() => {
    map.set("t", Tensor.zeros([1], on));
    return map;
  });
  scope(() => {
    object.t = Tensor.zeros([1], on);
    return object;
  });
  for (const t of [map.get("t")!, object.t]) {
    assert.not.ok(t.disposed);
    t.dispose();
  }
});

test("kinds, whatever an object says of itself", () => {
  assert.is(typedArrayName(Buffer.alloc(1)), "Uint8Array");
  assert.is(typedArrayName(foreign("new Uint8ClampedArray(1)")), "Uint8ClampedArray");
  assert.is(typedArrayName({ [Symbol.toStringTag]: "Float32Array" }), undefined);
  assert.is(typedArrayName(new DataView(new ArrayBuffer(1))), undefined);
  const mine = new Float32Array(2);
  assert.is(own(mine, "Float32Array"), mine, "no copy of one's own");
  const shared = new Uint8Array(new SharedArrayBuffer(2));
  assert.ok(isBytes(shared) && bytesIn(shared).buffer instanceof ArrayBuffer, "shared memory is copied");
  assert.equal(bytesIn(foreign("new DataView(new Uint8Array([7, 8, 9]).buffer, 1)")), Uint8Array.of(8, 9));
  assert.is(kindOfValue(foreign("new Float32Array(3)")), "Float32Array of 3");
});

test("ids, labels and a mask of another realm are read as numbers", async () => {
  const { AutoModelForCausalLM } = await import("../../lib/models/auto-causal-lm.js");
  using model = await AutoModelForCausalLM.fromPretrained(new Case("llama2").folder, { device: here });
  const run = (wrap: (rows: number[][]) => readonly ArrayLike<number>[]) =>
    scope(() => {
      const [ids, mask, labels] = [[[3, 4, 5]], [[1, 1, 1]], [[-100, 4, 5]]].map(wrap);
      return model.forward({ inputIds: ids, attentionMask: mask, labels }).loss!;
    });
  using want = run((rows) => rows);
  using got = run(([row]) => foreign(`[new Int32Array([${row}])]`));
  assert.is(await got.item(), await want.item());
});

test.run();
