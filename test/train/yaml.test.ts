// Recipes of strangers: as yaml reads them, keys that stand twice refused, in time by their length.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parse } from "yaml";
import type { AnymalError } from "../../lib/core/errors.js";
import { parseYaml } from "../../lib/io/yaml.js";
import { readRecipe } from "../../lib/train/recipe.js";

test("what yaml's own parse reads", () => {
  const texts = ["a: 1\nb: [1, {c: d}]\n", '{"a": {"b": null}}', "", "- 1\n- x", "a: &x {b: 1}\nc: *x", "a: 0x10\nb: ~\nc: 1e3\nd: '1'"];
  for (const text of texts) assert.equal(parseYaml(text), parse(text), text);
});

test("keys that stand twice, at any depth", () => {
  for (const text of ["a: 1\na: 2", "a: {b: 1, b: 2}", '"a": 1\na: 2', "- {x: 1, x: 1}"]) {
    assert.throws(() => parse(text), /unique/);
    assert.throws(() => parseYaml(text), /stands twice/);
  }
  parseYaml("1: a\n'1': b\n"); // a number and a text
});

test("bombs: E_RECIPE, in time", async () => {
  const folder = mkdtempSync(join(tmpdir(), "anymal-yaml-"));
  const path = join(folder, "recipe.yaml");
  const bombs: Record<string, string> = {
    "12 000 keys": Array.from({ length: 12_000 }, (_, i) => `k${i}: 1`).join("\n"),
    "a long key": `${"k".repeat(120_000)}: 1`,
    "a long key of align": `align: {${"k".repeat(120_000)}: 1}`,
    "2 MB": `steps: 1 #${"x".repeat(2e6)}`,
    brackets: "[".repeat(1e5),
    "brackets that close": `steps: ${"[".repeat(3e4)}${"]".repeat(3e4)}`,
    "blocks in blocks": Array.from({ length: 1000 }, (_, i) => `${" ".repeat(i)}a:`).join("\n"),
    aliases: `a: &a [1,1,1,1,1,1,1,1,1,1]\n${"abcdefgh"
      .split("")
      .map(
        (name, i) =>
          `x${name}: &b${i} [${Array(10)
            .fill(i ? `*b${i - 1}` : "*a")
            .join(",")}]`,
      )
      .join("\n")}`,
    "a list that holds itself": "steps: &x [*x]",
    "no YAML": "{{{",
  };
  try {
    for (const [name, text] of Object.entries(bombs)) {
      writeFileSync(path, text);
      const cpu = process.cpuUsage();
      const error = await readRecipe(path).then(
        () => undefined,
        (problem: AnymalError) => problem,
      );
      const { user, system } = process.cpuUsage(cpu);
      assert.is(error?.code, "E_RECIPE", `${name}: ${error?.stack}`);
      assert.ok((error?.message.length ?? 0) < 4000, name);
      assert.ok(user + system < 5e6, `${name} took ${(user + system) / 1e6} s`);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
