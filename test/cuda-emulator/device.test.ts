// The CUDA backend as a device of the library, emulated: transfers, errors of kernels and of memory, captures, several devices, options. Its ops are
// under test in ops.cc and, with models around them, in every suite that takes --device.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { native } from "../../lib/core/native.js";
import { device, scope, Tensor } from "../../lib/index.js";
import * as ops from "../../lib/ops/index.js";
import { random } from "../harness.js";

const d = device("emulated");
const draw = random(1);
const uniform = (n: number) => Float32Array.from({ length: n }, draw);

async function rejection(promise: Promise<unknown>): Promise<{ code?: string; message: string }> {
  try {
    await promise;
  } catch (error) {
    return error as { code?: string; message: string };
  }
  throw new Error("nothing was rejected");
}

test("says what it is", () =>
  assert.match(
    d.describe(),
    /^cuda: emulated GPU 0, \d+ MiB, compute capability 8\.0, \d+ multiprocessors, 1 MiB of L2 cache, driver for CUDA 13\.0$/,
  ));

test("what goes to the card comes back, in pieces of the staging buffers too", async () => {
  for (const n of [0, 1, 1000, (8 << 20) / 4, (8 << 20) / 4 + 1, 5_000_001]) {
    const values = uniform(n);
    using x = Tensor.from(values, [n], { device: d });
    assert.equal(await x.data(), values, `${n} values`);
  }
});

test("two cards in one process do not meet", async () => {
  const other = device("emulated", { index: 1 });
  assert.match(other.describe(), /emulated GPU 1/);
  using a = Tensor.from([1, 2, 3], [3], { device: d });
  using b = Tensor.from([10, 20, 30], [3], { device: other });
  const sums = [a, b].map((x) => scope(() => ops.add(x, x)));
  assert.equal(await Promise.all(sums.map(async (y) => Array.from(await y.data()))), [
    [2, 4, 6],
    [20, 40, 60],
  ]);
  assert.throws(
    () => ops.add(a, b),
    (e: { code?: string }) => e.code === "E_DEVICE",
  );
  for (const y of sums) y.dispose();
  b.dispose();
  await other.close();
});

/** What a process says that opens the device with this environment and prints what the script makes of it. */
function elsewhere(env: Record<string, string>, script: string): string {
  const library = fileURLToPath(new URL("../../lib/index.ts", import.meta.url));
  const code = `import { device } from ${JSON.stringify(library)};
import { native } from ${JSON.stringify(library.replace("index.ts", "core/native.ts"))};
try { ${script} } catch (error) { console.log(error.code, error.message); }`;
  const args = ["--import", "tsx", "--input-type=module", "-e", code];
  const r = spawnSync(process.execPath, args, { encoding: "utf8", env: { ...process.env, ...env } });
  assert.is(r.status, 0, r.stderr);
  return r.stdout.trim();
}

test("a driver or a card that cannot run the module's kernels is told when the device is opened, with what to do", () => {
  const open = 'device("emulated"); console.log("opened");';
  assert.match(elsewhere({ EMU_KERNELS: "209" }, open), /^E_DEVICE .*no kernel image.*compiled for other cards: build it for this one/s);
  assert.match(elsewhere({ EMU_KERNELS: "222" }, open), /^E_DEVICE .*driver is older than the compiler .*: update the driver, or build/s);
  assert.match(elsewhere({ EMU_KERNELS: "221" }, open), /^E_DEVICE .*libnvidia-ptxjitcompiler/s);
  assert.match(
    elsewhere({ EMU_DRIVER: "12040" }, open),
    /^E_DEVICE .*driver is for CUDA 12\.4, .* 13\.0 or newer: update.* CUDA 12 .*cuda-compat-13-0/s,
  );
  assert.match(elsewhere({ EMU_DRIVER: "0" }, open), /^E_DEVICE .*no NVIDIA driver is installed/s);
});

test("kernels of one path alone, on wish", async () => {
  assert.throws(() => device("emulated", { path: "fast" }), /expected a path of tiles, skinny, panels, hopper, got "fast"/);
  const other = device("emulated", { path: "skinny" });
  const n = native();
  const [O, I] = [40, 128];
  const rowsOf = async (rows: number) => {
    const values = Uint8Array.from({ length: (O * I) / 2 }, (_, i) => (i * 37) % 256);
    const codes = n.tensor_from(other.id, 3, [values.length], values);
    const w = n.pack_codes(codes, 0, O, I, n.packed_bytes(other.id, 0, O, I));
    using absmax = Tensor.full([(O * I) / 64], 0.5, { device: other });
    using x = Tensor.full([rows, I], 1, { device: other });
    const y = n.linear_quantized(x.handle, w, absmax.handle, undefined, undefined, undefined, 0, 64, O, 0);
    try {
      return await n.tensor_read(y);
    } finally {
      n.tensor_dispose([codes, w, y]);
    }
  };
  await rowsOf(3);
  const { message } = await rejection(rowsOf(17));
  assert.match(message, /the path "skinny".* does not make a product of 17 rows/);
  await other.close();
});

test("a card that is not there", () => {
  for (const index of [2, -1])
    assert.throws(
      () => device("emulated", { index }),
      (e: { code?: string; message: string }) => e.code === "E_DEVICE" && /expected an index from 0 to 1, got/.test(e.message),
    );
});

