// What an op that fails takes with it, and what it leaves alone: the contract of native/backend.h as a user meets it.
import { rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { native } from "../../lib/core/native.js";
import { AdamW, AutoModelForCausalLM, backward, device, scope, Tensor } from "../../lib/index.js";
import { QuantizedLinear } from "../../lib/nn/quantized-linear.js";
import * as ops from "../../lib/ops/index.js";
import { caseFolder } from "../case.js";

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "none",
    (error: { code?: string; message: string }) => error.code ?? error.message,
  );
/** Rows 0 and 9 of a table of four. */
const badRows = () => ops.embedding(Tensor.from(Int32Array.of(0, 9), [2], { dtype: "i32" }), Tensor.full([4, 3], 1));

test("an update in place beside somebody else's failure is made", async () => {
  const weight = Tensor.from([10, 20], [2]);
  const one = Tensor.full([2], 1);
  const bad = badRows(); // request A
  native().accumulate(weight.handle, one.handle, 1); // request B, before anybody reads
  assert.is(await codeOf(bad.data()), "E_INDEX");
  assert.equal([...(await weight.data())], [11, 21]);
});

test("an update in place that depends on a failure is told to whoever reads what was to be updated", async () => {
  const weight = Tensor.full([6], 1);
  native().accumulate(weight.handle, badRows().reshape([6]).handle, 1);
  const after = scope(() => ops.add(weight, weight));
  assert.is(await codeOf(weight.data()), "E_INDEX");
  assert.is(await codeOf(after.data()), "E_INDEX");
  assert.is(await codeOf(weight.data()), "E_INDEX", "every time");
  weight.write([1, 2, 3, 4, 5, 6]);
  assert.equal([...(await weight.data())], [1, 2, 3, 4, 5, 6], "until it is written anew");
});

test("an optimiser's step that was not made can be taken back", async () => {
  const weight = Tensor.from([1, 2, 3, 4, 5, 6], [2, 3], { requiresGrad: true });
  using optimizer = new AdamW([{ parameters: [["weight", weight]] }]);
  const train = (make: () => Tensor) => {
    const loss = scope(() => ops.sum(ops.mul(make(), weight)));
    backward(loss);
    optimizer.step(0.1);
    optimizer.zeroGrad();
  };
  train(badRows);
  assert.is(await codeOf(weight.data()), "E_INDEX");
  optimizer.recover();
  assert.equal([...(await weight.data())], [1, 2, 3, 4, 5, 6]);
  train(() => Tensor.full([2, 3], 1));
  assert.ok([...(await weight.data())].every((w, i) => w < i + 1));
  weight.dispose();
  optimizer.recover(); // what is gone needs none
});

test("what went wrong inside a capture is told, not that what it has failed was healed there", async () => {
  const weight = Tensor.from([1, 2, 3, 4, 5, 6], [6], { requiresGrad: true });
  using optimizer = new AdamW([{ parameters: [["weight", weight]] }]);
  native().accumulate(weight.handle, badRows().reshape([6]).handle, 1);
  assert.is(await codeOf(weight.data()), "E_INDEX");
  const recorded = () => {
    try {
      throw new Error("the real one");
    } finally {
      optimizer.recover();
    }
  };
  assert.throws(() => weight.device.capture(recorded), /the real one/);
  assert.equal([...(await weight.data())], [1, 2, 3, 4, 5, 6]);
  weight.dispose();
});

test("synchronize() is told what nobody else was told, once", async () => {
  const d = device("cpu", { threads: 1 });
  const ids = Tensor.from(Int32Array.of(9), [1], { device: d, dtype: "i32" });
  const table = Tensor.full([4, 3], 1, { device: d });
  ops.embedding(ids, table);
  assert.is(await codeOf(d.synchronize()), "E_INDEX");
  assert.is(await codeOf(d.synchronize()), "none");
  assert.is(await codeOf(ops.embedding(ids, table).data()), "E_INDEX");
  assert.is(await codeOf(d.synchronize()), "none");
  ops.embedding(ids, table);
  assert.is(await codeOf(d.close()), "E_INDEX", "close() too, and the device is closed");
  assert.throws(() => table.shape && ops.add(table, table), /disposed|closed/);
});

