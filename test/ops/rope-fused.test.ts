// Queries and keys that turn in one op, and on their way into a cache, against the ops that do one thing after the other: to the bit, at every level.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward, type Device, type DType, Tensor } from "../../lib/index.js";
import { cacheWrite, concat, copy, rope, ropeCached, ropePair } from "../../lib/ops/index.js";
import { here } from "../case.js";
import { checkGradients, levels, random } from "../harness.js";

const SEED = Number(process.env.ANYMAL_SEED ?? Math.floor(Math.random() * 2 ** 31));
console.log(`ANYMAL_SEED=${SEED}`);
const draw = random(SEED);
const drawn = (...shape: number[]) => Float32Array.from({ length: shape.reduce((a, b) => a * b) }, draw);
const numbers = async (t: Tensor) => Array.from(await t.data());

const PLACES = 13;
const table = (D: number, device: Device) =>
  Tensor.from(
    Float32Array.from({ length: PLACES * D }, (_, i) => (i % 2 ? Math.sin : Math.cos)((i >> 1) * 0.37)),
    [PLACES, D / 2, 2],
    { device },
  );
const whole = (below: number) => Math.floor(((draw() + 1) / 2) * below * 0.999);
const ints = (device: Device, shape: number[], below: number) =>
  Tensor.from(
    Int32Array.from({ length: shape.reduce((a, b) => a * b) }, () => whole(below)),
    shape,
    { device, dtype: "i32" },
  );

for (const [level, device] of levels())
  for (const dtype of ["f32", "bf16"] as const)
    for (const D of [2, 10, 64]) {
      const [B, T, H, K, room] = [3, 2, 6, 2, 9];
      const of = (...shape: number[]) => Tensor.from(drawn(...shape), shape, { device, dtype });

      test(`${level}, ${dtype}, heads of ${D}: a pair has the bits of each by itself, and so have its gradients`, async () => {
        const [places, positions] = [table(D, device), ints(device, [B, T], PLACES)];
        const [q, k, dq, dk] = [of(B, T, H, D), of(B, T, K, D), of(B, T, H, D), of(B, T, K, D)];
        const run = (turn: (q: Tensor, k: Tensor) => [Tensor, Tensor], wanted: readonly [boolean, boolean]) => {
          const [ownQ, ownK] = [q, k].map((x, i) => {
            const t = x.detach();
            t.requiresGrad = wanted[i] as boolean;
            return t;
          }) as [Tensor, Tensor];
          const [y, z] = turn(ownQ, ownK);
          if (wanted[0] && wanted[1]) backward(concat([y, z], 2), concat([dq, dk], 2));
          else if (wanted[0]) backward(y, dq);
          else backward(z, dk);
          return [y, z, ownQ.grad, ownK.grad];
        };
        for (const wanted of [
          [true, true],
          [true, false],
          [false, true],
        ] as const) {
          const got = run((a, b) => ropePair(a, b, places, positions), wanted);
          const want = run((a, b) => [rope(a, places, positions), rope(b, places, positions)], wanted);
          for (const [i, t] of want.entries()) assert.equal(got[i] && (await numbers(got[i])), t && (await numbers(t)), `${wanted}, ${i}`);
        }
      });

      test(`${level}, ${dtype}, heads of ${D}: what lands in a cache has those bits, and nothing else moves`, async () => {
        for (const count of [1, T]) {
          const [places, positions] = [table(D, device), ints(device, [B, count], PLACES)];
          const [q, k, v] = [of(B, count, H, D), of(B, count, K, D), of(B, count, K, D)];
          const slot = ints(device, [B], room - count + 1);
          const [kCache, vCache] = [of(B, room, K, D), of(B, room, K, D)];
          const [wantK, wantV] = [copy(kCache), copy(vCache)];
          cacheWrite(wantK, rope(k, places, positions), slot);
          cacheWrite(wantV, v, slot);
          const y = ropeCached(q, k, v, places, positions, { kCache, vCache, slot });
          assert.equal(await numbers(y), await numbers(rope(q, places, positions)));
          assert.equal(await numbers(kCache), await numbers(wantK));
          assert.equal(await numbers(vCache), await numbers(wantV));
        }
      });
    }

test("gradients of a pair", async () => {
  const [places, positions] = [table(4, here), ints(here, [1, 3], PLACES)];
  const input = (...shape: number[]) => ({ shape, values: drawn(...shape) });
  const inputs = { q: input(1, 3, 2, 4), k: input(1, 3, 1, 4) };
  await checkGradients("ropePair", here, inputs, ({ q, k }) => concat(ropePair(q!, k!, places, positions), 2), SEED);
});

test("a position that the table lacks, and a slot that the cache lacks, are told; both caches hold what came of it for failed", async () => {
  const [B, K, D, room] = [2, 1, 4, 5];
  const of = (...shape: number[]) => Tensor.from(drawn(...shape), shape, { device: here, dtype: "f32" as DType });
  const i32 = (...values: number[]) => Tensor.from(Int32Array.from(values), [values.length], { device: here, dtype: "i32" });
  for (const [at, to, said] of [
    [[0, PLACES], [0, 0], `position ${PLACES} at`],
    [[0, -1], [0, 0], "position -1 at"],
    [[0, 1], [room, 0], "position|rows"],
    [[0, 1], [0, -1], "position|rows"],
  ] as const) {
    const [kCache, vCache] = [of(B, room, K, D), of(B, room, K, D)];
    const y = ropeCached(of(B, 1, 2, D), of(B, 1, K, D), of(B, 1, K, D), table(D, here), i32(...at).reshape([B, 1]), {
      ...{ kCache, vCache },
      slot: i32(...to),
    });
    for (const t of [y, kCache, vCache]) {
      const error = await t.data().then(
        () => undefined,
        (e: Error) => e,
      );
      assert.match(error?.message ?? "nothing failed", new RegExp(said));
    }
  }
});

test.run();
