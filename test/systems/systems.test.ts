// Systems as values: each file of the folder is one, none of the literature is missing or twice, and all that a value says is something that exists.
import { readdirSync, readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ADAPTER_KINDS } from "../../lib/adapters/load-adapter.js";
import type { Schema } from "../../lib/core/checks.js";
import { KINDS } from "../../lib/media/kinds/index.js";
import { BRIDGE_NAMES, completeBridge, kindProblem, optionsSchema, selects, setupMisfit } from "../../lib/models/bridges/index.js";
import { isSystem, SYSTEM_NAMES, SYSTEMS, systemOf, systemProblem } from "../../lib/systems/index.js";
import type { Stage, System } from "../../lib/systems/system.js";

/** AnyMAL and the relatives that this library follows. MME, a benchmark, is no system, and MIMIC-IT, what Otter was trained on, is data. */
const LITERATURE = [
  "anymal",
  "blip-2",
  "flamingo",
  "instructblip",
  "lavin",
  "llama-adapter",
  "llama-adapter-v2",
  "llava",
  "llava-1.5",
  "minigpt4",
  "mmicl",
  "otter",
  "pink",
  "video-chatgpt",
];
const all = Object.values<System>(SYSTEMS);

test("each system of the literature is here, none twice", () => {
  assert.equal([...SYSTEM_NAMES].sort(), LITERATURE);
  assert.equal([...SYSTEM_NAMES].sort(), SYSTEM_NAMES.filter((name) => SYSTEMS[name].name === name).sort());
});

test("each file of the folder is a system of the table", () => {
  const folder = new URL("../../lib/systems/", import.meta.url);
  const files = readdirSync(folder).filter((file) => file.endsWith(".ts") && !["index.ts", "published.ts", "system.ts"].includes(file));
  assert.equal(files.map((file) => file.slice(0, -3)).sort(), [...SYSTEM_NAMES].sort());
});

test("bridges are of kinds that there are, and complete on the encoders they were published with", () => {
  for (const { name, modalities, otherwise } of all) {
    assert.ok(
      Object.keys(modalities).every((modality) => Object.hasOwn(KINDS, modality)),
      name,
    );
    for (const { projector, select } of [...Object.values(modalities), ...(otherwise ? [otherwise] : [])]) {
      assert.is(kindProblem(projector), undefined, name);
      const { type: _, ...options } = projector;
      for (const [key, value] of Object.entries(options)) assert.ok(optionsSchema(projector)[key]?.fits(value), `${name}: ${key}`);
      if (select) assert.ok(selects(projector).includes(select), name);
      assert.is(setupMisfit(completeBridge(projector, 1024, 0)), undefined);
    }
  }
});

test("adapters are of kinds that there are, which take what is said", () => {
  const kinds = new Map(Object.values(ADAPTER_KINDS).map((kind) => [kind.name as string, kind as { schema: Schema }]));
  for (const { name, adapters } of all)
    for (const { kind, on, config, widths = {}, section } of adapters) {
      const { schema } = kinds.get(kind) ?? {};
      assert.ok(schema && section && (on === "llm" || Object.hasOwn(KINDS, on)), `${name}: ${kind}`);
      for (const [key, value] of Object.entries(config)) assert.ok(schema[key]?.fits(value), `${name}: ${key}`);
      for (const key of Object.keys(widths)) assert.ok(schema[key]?.fits(1024), `${name}: ${key}`);
    }
});

test("stages say what opens, by which numbers, and where they stand", () => {
  for (const { name, stages, paper, addedTokens } of all) {
    assert.match(paper, /^arXiv \d{4}\.\d{5}$/);
    for (const [key, stage] of Object.entries<Stage>(stages)) {
      const { opens, numbers, section, lora, rates = {} } = stage;
      assert.ok(key === stage.how || key.startsWith(`${stage.how}-`), `${name}: ${key}`);
      assert.ok(section && opens.length && numbers.batch >= 1 && numbers.steps >= 1 && numbers.learningRate > 0, `${name}: ${key}`);
      assert.ok(opens.every((pattern) => /^(projectors|llm|adapters|tokens|encoders)\./.test(pattern)));
      assert.ok((numbers.warmupSteps ?? 0) < numbers.steps);
      // What is put on must train, and what has a rate of its own too.
      if (lora) assert.ok(opens.includes("adapters.*"), `${name}: ${key}`);
      // Their rows are one. Before there are instructions MMICL trains its bridge alone.
      if (addedTokens.length && !(name === "mmicl" && key === "align"))
        assert.ok(opens.includes("adapters.*") || opens.includes("tokens.*"), `${name}: ${key}`);
      for (const pattern of Object.keys(rates)) assert.ok(opens.includes(pattern), `${name}: ${pattern}`);
    }
  }
});

test("layouts are those that are read", () => {
  const folder = new URL("../../lib/systems/layouts/", import.meta.url);
  const read = readdirSync(folder)
    .map((file) => readFileSync(new URL(file, folder), "utf8"))
    .join("\n");
  for (const { name, layouts } of all) for (const layout of layouts) assert.ok(read.includes(`name: "${layout}"`), `${name}: ${layout}`);
  assert.equal(SYSTEMS["llava-1.5"].layouts.length, 5);
});

test("docs/systems.md has a row for each, and for each kind of bridge", () => {
  const page = readFileSync(new URL("../../docs/systems.md", import.meta.url), "utf8");
  const rows = Array.from(page.matchAll(/^\| `([\w.-]+)` \|/gm), ([, name]) => name as string);
  assert.equal(rows.sort(), [...SYSTEM_NAMES, ...BRIDGE_NAMES].sort());
});

test("a name that nobody knows is told with the nearest one", () => {
  assert.is(systemOf("llava-1.5").name, "llava-1.5");
  assert.throws(() => systemOf("llava1.5"), /one of anymal, .*got "llava1.5"; did you mean "llava-1.5"\?/);
  assert.throws(() => systemOf("minigpt-4"), /did you mean "minigpt4"/);
  assert.match(systemProblem("constructor")!.wanted, /anymal/);
  assert.match(systemProblem(3)!.next, /anymal systems/);
  assert.not.ok(isSystem("toString"));
});

test.run();
