// What users do wrong: each is an error with a code that says what was expected and what was got, and the next call works.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { native } from "../../lib/core/native.js";
import { backward, checkpoint, device, linear, noGrad, scope, Tensor } from "../../lib/index.js";
import * as ops from "../../lib/ops/index.js";
import { here } from "../case.js";

const ones = (...shape: number[]) => Tensor.full(shape, 1, { device: here });
function fails(code: string, words: RegExp, run: () => unknown): void {
  try {
    run();
  } catch (error) {
    assert.is((error as { code?: string }).code, code, String(error));
    assert.match((error as Error).message, words);
    return;
  }
  assert.unreachable(`expected ${code}`);
}
async function rejects(code: string, words: RegExp, promise: Promise<unknown>): Promise<void> {
  const error = await promise.then(
    () => undefined,
    (reason: Error & { code?: string }) => reason,
  );
  assert.ok(error, `expected ${code}`);
  assert.is(error.code, code, String(error));
  assert.match(error.message, words);
}

test("a disposed tensor", () => {
  const x = ones(2, 3);
  x.dispose();
  fails("E_DISPOSED", /disposed/, () => x.handle);
  fails("E_DISPOSED", /disposed/, () => ops.add(x, ones(2, 3)));
  fails("E_DISPOSED", /disposed/, () => x.dispose());
  x[Symbol.dispose](); // `using` after an early dispose() is no mistake
});

test("a tensor that its scope has taken with it", () => {
  let leaked: Tensor | undefined;
  scope(() => {
    leaked = ones(2);
  });
  fails("E_DISPOSED", /disposed/, () => ops.add(leaked as Tensor, leaked as Tensor));
});

test("wrong shapes and dtypes say what was expected and what was got", () => {
  fails("E_SHAPE", /linear.*3.*4/, () => linear(ones(2, 3), ones(5, 4)));
  fails("E_SHAPE", /add/, () => ops.add(ones(2, 3), ones(3, 2)));
  fails("E_DTYPE", /bf16/, () => ops.add(ones(2, 3), Tensor.full([2, 3], 1, { device: here, dtype: "bf16" })));
  fails("E_DTYPE", /f64/, () => Tensor.full([2], 1, { device: here, dtype: "f64" as "f32" }));
  fails("E_SHAPE", /6/, () => ones(2, 3).reshape([4]));
  fails("E_SHAPE", /4/, () => Tensor.from([1, 2, 3], [4], { device: here }));
  fails("E_VALUE", /swish/, () => ops.activation(ones(2), "swish" as "silu"));
});

test("a shape that calls back while it is read cannot take away what was read before it", async () => {
  const x = ones(2, 3);
  const shape = [3, 2];
  Object.defineProperty(shape, 1, {
    get: () => {
      native().tensor_dispose(x.handle);
      return 2;
    },
  });
  fails("E_ARGUMENT", /tensor_dispose: .*arrays without getters as arguments of tensor_reshape/, () =>
    native().tensor_reshape(x.handle, shape),
  );
  const broken = Object.defineProperty([3, 2], 0, {
    get: () => {
      throw new RangeError("no");
    },
  });
  assert.throws(
    () => native().tensor_reshape(x.handle, broken),
    (error: unknown) => error instanceof RangeError && error.message === "no",
  );
  assert.equal(await x.reshape([3, 2]).data(), new Float32Array(6).fill(1));
});

test("tensors of two devices", () => {
  const other = device("cpu", { threads: 1, level: "generic" });
  fails("E_DEVICE", /device/, () => ops.add(ones(2), Tensor.full([2], 1, { device: other })));
});

test("an index out of range rejects at the next read, with the index, and the device goes on", async () => {
  const ids = Tensor.from(Int32Array.of(0, 9), [2], { device: here, dtype: "i32" });
  await rejects("E_INDEX", /9/, ops.embedding(ids, ones(4, 3)).data());
  assert.equal([...(await ones(2).data())], [1, 1]);
});

test("what is not there", () => {
  fails("E_DEVICE", /level/, () => device("cpu", { level: "sse9" }));
  fails("E_DEVICE", /tpu/, () => device("tpu"));
  fails("E_DEVICE", /threads/, () => device("cpu", { threads: 0 }));
});

