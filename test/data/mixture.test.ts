// Sets in shares of their own: the shares hold, each set's rows come in turn, and any place can be asked for without those before it.
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { mixedOrder, orderOf, quotasOf, sharesOf, weightsOf } from "../../lib/data/mixture.js";
import { openRows } from "../../lib/data/open-rows.js";
import { blockOrder, shuffledOrder } from "../../lib/data/order.js";
import { Folder } from "./files.js";

const orders = (...lengths: number[]) => lengths.map((length, i) => shuffledOrder(length, i));
/** Of a row's number, which set it is of. */
const setOf = (lengths: readonly number[], row: number) => {
  let left = row;
  return lengths.findIndex((length) => {
    left -= length;
    return left < 0;
  });
};

test("each set has its share, and within it every row as often as another", () => {
  const lengths = [40, 700, 10_000];
  const order = mixedOrder(orders(...lengths), [2, 1, 1], 5);
  assert.is(order.length, 10_740);
  const counts = new Float64Array(order.length);
  const sets = [0, 0, 0];
  const places = 12 * 4096;
  for (let place = 0; place < places; ++place) {
    const row = order.at(0, place);
    counts[row]!++;
    sets[setOf(lengths, row)]!++;
  }
  assert.equal(sets, [places / 2, places / 4, places / 4]);
  let from = 0;
  for (const length of lengths) {
    const own = counts.slice(from, from + length);
    from += length;
    assert.ok(
      Math.max(...own) - Math.min(...own) <= 1,
      `a row of ${length} was read ${Math.max(...own)} times, another ${Math.min(...own)}`,
    );
  }
});

test("a set that is gone through again comes in another order", () => {
  const order = mixedOrder(orders(40, 40), [1, 1], 2);
  const own: number[] = [];
  for (let place = 0; own.length < 80; ++place) if (order.at(0, place) < 40) own.push(order.at(0, place));
  assert.equal([...own.slice(0, 40)].sort(), [...own.slice(40)].sort());
  assert.not.equal(own.slice(0, 40), own.slice(40));
});

test("shares hold in short stretches too, as draws would have it", () => {
  const lengths = [1000, 1000];
  const order = mixedOrder(orders(...lengths), [3, 1], 1);
  for (const from of [0, 1000, 123_456]) {
    let first = 0;
    for (let i = 0; i < 400; ++i) if (order.at(0, from + i) < 1000) ++first;
    assert.ok(Math.abs(first - 300) < 45, `${first} of 400 from ${from}, 300 are meant`);
  }
});

test("a place is the seed's and its own: asked for alone, backwards, in a later epoch", () => {
  const make = (seed: number) => mixedOrder([shuffledOrder(300, 1), blockOrder([50, 7, 90], 2, 2)], [1, 5], seed);
  const one = make(9);
  const all = Array.from({ length: 3 * one.length }, (_, i) => one.at(Math.floor(i / one.length), i % one.length));
  const other = make(9);
  for (let i = all.length - 1; i >= 0; i -= 7) assert.is(other.at(0, i), all[i], `place ${i}`);
  assert.is(make(9).at(2, 5), all[2 * one.length + 5]);
  const changed = make(10);
  const same = all.slice(0, 400).filter((row, i) => changed.at(0, i) === row).length;
  assert.ok(same < 100, `${same} of 400 places have the same row under another seed`);
});

test("shares are parts of 4096, none is lost", () => {
  for (const weights of [[1], [1, 1, 1], [1e-9, 1], [0.3, 0.3, 0.4], Array.from({ length: 300 }, (_, i) => 1 / (i + 1))]) {
    const quotas = quotasOf(weights);
    const size = quotas.reduce((a, b) => a + b, 0);
    const sum = weights.reduce((a, b) => a + b, 0);
    assert.is(size % 4096, 0);
    assert.ok(quotas.every((quota) => quota >= 1));
    for (const [i, quota] of quotas.entries()) assert.ok(Math.abs(quota / size - (weights[i] as number) / sum) < 1.01 / 4096);
  }
  const [a, b] = sharesOf([{ rows: 10 }, { rows: 30 }], [1, 1]);
  assert.equal(a, { share: 0.5, passes: 2 });
  assert.equal(b, { share: 0.5, passes: 2 / 3 });
});

