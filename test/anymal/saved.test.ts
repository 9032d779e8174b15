// Folders that an earlier version wrote load, answer and go on as they did then; several adapters in one folder; a folder is read by one reader.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { Trained } from "../../lib/anymal/trained.js";
import type { AnymalError } from "../../lib/core/errors.js";
import { saveSafetensors } from "../../lib/io/safetensors.js";
import { Case, caseFolder, copyFolder, here } from "../case.js";
import { sweep } from "../faults.js";
import { some } from "../some.js";
import { ASKED, begun, goOn, trainedBy } from "./saved-folders.js";

const test = suite("saved folders");
let root: string;
test.before(() => {
  root = mkdtempSync(join(tmpdir(), "anymal-saved-"));
});
test.after(() => rmSync(root, { recursive: true, force: true }));

/** A copy of its own, which a test may write into: models and folders refer to each other by relative paths. */
function copyOf(name: string): string {
  const folder = join(root, name);
  copyFolder(caseFolder("saved-v1"), folder);
  return folder;
}
const rejection = async (run: () => Promise<unknown>): Promise<AnymalError> => {
  try {
    await run();
  } catch (error) {
    return error as AnymalError;
  }
  throw new Error("expected a rejection");
};
const load = (folder: string) => AnyMAL.fromPretrained(folder, { device: here });
const manifestOf = (folder: string) => JSON.parse(readFileSync(join(folder, "anymal.json"), "utf8"));

test("a folder of version 1 answers as it did, and is written anew as version 2", async () => {
  const { answers } = new Case("saved-v1").info;
  const folder = copyOf("answers");
  using model = await load(join(folder, "model"));
  assert.equal(await model.generateAll(ASKED, { maxNewTokens: 6 }), answers);
  assert.equal([...model.adapters.keys()], ["default"]);
  await model.save(join(folder, "again"));
  const { version, adapters, adapter } = manifestOf(join(folder, "again"));
  assert.equal([version, adapter], [2, undefined]);
  assert.equal(adapters, [{ name: "default", kind: "lora", on: "llm", folder: "." }]);
  using again = await load(join(folder, "again"));
  assert.equal(await again.generateAll(ASKED, { maxNewTokens: 6 }), answers);
});

for (const name of ["align", "instruct"] as const)
  test(`a run of version 1 goes on to where it went then: ${name}`, async () => {
    const c = new Case("saved-v1");
    const folder = copyOf(name);
    using model = await begun(folder);
    const steps: number[] = [];
    for await (const { step } of goOn[name](model, join(folder, name))) steps.push(step);
    assert.equal(steps, [3, 4]);
    let compared = 0;
    for (const [key, tensor] of trainedBy(model)) {
      await c.close(`${name}.${key}`, tensor, { atol: 2e-5 });
      ++compared;
    }
    assert.is(compared, some(c.names(`${name}.`)).length);
    assert.is(manifestOf(join(folder, name, "checkpoint")).version, 2);
  });

test("several adapters: added, saved, read back, taken off by name", async () => {
  const folder = copyOf("several");
  using model = await begun(folder);
  const plain = await model.generateAll(ASKED, { maxNewTokens: 6 });
  const bend = (name: string | undefined, targetModules: string[], by: number) => {
    const { layers } = model.addAdapter({ r: 2, alpha: 8, targetModules }, { seed: 3, ...(name !== undefined && { name }) });
    for (const [, { loraB }] of layers) loraB.write(Float32Array.from({ length: loraB.size }, (_, i) => Math.sin(i + by) / 2));
  };
  bend(undefined, ["q_proj"], 0);
  bend("second", ["down_proj"], 1);
  for (const [name, pattern] of [
    ["SECOND", /a name of its own, got "second" again/],
    ["../x", /letters, digits/],
    ["", /letters, digits/],
  ] as const) {
    const error = await rejection(async () => model.addAdapter({ r: 2 }, { name }));
    assert.is(error.code, "E_ARGUMENT");
    assert.match(error.message, pattern);
  }
  const both = await model.generateAll(ASKED, { maxNewTokens: 6 });
  const saved = join(folder, "two");
  await model.save(saved);
  assert.ok(existsSync(join(saved, "adapter_config.json")) && existsSync(join(saved, "adapters/second/adapter_model.safetensors")));
  {
    using again = await load(saved);
    assert.equal([...again.adapters.keys()], ["default", "second"]);
    assert.equal(await again.generateAll(ASKED, { maxNewTokens: 6 }), both);
    again.adapters.get("default")!.unload();
    assert.equal([...again.adapters.keys()], ["second"]);
    assert.not.equal(await again.generateAll(ASKED, { maxNewTokens: 6 }), both);
    again.adapters.get("second")!.unload();
    assert.equal(await again.generateAll(ASKED, { maxNewTokens: 6 }), plain);
    await again.save(saved);
    assert.not.ok(existsSync(join(saved, "adapters/second")) || existsSync(join(saved, "adapter_config.json")));
  }
  using none = await load(saved);
  assert.equal(await none.generateAll(ASKED, { maxNewTokens: 6 }), plain);
});