test("an index out of range is told by the next read, with the index; the device works on", async () => {
  using table = Tensor.from(uniform(12), [4, 3], { device: d });
  using ids = Tensor.from([0, 7, 2], [3], { device: d, dtype: "i32" });
  using y = scope(() => ops.embedding(ids, table));
  const error = await rejection(y.data());
  assert.is(error.code, "E_INDEX");
  assert.match(error.message, /7 at position 1 is outside \[0, 4\)/);
  using fine = Tensor.from([3, 0], [2], { device: d, dtype: "i32" });
  using z = scope(() => ops.embedding(fine, table));
  const [rows, all] = [await z.data(), await table.data()];
  assert.equal(Array.from(rows), [...all.subarray(9, 12), ...all.subarray(0, 3)]);
});

test("a late fault poisons what was computed from it since, and nothing else", async () => {
  const n = native();
  const rows = (...ids: number[]) => ops.embedding(Tensor.from(ids, [ids.length], { device: d, dtype: "i32" }), table);
  const table = Tensor.from(uniform(12), [4, 3], { device: d });
  const [weight, other, twice] = [6, 6, 6].map((size) => Tensor.full([size], 1, { device: d })) as [Tensor, Tensor, Tensor];
  const [bad, worse] = [rows(0, 7), rows(9, 9)];
  n.accumulate(weight.handle, bad.reshape([6]).handle, 1); // runs on the card before anybody knows
  n.accumulate(other.handle, other.handle, 1);
  const after = scope(() => ops.add(weight, weight));
  twice.write([1, 2, 3, 4, 5, 6]);
  assert.is((await rejection(after.data())).code, "E_INDEX");
  assert.match((await rejection(weight.data())).message, /^embedding: token id 7 at position 1 is outside/);
  assert.match((await rejection(worse.data())).message, /token id 9/, "each command has a fault of its own");
  assert.equal(Array.from(await other.data()), [2, 2, 2, 2, 2, 2]);
  assert.equal(Array.from(await twice.data()), [1, 2, 3, 4, 5, 6]);
  weight.heal(); // it was updated, with what nobody knows
  assert.is((await rejection(weight.data())).code, "E_INDEX");
  await d.synchronize(); // everybody was told
  rows(5);
  assert.is((await rejection(d.synchronize())).code, "E_INDEX");
  for (const tensor of [table, weight, other, twice, bad, worse, after]) tensor.dispose();
});

test("a fault in a graph is that of the recorded op, and poisons what the replay writes", async () => {
  using table = Tensor.from(uniform(12), [4, 3], { device: d });
  using ids = Tensor.from([1, 2], [2], { device: d, dtype: "i32" });
  using counter = Tensor.from([0], [1], { device: d, dtype: "i32" });
  using other = Tensor.from([5], [1], { device: d, dtype: "i32" });
  using step = d.capture(() => {
    ops.increment(counter, 1);
    return ops.embedding(ids, table);
  });
  const y = step.result;
  step.replay();
  assert.is((await y.data()).length, 6);
  ids.write([1, 8]);
  step.replay();
  assert.match((await rejection(y.data())).message, /^embedding: token id 8 at position 1/);
  assert.is((await rejection(counter.data())).code, "E_INDEX");
  assert.equal(Array.from(await other.data()), [5]);
  counter.write([0]);
  ids.write([3, 0]);
  step.replay();
  assert.is((await y.data()).length, 6);
  assert.equal(Array.from(await counter.data()), [1]);
  y.dispose();
});

test("scratch counts, and the limit holds for it too", async () => {
  const small = device("emulated", { index: 1, memoryLimit: 8 << 20 });
  try {
    const x = Tensor.full([64, 64], 0.1, { device: small });
    using y = scope(() => ops.sum(x));
    await y.data();
    const { bytesScratch, bytesReserved, memoryLimit } = small.memory();
    assert.ok(bytesScratch > 0 && bytesReserved >= bytesScratch && bytesReserved <= 8 << 20);
    assert.is(memoryLimit, 8 << 20);
    const error = await rejection(Tensor.full([4 << 20], 1, { device: small }).data());
    assert.match(error.message, /held in all of a memoryLimit of 8\.4 MB/);
  } finally {
    await small.close();
  }
});

test("out of memory says how much, and the device works on", async () => {
  const error = await rejection(scope(() => ops.sum(Tensor.full([1 << 30, 8], 1, { device: d }))).data());
  assert.is(error.code, "E_OUT_OF_MEMORY");
  assert.match(error.message, /needed 34359\.7 MB more/);
  using x = Tensor.full([3], 2, { device: d });
  assert.equal(Array.from(await x.data()), [2, 2, 2]);
});

test("a capture replays as often as asked, on what its inputs hold then", async () => {
  using w = Tensor.from(uniform(32), [4, 8], { device: d });
  using x = Tensor.from(uniform(16), [2, 8], { device: d });
  using warm = scope(() => ops.linear(x, w));
  await warm.data();
  using capture = d.capture(() => scope(() => ops.activation(ops.linear(x, w), "gelu")));
  for (let i = 0; i < 3; ++i) {
    x.write(uniform(16));
    capture.replay();
    using want = scope(() => ops.activation(ops.linear(x, w), "gelu"));
    assert.equal(await capture.result.data(), await want.data());
  }
  capture.result.dispose();
});

test("measured peaks are numbers", async () => {
  for (const what of ["f32", "bf16", "bandwidth"] as const) {
    const peak = await d.peak(what);
    assert.ok(Number.isFinite(peak) && peak > 0, `${what}: ${peak}`);
  }
});

test.run();