test("kinds of media have shares, whatever their sets' sizes; sets share their kind's", () => {
  const sets = [
    { rows: 10, kind: "image" },
    { rows: 30, kind: "image" },
    { rows: 5, kind: "imu" },
  ];
  assert.equal(weightsOf(sets, { image: 3, imu: 1 }), [0.75, 2.25, 1]);
  assert.equal(
    weightsOf(
      sets.map((set, i) => ({ ...set, weight: i + 1 })),
      { image: 3, imu: 1 },
    ),
    [1, 2, 1],
  );
  assert.is(weightsOf(sets), undefined);
});

test("weights that do not fit are told", () => {
  const sets = [
    { rows: 10, kind: "image" },
    { rows: 5, kind: "imu" },
  ];
  const [first, second] = sets as [(typeof sets)[0], (typeof sets)[0]];
  const fails = (run: () => unknown, words: RegExp) => assert.throws(run, words);
  fails(() => weightsOf([{ ...first, weight: 1 }, second]), /a weight of every set, or of none, got 1 of 2; give the others one too/);
  fails(() => weightsOf(sets, { image: 1 }), /a weight of each kind in the data, imu too, got image/);
  fails(() => weightsOf(sets, { image: 1, imu: 1, audio: 1 }), /kinds that the data holds, image, imu, got audio; leave it out/);
  fails(() => weightsOf(sets, { image: 0, imu: 1 }), /modalityWeights: image: expected a number above 0, got 0/);
  fails(
    () =>
      weightsOf([
        { rows: 0, weight: 1 },
        { ...second, weight: 1 },
      ]),
    /rows in every set/,
  );
});

test("files are opened as sets, each with columns of its own", async () => {
  const folder = new Folder();
  try {
    const lines = (n: number, make: (i: number) => object) => Array.from({ length: n }, (_, i) => JSON.stringify(make(i))).join("\n");
    const a = folder.write(
      "a.jsonl",
      lines(6, (i) => ({ question: `q${i}`, answer: "a" })),
    );
    const b = folder.write(
      "b.jsonl",
      lines(2, (i) => ({ ask: `Q${i}`, say: "b" })),
    );
    const columns = { question: "ask", answer: "say" };
    const rows = await openRows(
      [
        { from: a, weight: 1 },
        { from: [b], weight: 3, columns },
      ],
      {},
    );
    assert.is(rows.length, 8);
    const order = orderOf(rows, 4);
    let ofB = 0;
    for (let place = 0; place < 4096; ++place) {
      const row = order.at(0, place);
      if (place < 40) assert.equal((await rows.row(row)).turns[1]?.content, [row < 6 ? "a" : "b"]);
      if (row >= 6) ++ofB;
    }
    assert.is(ofB, 3072);
    await rows.close();
    const joined = await openRows([a, { from: b, columns }], {});
    assert.is(joined.order, undefined);
    const told = async (data: Parameters<typeof openRows>[0], words: RegExp, more = {}) =>
      openRows(data, more).then(
        () => assert.unreachable(String(words)),
        ({ message }: Error) => assert.match(message, words),
      );
    await told([{ from: a, wieght: 1 } as never], /"wieght"; did you mean "weight"\?/);
    await told([{ from: a, weight: -1 }], /data: weight: expected a number above 0, got -1/);
    await told([{ weight: 1 } as never], /files or rows under from/);
    await told([{ from: a }, { from: b, columns }], /a weight of each kind in the data, text too/, { modalityWeights: {} });
    folder.write("x.png", "x");
    const mixed = folder.write("c.jsonl", `${JSON.stringify({ image: "x.png", caption: "c" })}\n{"question": "q", "answer": "a"}`);
    await told([mixed, a], /c\.jsonl: expected rows of one kind of media, got image and text; say as which it counts/, {
      modalityWeights: { image: 1, text: 1 },
    });
    const said = await openRows([{ from: mixed, modality: "image" }, a], { modalityWeights: { image: 1, text: 1 } });
    assert.ok(said.order);
    await told([join(folder.path, "none.jsonl")], /no such file/);
  } finally {
    folder.remove();
  }
});

test.run();
