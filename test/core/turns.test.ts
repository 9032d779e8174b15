// Long work in pieces: between two of them the event loop has its turn, an abort is heard, and the device's queue is not filled.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { native } from "../../lib/core/native.js";
import { builtInPieces } from "../../lib/core/scope.js";
import { atOnce, inTurns, type Pieces } from "../../lib/core/turns.js";
import { add, backward, backwardAsync, keep, sum, Tensor } from "../../lib/index.js";
import { here } from "../case.js";
import { perTurn } from "../turns.js";

const test = suite("turns");

function* counted(pieces: number, done: number[] = []): Pieces<number> {
  for (let i = 0; i < pieces; ++i) {
    done.push(i);
    yield;
  }
  return pieces;
}

test("a turn for each piece when the slice is over, none before", async () => {
  const seen: number[] = [];
  const done: number[] = [];
  let watching = true;
  const watch = (async () => {
    for (; watching; await new Promise((resolve) => setImmediate(resolve))) seen.push(done.length);
  })();
  assert.is(await inTurns(counted(5, done), { sliceMs: 0 }), 5);
  watching = false;
  await watch;
  for (const n of [1, 2, 3, 4]) assert.ok(seen.includes(n), `nothing ran after piece ${n}: ${seen}`);

  let turned = false;
  setImmediate(() => {
    turned = true;
  });
  assert.is(await inTurns(counted(5), { sliceMs: Infinity }), 5);
  assert.is(turned, false);
  assert.is(atOnce(counted(3)), 3);
});

test("an abort is heard between two pieces, and what was begun is let go", async () => {
  const stop = new AbortController();
  const before = here.memory().tensors;
  let begun = 0;
  const build = builtInPieces(
    (function* (): Pieces<void> {
      for (;;) {
        keep(Tensor.zeros([4], { device: here }));
        if (++begun === 3) stop.abort(new Error("enough"));
        yield;
      }
    })(),
  );
  const outcome = await inTurns(build, { signal: stop.signal }).catch((error: Error) => error);
  assert.match(String(outcome), /enough/);
  assert.is(begun, 3);
  assert.is(here.memory().tensors, before);
});

test("what builds at the same time is not taken for a part of what failed", async () => {
  const failing = builtInPieces(
    (function* (): Pieces<void> {
      keep(Tensor.zeros([4], { device: here }));
      yield;
      throw new Error("no more");
    })(),
  );
  failing.next();
  using other = keep(Tensor.zeros([4], { device: here }));
  assert.throws(() => failing.next(), /no more/);
  assert.is(other.disposed, false);
});

/** A loss behind so many additions. */
function long(x: Tensor, additions: number): Tensor {
  let y = x;
  for (let i = 0; i < additions; ++i) {
    const next = add(y, x);
    if (y !== x) y.dispose();
    y = next;
  }
  const loss = sum(y);
  y.dispose();
  return loss;
}

test("backwardAsync: few calls of the addon in a turn, and the gradients of backward", async () => {
  const run = async (walk: (loss: Tensor) => void | Promise<void>): Promise<number[]> => {
    using x = Tensor.full([2], 1, { device: here, requiresGrad: true });
    using loss = long(x, 300);
    await walk(loss);
    const grad = Array.from((await x.grad?.data()) ?? []);
    x.grad?.dispose();
    return grad;
  };
  const want = await run(backward);
  assert.equal(want, [301, 301]);
  using x = Tensor.full([2], 1, { device: here, requiresGrad: true });
  using loss = long(x, 300);
  const { turns, most } = await perTurn(() => backwardAsync(loss));
  assert.ok(turns > 250, `${turns} turns`);
  assert.ok(most.calls < 20, `${most.calls} calls in one turn`);
  assert.equal(Array.from((await x.grad?.data()) ?? []), want);
  x.grad?.dispose();
});

test("backwardAsync stays within sight of the device: a full queue would hold who enqueues", async () => {
  using x = Tensor.full([2], 1, { device: here, requiresGrad: true });
  using loss = long(x, 9000);
  const surface = native();
  const { tensor_read } = surface;
  let [tensors, marks, ahead, behind] = [0, 0, 0, 0];
  const { accumulate } = surface;
  surface.accumulate = (y, g, alpha) => {
    ahead = Math.max(ahead, ++tensors - behind);
    accumulate(y, g, alpha);
  };
  surface.tensor_read = (handle) => {
    const at = tensors;
    ++marks;
    return tensor_read(handle).finally(() => {
      behind = Math.max(behind, at);
    });
  };
  try {
    await backwardAsync(loss, { sliceMs: Infinity });
  } finally {
    Object.assign(surface, { accumulate, tensor_read });
  }
  assert.ok(tensors > 8000, `${tensors} gradients`);
  assert.ok(marks >= 3, `${marks} marks`);
  assert.ok(ahead < 6000, `${ahead} gradients ahead of the device`);
  assert.equal(Array.from((await x.grad?.data()) ?? []), [9001, 9001]);
  x.grad?.dispose();
});

test.run();
