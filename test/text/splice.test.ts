import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Part, partsOf, splice } from "../../lib/text/splice.js";

const rows: Part[][] = [
  [{ ids: [1, 5] }, { start: 0, length: 3 }, { ids: [7, 8], labels: [7, 8] }],
  [
    { start: 3, length: 2 },
    { ids: [9], labels: [9] },
  ],
];

test("rows are padded on the right; text and media keep their order; media is never scored", () => {
  const s = splice(rows);
  assert.is(s.length, 7);
  assert.equal([...s.textIds], [1, 5, 7, 8, 9]);
  assert.equal([...s.index], [0, 1, 5, 6, 7, 2, 3, /**/ 8, 9, 4, -1, -1, -1, -1]);
  assert.equal(
    s.attentionMask.map((row) => [...row]),
    [
      [1, 1, 1, 1, 1, 1, 1],
      [1, 1, 1, 0, 0, 0, 0],
    ],
  );
  assert.equal(
    s.labels.map((row) => [...row]),
    [
      [-100, -100, -100, -100, -100, 7, 8],
      [-100, -100, 9, -100, -100, -100, -100],
    ],
  );
});

test("padding on the left moves whole rows", () => {
  const s = splice(rows, { side: "left" });
  assert.equal([...s.index.subarray(7)], [-1, -1, -1, -1, 8, 9, 4]);
  assert.equal([...s.attentionMask[1]!], [0, 0, 0, 0, 1, 1, 1]);
  assert.equal([...s.labels[1]!], [-100, -100, -100, -100, -100, -100, 9]);
});

test("a row that is too long loses its end, and a media item that does not fit goes whole", () => {
  assert.equal([...splice(rows, { maxLength: 6 }).textIds], [1, 5, 7, 9]);
  const cut = splice(rows, { maxLength: 4 });
  assert.equal([...cut.textIds], [1, 5, 9]);
  assert.equal(
    cut.attentionMask.map((row) => [...row]),
    [
      [1, 1, 0],
      [1, 1, 1],
    ],
  );
});

test("the result is a permutation: every text token and every media row of the parts lands exactly once", () => {
  let state = 1;
  const random = (n: number) => {
    state = (state * 48271) % 2147483647;
    return state % n;
  };
  for (let round = 0; round < 200; ++round) {
    let start = 0;
    const some = Array.from({ length: 1 + random(4) }, () =>
      Array.from({ length: random(5) }, (): Part => {
        const length = random(4);
        if (random(2)) return { ids: Array.from({ length }, () => random(100)) };
        start += length;
        return { start: start - length, length };
      }),
    );
    const s = splice(some, { side: random(2) ? "left" : "right" });
    const used = [...s.index].filter((i) => i >= 0).sort((a, b) => a - b);
    assert.equal(
      used,
      Array.from({ length: s.textIds.length + start }, (_, i) => i),
    );
    assert.is(
      s.attentionMask.reduce((n, row) => n + row.reduce((a, b) => a + b, 0), 0),
      used.length,
    );
  }
});

test("no rows, empty rows", () => {
  assert.is(splice([]).length, 0);
  assert.equal([...splice([[], [{ ids: [4] }]]).index], [-1, 0]);
});

test("placeholders take items in reading order", () => {
  const items = [
    { start: 0, length: 2 },
    { start: 2, length: 2 },
  ];
  const parts = partsOf(
    [
      [1, -1, 2],
      [-1, 3],
    ],
    -1,
    items,
    [
      [-100, -100, 2],
      [-100, 3],
    ],
  );
  assert.equal(parts, [
    [{ ids: [1], labels: [-100] }, items[0], { ids: [2], labels: [2] }],
    [items[1], { ids: [3], labels: [3] }],
  ]);
  assert.throws(() => partsOf([[1, -1]], -1, items), /1 placeholders and 2 items/);
});

test.run();
