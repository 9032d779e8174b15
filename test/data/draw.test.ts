// Draws are the same on every machine: seeds in recipes, worlds and shuffles of others depend on them.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Draw } from "../../lib/data/draw.js";

test("draws are mulberry32's of FNV-1a of seed and label, as Python computes them", () => {
  const draw = new Draw(1, "a");
  const first = [draw.uniform(), draw.uniform(), draw.uniform(), draw.uniform()];
  assert.equal(first, [0.5565249207429588, 0.9977834338787943, 0.4879234975669533, 0.7377538774162531]);
});

test.run();
