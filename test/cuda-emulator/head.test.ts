// A head and its loss on a card: what a chunk of rows launches, counted by the emulator in processes of their own.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Asked } from "./head-run.js";
import { beyond, launches, said, total } from "./launches.js";

/** Rows of one chunk of logits at most (cuda/head_cross_entropy.cu), for a vocabulary as small as that of head-run.ts. */
const CHUNK = 1024;

for (const trains of [false, true])
  test(`a chunk is the logits' product, one launch of losses and gradients, ${trains ? "and the products of both gradients" : "and dx: a frozen head has no gradient"}`, () => {
    const [one, two] = [CHUNK, CHUNK + 300].map((rows) => launches("head-run.ts", { rows, trains } satisfies Asked)) as [Counts, Counts];
    const chunk = beyond(one, two);
    assert.is(chunk.get("loss_row_kernel"), 1, said(chunk));
    assert.is(chunk.get("dense_kernel"), trains ? 3 : 2, said(chunk));
    assert.is(total(chunk), trains ? 4 : 3, said(chunk));
  });

type Counts = ReturnType<typeof launches>;

test.run();
