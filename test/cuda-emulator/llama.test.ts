// A LLaMA's layer on a card: what a token and a step of training launch in it beside its products, counted by the emulator in processes of their own, as what
// another layer and another token add.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { beyond, type Launches, launches, said } from "./launches.js";
import type { Asked } from "./llama-run.js";

const run = (asked: Asked): Launches => launches("llama-run.ts", asked);
const count = (counts: Launches, ...names: string[]) => names.map((name) => counts.get(name) ?? 0);

test("a token: keys and values are in the cache by the launch that turns queries and keys, and a sum is made with the norm of it", () => {
  const token = (cache: "bf16" | "int8") => {
    const of = (layers: number) =>
      beyond(run({ layers, dtype: "bf16", tokens: 1, cache }), run({ layers, dtype: "bf16", tokens: 2, cache }));
    return beyond(of(1), of(2));
  };
  const plain = token("bf16");
  assert.equal(count(plain, "rope_kernel", "cache_write_kernel", "rms_norm_kernel"), [1, 0, 2], said(plain));
  const coded = token("int8");
  assert.equal(count(coded, "rope_kernel", "cache_write_kernel", "rms_norm_kernel"), [1, 4, 2], said(coded));
});

test("a step of training: two launches turn queries and keys, there and back; each norm has one gradient with what went past it", () => {
  const step = beyond(run({ layers: 1, dtype: "bf16" }), run({ layers: 2, dtype: "bf16" }));
  assert.equal(count(step, "rope_kernel", "rms_norm_kernel", "norm_backward_kernel"), [2, 2, 2], said(step));
});

test.run();
