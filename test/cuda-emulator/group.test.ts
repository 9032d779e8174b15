// Several quantised weights over one x on a card: few rows before codes of 4 bit take one launch for all of them, LoRA's branches included, in which
// each has the bits that it has alone, in every replay.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { randomState, setRandomState } from "../../lib/core/random.js";
import { device, type Tensor as T } from "../../lib/index.js";
import { type Asked, alone, together, worldOf } from "./group-run.js";
import { type Launches, launches, said } from "./launches.js";
import { bytes, replays } from "./replays.js";

/** Widths whose sums are cut differently, with the last tile of inputs half empty. */
const shape: Asked = {
  dtype: "bf16",
  format: "nf4",
  rows: 5,
  inputs: 1088,
  outputs: [300, 40, 72],
  ranks: [0, 0, 0],
  dropout: 0,
  bias: false,
};
const kinds: readonly [string, Partial<Asked>][] = [
  ["without LoRA", { bias: true }],
  ["LoRA on all", { ranks: [8, 20, 4] }],
  ["LoRA on two, with dropout, in f32", { dtype: "f32", format: "fp4", rows: 16, ranks: [8, 0, 5], dropout: 0.25 }],
  ["two weights, LoRA on the last", { rows: 1, outputs: [40, 140], ranks: [0, 130] }],
];

for (const [name, of] of kinds) {
  const asked = { ...shape, ...of };
  test(`${name}: each has the bits that it has alone, in every replay`, async () => {
    const d = device("emulated");
    const { x, members } = worldOf(d, asked, 12);
    const random = randomState();
    const want = members.map((member) => alone(x, member));
    setRandomState(random);
    const got = together(x, members);
    for (const [i, y] of got.entries()) assert.ok((await bytes(y)).equals(await bytes(want[i] as T)), `weight ${i}`);
    if (asked.dropout) return; // drawn anew by each replay
    await replays(d, () => together(x, members).at(-1) as T, await bytes(want.at(-1) as T));
  });
}

test("as many launches forward as one weight alone", () => {
  const worlds = kinds.map(([, of]) => ({ ...shape, ...of }));
  const [all, first] = [false, true].map((one) => launches("group-run.ts", { one, worlds })) as [Launches, Launches];
  assert.equal(all, first, `${said(all)}; one alone: ${said(first)}`);
  assert.is(all.get("skinny_kernel"), kinds.length);
});

test.run();
