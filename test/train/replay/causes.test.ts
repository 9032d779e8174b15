// What a replay says first: the likeliest cause of the value that differs.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { likeliest, type ReplayCause } from "../../../lib/train/replay/causes.js";

test("other rows come of other data first, another loss of another recipe, other weights of other weights", () => {
  const causes = (["version", "data", "weights", "device", "recipe"] as const).map((kind): ReplayCause => ({ kind, text: kind }));
  const order = (what: Parameters<typeof likeliest>[1]) => likeliest(causes, what).map(({ kind }) => kind);
  assert.equal(order("rows"), ["data", "recipe", "weights", "version", "device"]);
  assert.equal(order("learning rate"), ["recipe", "version", "data", "weights", "device"]);
  assert.equal(order("loss"), ["recipe", "weights", "device", "version", "data"]);
  assert.equal(order("weights"), ["weights", "recipe", "device", "version", "data"]);
  assert.equal(likeliest([], "loss"), []);
});

test.run();