test("a manifest's adapters are held to what may stand there", async () => {
  const folder = copyOf("hostile");
  const path = join(folder, "model");
  using model = await load(path);
  await model.save(path);
  const good = manifestOf(path);
  const [entry] = good.adapters;
  for (const [adapters, pattern] of [
    [undefined, /anymal\.json\.adapters to be a list/],
    [[{ ...entry, folder: "../clip" }], /folder to be "\."/],
    [[{ ...entry, name: "../x", folder: "adapters/../x" }], /name to be a name of letters/],
    [[entry, entry], /name to be its own/],
    [[entry, { ...entry, name: "Default", folder: "adapters/Default" }], /name to be its own/],
    [[{ ...entry, on: "audio" }], /on to be one of llm, image, video/],
    [[{ ...entry, kind: "unheard-of" }], /kind to be one of lora/],
    [[{ ...entry, kind: "ia3" }], /an adapter of kind ia3, as anymal\.json says, got lora/],
    [[], /expected no adapter, got adapter_config\.json/],
    [[entry, { ...entry, name: "more", folder: "adapters/more" }], /adapters\/more\/adapter_config\.json/],
  ] as const) {
    writeFileSync(join(path, "anymal.json"), JSON.stringify({ ...good, adapters }));
    const error = await rejection(() => load(path));
    assert.is(error.code, "E_CHECKPOINT", error.stack);
    assert.match(error.message, pattern);
  }
  writeFileSync(join(path, "anymal.json"), JSON.stringify({ ...good, version: 3 }));
  assert.match((await rejection(() => load(path))).message, /version 1 or 2.*version 3/);
});

test("a run goes on with the model that it began with, or says what differs; the model stays as it was", async () => {
  const folder = copyOf("resume");
  const bytes = async (model: AnyMAL) => {
    const all: Uint8Array[] = [];
    for (const [, tensor] of trainedBy(model)) all.push(new Uint8Array(await tensor.bytes()));
    return all;
  };
  const refused = async (what: string, change: () => Promise<unknown> | unknown, code: string, pattern: RegExp) => {
    using model = await begun(folder);
    const before = await bytes(model);
    await change();
    const error = await rejection(async () => (await Trained.open(join(folder, "align"))).restore(model.parts));
    assert.is(error.code, code, `${what}: ${error.stack}`);
    assert.match(error.message, pattern, what);
    assert.equal(await bytes(model), before, what);
    rmSync(folder, { recursive: true });
    copyOf("resume");
  };
  const file = join(folder, "align/checkpoint/projectors/image.safetensors");
  const state = async (edit: (all: Map<string, Float32Array | number[]>, shape: (name: string) => number[]) => void) => {
    const c = new (await import("../../lib/io/safetensors.js")).SafetensorsFile(file);
    const all = new Map<string, Float32Array | number[]>([...c.entries.keys()].map((name) => [name, c.values(name) as Float32Array]));
    const shapes = new Map([...c.entries].map(([name, { shape }]) => [name, [...shape]]));
    c.close();
    edit(all, (name) => shapes.get(name) ?? [2]);
    const written = [...all].map(([name, data]) => {
      const values = Float32Array.from(data);
      return [name, { dtype: "F32", shape: shapes.get(name) ?? [values.length], data: values }] as const;
    });
    await saveSafetensors(file, written);
  };
  await refused("a weight less", () => state((all) => all.delete("linear.bias")), "E_STATE", /without linear\.bias/);
  await refused("a weight more", () => state((all) => all.set("linear.more", [1, 2])), "E_STATE", /linear\.more left over/);
  await refused("a file less", () => rmSync(file), "E_CHECKPOINT", /projectors\/ with image\.safetensors/);
  const manifest = (edit: (json: { llm: { fingerprint: string }; modalities: { image: Entry } }) => void) => () => {
    const path = join(folder, "align/checkpoint/anymal.json");
    const json = JSON.parse(readFileSync(path, "utf8"));
    edit(json);
    writeFileSync(path, JSON.stringify(json));
  };
  type Entry = { encoder: { fingerprint: string }; layer: number };
  const other = (print: string) => print.replace(/(sha256:)\w{4}/, "$10000");
  const changes: [string, () => void, RegExp][] = [
    ["another language model", manifest(({ llm }) => (llm.fingerprint = other(llm.fingerprint))), /the language model of the run/],
    [
      "another encoder",
      manifest(({ modalities: { image } }) => (image.encoder.fingerprint = other(image.encoder.fingerprint))),
      /the encoder of image of the run/,
    ],
    [
      "another layer of it",
      manifest(({ modalities: { image } }) => (image.layer = 0)),
      /a model with image .*"layer":0.*got .*"layer":-?[1-9]/,
    ],
  ];
  for (const [what, change, pattern] of changes) await refused(what, change, "E_CHECKPOINT", pattern);
  using more = await begun(folder);
  more.addAdapter({ r: 2 });
  const error = await rejection(async () => (await Trained.open(join(folder, "align"))).restore(more.parts));
  assert.match(error.message, /a model with adapters \[\], got \[\{"name":"default"/);
});

test("whatever tensor cannot be made of a folder with two adapters, nothing stays", async () => {
  const folder = copyOf("faults");
  {
    using model = await begun(folder);
    model.addAdapter({ r: 2, targetModules: ["q_proj"], modulesToSave: ["norm"] });
    model.addAdapter({ r: 2, targetModules: ["v_proj"] }, { name: "second" });
    await model.save(join(folder, "two"));
  }
  await sweep("two adapters", async () => (await load(join(folder, "two"))).dispose());
});

test.run();
