// Draws: their distribution, that they are functions of seed, offset and position alone, and choices among logits.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { nextRandom } from "../../lib/core/random.js";
import { device, seed, Tensor } from "../../lib/index.js";
import { argmax, dropout, increment, randomNormal, randomUniform, sampleCategorical } from "../../lib/ops/index.js";
import { here } from "../case.js";
import { levels } from "../harness.js";

const N = 100_000;
const floats = async (t: Tensor) => (await t.data()) as Float32Array;
const moments = (x: Float32Array) => {
  const mean = x.reduce((a, b) => a + b, 0) / x.length;
  return { mean, variance: x.reduce((a, b) => a + (b - mean) ** 2, 0) / x.length };
};

/** Philox 4x32-10 (Salmon et al., SC 2011), a word after the other. */
function philox(counter: readonly number[], key: readonly number[]): number[] {
  let [c0, c1, c2, c3] = counter.map(BigInt) as [bigint, bigint, bigint, bigint];
  let [k0, k1] = key.map(BigInt) as [bigint, bigint];
  for (let round = 0; round < 10; ++round) {
    const [p0, p1] = [0xd2511f53n * c0, 0xcd9e8d57n * c2];
    [c0, c1, c2, c3] = [(p1 >> 32n) ^ c1 ^ k0, p1 & 0xffffffffn, (p0 >> 32n) ^ c3 ^ k1, p0 & 0xffffffffn];
    [k0, k1] = [(k0 + 0x9e3779b9n) & 0xffffffffn, (k1 + 0xbb67ae85n) & 0xffffffffn];
  }
  return [c0, c1, c2, c3].map(Number);
}

test("every position has the bits of its Philox block, at every level", async () => {
  // The known answers of the authors' Random123.
  const ones = 0xffffffff;
  assert.equal(philox([0, 0, 0, 0], [0, 0]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
  assert.equal(philox([ones, ones, ones, ones], [ones, ones]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
  const pi = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344];
  assert.equal(philox(pi, [0xa4093822, 0x299f31d0]), [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]);

  const [own, offset] = [3 * 2 ** 32 + 0x89abcdef, 5 * 2 ** 32 + 0xfedcba98];
  for (const [level, on] of levels())
    for (const n of [1, 7, 130, 1003]) {
      const draws = Array.from({ length: Math.ceil(n / 4) }, (_, block) => philox([block, 0, 0xfedcba98, 5], [0x89abcdef, 3]));
      const want = draws.flat().slice(0, n);
      const x = Tensor.empty([n], { device: on });
      randomUniform(x, 0, 1, own, offset);
      assert.equal(
        Array.from(await floats(x), (u) => u * 2 ** 24),
        want.map((bits) => bits >>> 8),
        `${level}, ${n}`,
      );
    }
});

test("uniform draws: range, mean and variance within five standard errors", async () => {
  const x = Tensor.empty([N], { device: here });
  randomUniform(x, -1, 3, 7, 11);
  const values = await floats(x);
  const { mean, variance } = moments(values);
  assert.ok(Math.min(...values) >= -1 && Math.max(...values) < 3);
  assert.ok(Math.abs(mean - 1) < 5 * Math.sqrt(16 / 12 / N), `mean ${mean}`);
  assert.ok(Math.abs(variance - 16 / 12) < 0.02, `variance ${variance}`);
});

test("normal draws: mean, variance, and the share beyond two standard deviations", async () => {
  const x = Tensor.empty([N], { device: here });
  randomNormal(x, 0.5, 2, 7, 11);
  const values = await floats(x);
  const { mean, variance } = moments(values);
  assert.ok(Math.abs(mean - 0.5) < 5 * Math.sqrt(4 / N), `mean ${mean}`);
  assert.ok(Math.abs(variance - 4) < 0.1, `variance ${variance}`);
  const far = values.filter((v) => Math.abs(v - 0.5) > 4).length / N;
  assert.ok(Math.abs(far - 0.0455) < 5 * Math.sqrt((0.0455 * 0.9545) / N), `share ${far}`);
});

test("the same seed and offset give the same bits on one thread and on several; another offset gives others", async () => {
  const draw = async (threads: number, offset: number) => {
    const x = Tensor.empty([5001], { device: device("cpu", { threads }) });
    randomNormal(x, 0, 1, 3, offset);
    return floats(x);
  };
  const first = await draw(1, 5);
  assert.equal(await draw(3, 5), first);
  assert.not.equal(await draw(1, 6), first);
});

test("dropout keeps its share, scales what it keeps, and follows seed()", async () => {
  const run = async () => {
    seed(21);
    return floats(dropout(Tensor.full([N], 1, { device: here }), 0.3));
  };
  const values = await run();
  const kept = values.filter((v) => v !== 0);
  assert.ok(kept.every((v) => v === Math.fround(1 / 0.7)));
  assert.ok(Math.abs(kept.length / N - 0.7) < 5 * Math.sqrt(0.21 / N), `${kept.length} kept`);
  assert.equal(await run(), values);
});

test("dropout keeps the positions whose draw is p or more, in either dtype at every level", async () => {
  const p = 0.3;
  const least = Math.ceil(Math.fround(p) * 2 ** 24);
  seed(5);
  const { seed: own, offset } = nextRandom();
  const words = (value: number) => [value % 2 ** 32, Math.floor(value / 2 ** 32)];
  for (const [level, on] of levels())
    for (const dtype of ["f32", "bf16"] as const)
      for (const n of [1, 30, 67, 1003]) {
        const draws = Array.from({ length: Math.ceil(n / 4) }, (_, block) => philox([block, 0, ...words(offset)], words(own))).flat();
        seed(5);
        const kept = await floats(dropout(Tensor.full([n], 1, { device: on, dtype }), p));
        assert.equal(
          Array.from(kept, (value) => value !== 0),
          draws.slice(0, n).map((bits) => bits >>> 8 >= least),
          `${level}, ${dtype}, ${n}`,
        );
      }
});

test("argmax takes the first of equals, at every level", async () => {
  for (const [level, d] of levels()) {
    const rows = [
      [1, 5, 5, 2, 5, 0, 0],
      [-3, -3, -3, -3, -3, -3, -3],
      [0, 1, 2, 3, 4, 5, 6],
      [-Infinity, -Infinity, 2, -Infinity, 1, 2, 0],
    ];
    const x = Tensor.from(Float32Array.from(rows.flat()), [4, 7], { device: d });
    assert.equal([...(await argmax(x).data())], [1, 0, 6, 2], level);
  }
});

test("sampling follows the softmax, never takes a removed token, and another count gives another draw", async () => {
  const logits = [0, 1, -Infinity, 2, -1];
  const weights = logits.map(Math.exp);
  const total = weights.reduce((a, b) => a + b, 0);
  const rows = 20_000;
  const x = Tensor.from(
    Float32Array.from({ length: rows * 5 }, (_, i) => logits[i % 5]!),
    [rows, 5],
    { device: here },
  );
  const counter = Tensor.from(Int32Array.of(0), [1], { device: here, dtype: "i32" });
  const first = await sampleCategorical(x, counter, 9).data();
  for (const [token, weight] of weights.entries()) {
    const share = first.filter((t) => t === token).length / rows;
    const p = weight / total;
    assert.ok(Math.abs(share - p) <= 5 * Math.sqrt((p * (1 - p)) / rows), `token ${token}: share ${share}, probability ${p}`);
  }
  assert.equal(await sampleCategorical(x, counter, 9).data(), first);
  increment(counter);
  assert.not.equal(await sampleCategorical(x, counter, 9).data(), first);
});

test.run();
