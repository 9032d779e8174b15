// What a block of gated cross-attention launches on a card, counted by the emulator, keys of its media among it.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Asked } from "./gated-run.js";
import { launches, said, total } from "./launches.js";

const [FORWARD, BACKWARD] = [11, 15];
for (const dtype of ["f32", "bf16"] as const)
  test(`${dtype}: a block is at most ${FORWARD} launches forward and ${BACKWARD} backward; weights are read as they are`, () => {
    const [ahead, all] = [false, true].map((both) => launches("gated-run.ts", { dtype, backward: both } satisfies Asked)) as [
      ReadonlyMap<string, number>,
      ReadonlyMap<string, number>,
    ];
    assert.not(all.has("runs_kernel") || all.has("place_kernel"), said(all)); // keys and values are not cut out of one result
    assert.ok(total(ahead) <= FORWARD, `${total(ahead)}: ${said(ahead)}`);
    assert.ok(total(all) <= FORWARD + BACKWARD, `${total(all)}: ${said(all)}`);
  });

test.run();
