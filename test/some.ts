import * as assert from "uvu/assert";

/** What a test loops over: a loop over nothing would pass. */
export function some<T>(list: Iterable<T>, what = "what is to be checked"): T[] {
  const all = [...list];
  assert.ok(all.length, `expected ${what}, got none`);
  return all;
}
