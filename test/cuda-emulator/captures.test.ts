// Captures where memory is short: what is cached makes room, and where nothing does, the error says what to do and the device works on. Memory that fails
// at each allocation in turn: capture_faults.cc.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Device, device, scope, Tensor } from "../../lib/index.js";
import * as ops from "../../lib/ops/index.js";

const MIB = 2 ** 20;
const FLOATS = MIB / 4;
const BUFFERS = 8;

const megabyte = (on: Device, value: number) => Tensor.full([FLOATS], value, { device: on });

/** The sum of x eight times added to itself, in eight buffers that live at the same time. */
function step(x: Tensor): Tensor {
  return scope(() => {
    let y = x;
    for (let i = 0; i < BUFFERS; ++i) y = ops.add(y, x);
    return ops.sum(y);
  });
}

async function onCardOf(mebibytes: number, run: (d: Device, x: Tensor) => Promise<void>): Promise<void> {
  const d = device("emulated", { index: 1, memoryLimit: mebibytes * MIB });
  try {
    await run(d, megabyte(d, 0.1));
  } finally {
    await d.close();
  }
}

const WANTED = Math.fround(0.1) * (BUFFERS + 1) * FLOATS;
const near = (got: number | undefined) => assert.ok(Math.abs((got as number) - WANTED) < 1e-5 * WANTED, `${got} for ${WANTED}`);

test("what is cached makes room in the middle of a capture; a fault in its graph is still that of the recorded op", () =>
  onCardOf(16, async (d, x) => {
    const table = Tensor.from([0, 1, 2, 3], [4, 1], { device: d });
    const ids = Tensor.from([3, 1], [2], { device: d, dtype: "i32" });
    const cached = Array.from({ length: 16 }, () => Tensor.full([FLOATS / 2], 1, { device: d }));
    for (const tensor of cached) tensor.dispose();
    await d.synchronize();
    const before = d.memory().bytesReserved;
    assert.ok(before > 9 * MIB);
    using capture = d.capture(() => [step(x), ops.embedding(ids, table)] as const);
    const [sum, rows] = capture.result;
    capture.replay();
    near((await sum.data())[0]);
    assert.equal(Array.from(await rows.data()), [3, 1]);
    assert.ok(d.memory().bytesReserved <= 16 * MIB);
    ids.write([1, 8]);
    capture.replay();
    const told = await rows.data().then(String, (error: Error) => error.message);
    assert.match(told, /^embedding: token id 8 at position 1/);
  }));

test("where there is no room the capture's error says how much and what to do; the step runs without it, and in a capture later", () =>
  onCardOf(16, async (d, x) => {
    await d.synchronize();
    const before = d.memory().bytesInUse;
    const other = Tensor.full([8 * FLOATS], 1, { device: d });
    const capture = d.capture(() => step(x));
    capture.replay();
    const error = (await capture.result.data().catch((reason) => reason)) as { code?: string; message: string };
    assert.is(error.code, "E_OUT_OF_MEMORY");
    assert.match(
      error.message,
      /^add on .*: needed 1\.0 MB more, .* MB in use, .* of a memoryLimit of 16\.8 MB; run it without a capture, .* or/,
    );
    other.dispose();
    const alone = step(x); // in what the capture had taken, though nobody has disposed of it
    near((await alone.data())[0]);
    const later = d.capture(() => step(x));
    later.replay();
    assert.equal(await later.result.data(), await alone.data());
    for (const tensor of [capture.result, later.result, alone]) tensor.dispose();
    for (const each of [capture, later]) each.dispose();
    await d.synchronize();
    assert.is(d.memory().bytesInUse, before);
  }));

test.run();