test("backward: no graph, no scalar, the wrong gradient, twice", () => {
  const w = Tensor.full([3, 2], 1, { device: here, requiresGrad: true });
  fails("E_GRAD", /requiresGrad/, () => backward(ones(1)));
  fails("E_GRAD", /requiresGrad|noGrad/, () => backward(noGrad(() => ops.sum(w))));
  fails("E_GRAD", /leaf/, () => backward(w));
  fails("E_GRAD", /sum/, () => backward(linear(ones(2, 2), w)));
  fails("E_SHAPE", /2,3/, () => backward(linear(ones(2, 2), w), ones(3, 2)));
  const loss = ops.sum(linear(ones(2, 2), w));
  backward(loss);
  fails("E_TAPE_FREED", /again/, () => backward(loss));
});

test("an asynchronous scope", () => {
  fails("E_ASYNC_SCOPE", /await outside/, () => scope(async () => ones(2)));
});

test("a capture that reads, nests or fails", async () => {
  const d = device("cpu", { threads: 1, level: "generic" });
  const x = Tensor.full([2], 1, { device: d });
  fails("E_CAPTURE", /capturing/, () => d.capture(() => d.capture(() => x)));
  fails("E_SHAPE", /reshape|3/, () => d.capture(() => x.reshape([3])));
  const capture = d.capture(() => ops.add(x, x));
  capture.replay();
  assert.equal([...(await capture.result.data())], [2, 2]);
  capture.dispose();
  fails("E_DISPOSED", /capture/, () => capture.replay());
});

test("an exception inside scope() or checkpoint() leaves nothing allocated", async () => {
  await here.synchronize();
  const before = here.memory().tensors;
  const boom = () => {
    throw new Error("on purpose");
  };
  assert.throws(
    () =>
      scope(() => {
        ones(100);
        boom();
      }),
    /on purpose/,
  );
  const x = Tensor.full([4], 1, { device: here, requiresGrad: true });
  assert.throws(
    () =>
      scope(() =>
        checkpoint((t) => {
          ops.add(t, t);
          return boom() as never;
        }, x),
      ),
    /on purpose/,
  );
  x.dispose();
  assert.is(here.memory().tensors, before);
});

test("a closed device", async () => {
  const d = device("cpu", { threads: 2, level: "generic" });
  const x = Tensor.full([2], 1, { device: d });
  const read = x.data();
  await d.close();
  assert.equal([...(await read)], [1, 1]); // enqueued before
  fails("E_DISPOSED", /.*/, () => ops.add(x, x));
  fails("E_DISPOSED", /closed/, () => d.memory());
});

test("ten thousand forged calls to every native entry: a coded error or a result, never a crash", () => {
  const child = fileURLToPath(new URL("./forged-calls.ts", import.meta.url));
  const r = spawnSync(process.execPath, ["--import", "tsx", child, String(Math.floor(Math.random() * 2 ** 31))], {
    encoding: "utf8",
    timeout: 120_000,
  });
  assert.is(r.signal, null, `${r.signal}: ${r.stdout}${r.stderr}`);
  assert.is(r.status, 0, `${r.stdout}${r.stderr}`);
  assert.match(r.stdout, /^calls \d{5,}, errors \d+/m);
});

test("a tensor that no host could hold is not read, and the process goes on", async () => {
  using x = Tensor.empty([1 << 30, 8]);
  let error: { code?: string; message: string } | undefined;
  try {
    await x.data();
  } catch (e) {
    error = e as typeof error;
  }
  assert.is(error?.code, "E_OUT_OF_MEMORY");
  assert.match(error!.message, /32768 MiB; read it in slices/);
});

test("what a function of media would make and no host could hold is refused, and the process goes on", async () => {
  fails("E_OUT_OF_MEMORY", /media_resample: .* 7629 MiB; take it in parts/, () =>
    native().media_resample(new Float32Array(200), 1, 10_000_000),
  );
  assert.is((await native().media_resample(new Float32Array(200), 1, 2)).byteLength, 1600);
});

test.run();