test("a model is loaded, and a device is waited for, beside somebody else's failure, which is still told", async () => {
  const d = device("cpu");
  const bad = badRows();
  const model = await AutoModelForCausalLM.fromPretrained(caseFolder("llama2"), { device: d, quantization: "nf4" });
  await d.idle();
  assert.is(await codeOf(d.synchronize()), "E_INDEX");
  model.dispose();
  bad.dispose();
});

test("a weight that did not arrive is told by the load", async () => {
  const model = await AutoModelForCausalLM.fromPretrained(caseFolder("llama2"), { quantization: "nf4" });
  await model.arrived();
  const layer = model.modules().find((module) => module instanceof QuantizedLinear) as QuantizedLinear;
  const { absmax } = layer.weight; // which is no parameter
  const ids = Tensor.from(Int32Array.of(9), [1], { dtype: "i32" });
  const bad = ops.embedding(ids, Tensor.full([4, absmax.size], 1)).reshape(absmax.shape);
  native().accumulate(absmax.handle, bad.handle, 1);
  assert.is(await codeOf(model.arrived()), "E_INDEX");
  model.dispose();
});

test("a file that was cut keeps its code", async () => {
  const path = join(tmpdir(), `anymal-cut-${process.pid}`);
  writeFileSync(path, new Float32Array(8));
  const n = native();
  const file = n.file_map(path);
  try {
    truncateSync(path, 8);
    const handle = n.tensor_from_file(device("cpu").id, 0, [8], file, 0);
    assert.is(await codeOf(n.tensor_read(handle)), "E_FILE");
    n.tensor_dispose(handle);
  } finally {
    n.file_unmap(file);
    rmSync(path);
  }
});

test("a memory limit is an error with the breakdown, and what fits goes on", async () => {
  const d = device("cpu", { threads: 1, memoryLimit: 4 << 20 });
  try {
    const small = Tensor.full([1 << 18], 1, { device: d });
    const big = Tensor.full([1 << 20], 1, { device: d });
    const error = await big.data().then(
      () => undefined,
      (e: Error & { code: string }) => e,
    );
    assert.is(error?.code, "E_OUT_OF_MEMORY");
    assert.match(
      String(error?.message),
      /needed 4\.2 MB more, 1\.\d MB in use, 0\.0 MB to compute in, 1\.\d MB held in all of a memoryLimit of 4\.2 MB/,
    );
    assert.is((await small.data())[5], 1);
    assert.is(d.memory().memoryLimit, 4 << 20);
    assert.ok(d.memory().bytesReserved <= 4 << 20);
  } finally {
    await d.close();
  }
  assert.throws(
    () => device("cpu", { memoryLimit: -1 }),
    (e: Error & { code: string }) => e.code === "E_DEVICE" && /memoryLimit in bytes/.test(e.message),
  );
});

test("what ops work in is counted", async () => {
  const d = device("cpu", { threads: 2 });
  try {
    const [rows, width, words] = [512, 64, 32000];
    const x = Tensor.full([rows, width], 0.01, { device: d, dtype: "bf16" });
    const head = Tensor.full([words, width], 0.01, { device: d, dtype: "bf16" });
    const target = Tensor.from(new Int32Array(rows), [rows], { device: d });
    await d.synchronize();
    const before = d.memory();
    native().head_cross_entropy(true, undefined, x.handle, head.handle, target.handle, undefined, -100, 0);
    await d.synchronize();
    const after = d.memory();
    const scratch = after.bytesScratch - before.bytesScratch;
    assert.ok(scratch > rows * words, `${scratch} bytes of scratch for ${rows} × ${words} logits in chunks`);
    assert.ok(after.bytesPeak - before.bytesPeak >= scratch && after.bytesReserved - before.bytesReserved >= scratch);
  } finally {
    await d.close();
  }
});

test("sizes that hide behind a zero are refused", () => {
  const n = native();
  assert.throws(
    () => n.tensor_create(device("cpu").id, 0, [0, 2 ** 52, 2 ** 52]),
    (e: Error & { code: string }) => e.code === "E_SHAPE",
  );
  assert.throws(
    () => n.packed_bytes(device("cpu").id, 0, 2 ** 52, 2 ** 52),
    (e: Error & { code: string }) => e.code === "E_VALUE" && /fewer than 2\^46/.test(e.message),
  );
});

test.run();
