// How fast a run is: by when the device had made its steps, not by when somebody asked for their numbers.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Clock, timeOf } from "../../lib/train/clock.js";

test("steps that are asked for on end have each their own time", () => {
  const clock = new Clock(0, 4, 0);
  clock.skip();
  const begun = performance.now();
  clock.tick(1, 10, begun + 9000);
  const rates = [11_000, 11_500, 15_500].map((ms, i) => clock.tick(i + 2, 10, begun + ms).itemsPerSecond);
  assert.equal(
    rates.map((rate) => Math.round(rate * 1000)),
    [5000, 20_000, 2500],
  );
  const going = new Clock(0, 4, 0);
  going.tick(1, 10, begun + 9000); // the first says little of the others
  const left = [11_000, 15_000].map((ms, i) => going.tick(i + 2, 10, begun + ms).secondsLeft);
  assert.equal(
    left.map((seconds) => Math.round(seconds * 1000)),
    [4000, 3000],
  );
});

test("a step that fails has a time too, and nobody has to wait for it", async () => {
  const before = performance.now();
  const failed = timeOf(Promise.reject(new Error("no")));
  const made = timeOf(Promise.resolve([1]));
  for (const time of [await failed, await made]) assert.ok(time >= before && time <= performance.now());
});

test.run();
