// What SECURITY.md promises is held by tests: those that it names are there.
import { existsSync, readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";

test("SECURITY.md names tests that are there, for each promise", () => {
  const text = readFileSync(new URL("../../SECURITY.md", import.meta.url), "utf8");
  const promises = text.split("\n").filter((line) => line.startsWith("| ") && !/^\| (promise|---)/.test(line));
  assert.ok(promises.length >= 9, `${promises.length} promises`);
  for (const promise of promises) {
    const named = [...promise.matchAll(/`(test\/[\w/-]+\.test\.ts)`/g)].map(([, name]) => name as string);
    assert.ok(named.length, promise);
    for (const name of named) assert.ok(existsSync(new URL(`../../${name}`, import.meta.url)), name);
  }
});

test.run();
