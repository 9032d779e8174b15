// What every module does with its tensors.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Linear } from "../../lib/nn/linear.js";
import { Weights } from "../../lib/nn/weights.js";
import { here } from "../case.js";

test("weights taken over from a module that trains are leaves here, and nothing leads back", async () => {
  using from = new Linear(Weights.fresh({ device: here, seed: 1 }), 3, 2);
  using same = new Linear(Weights.fresh({ device: here, seed: 2 }), 3, 2);
  using narrow = new Linear(Weights.fresh({ device: here, seed: 3, dtype: "bf16", trainable: false }), 3, 2);
  for (const to of [same, narrow]) {
    to.loadState(new Map(from.namedParameters()));
    assert.ok(to.parameters().every((p) => p.edge === undefined));
    assert.equal(
      to.parameters().map((p) => p.isParameter),
      to === same ? [true, true] : [false, false],
    );
  }
  assert.equal(await same.weight.data(), await from.weight.data());
});

test.run();
