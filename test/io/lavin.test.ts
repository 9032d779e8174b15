// LaVIN's checkpoints as an adapter for each tower and a bridge: the cases' weights under the published names come out as the cases have them.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadAdapter } from "../../lib/adapters/load-adapter.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { convertCheckpoint } from "../../lib/io/convert.js";
import { makeBridge } from "../../lib/models/bridges/index.js";
import { ClipVisionModel } from "../../lib/models/clip-vision.js";
import { Weights } from "../../lib/nn/weights.js";
import { load } from "../adapters/cases.js";
import { Case, caseNames, here } from "../case.js";
import { folderOf, fresh, refusal, remove, sameTensors, type Tensors, tensorsOf, torchFile } from "./torch-case.js";

const test = suite("LaVIN's names");
test.after(remove);
const [llm, vit] = [new Case(caseNames(/^lavin-llm/)[0]!), new Case(caseNames(/^lavin-vit/)[0]!)];
const file = (c: Case) => tensorsOf(join(c.folder, "adapter.safetensors"));

function published(): Tensors {
  const tensors: Tensors = new Map();
  for (const [name, one] of file(llm)) tensors.set(name.replace(/^model\./, ""), one);
  for (const [name, one] of file(vit)) tensors.set(name.replace(/^encoder\.layers/, "backbone.visual.transformer.resblocks"), one);
  return tensors;
}
function written(tensors: Tensors): string {
  const path = join(folderOf(), "checkpoint-19.pth");
  torchFile(path, tensors);
  return path;
}

test("an adapter for each tower, and the bridge", async () => {
  const to = fresh();
  const done = await convertCheckpoint(written(published()), to);
  assert.equal([done.table, done.left], ["lavin", []]);
  assert.equal(done.files.toSorted(), ["adapter.safetensors", "image/adapter.safetensors", "projector.safetensors"]);
  const own = [...file(llm)];
  sameTensors(join(to, "adapter.safetensors"), new Map(own.filter(([name]) => !name.startsWith("adapter_proj"))));
  sameTensors(join(to, "image", "adapter.safetensors"), file(vit));
  using model = load(llm.base);
  using tower = ClipVisionModel.fromPretrained(join(vit.folder, "vision"), { device: here });
  const [one, other] = [await loadAdapter(model, to), await loadAdapter(tower, join(to, "image"))];
  for (const [{ config }, c] of [
    [one, llm],
    [other, vit],
  ] as const) {
    // biome-ignore format: one line
    const { hidden, groups } = c.json("adapter_config.json");
    assert.equal([config, { ...config, hidden, groups, temperature: 10, routing: "class" }][1], config);
  }
  const setup = JSON.parse(readFileSync(join(to, "projector.json"), "utf8"));
  using bridgeFile = Checkpoint.openIn(to, "projector.safetensors");
  const at = Weights.from(bridgeFile, { device: here });
  using bridge = makeBridge(at, setup, model.width);
  at.finish();
  const values = new Map(own);
  for (const [name, tensor] of bridge.namedParameters()) {
    const stored = values.get(name.replace(/^linear_1/, "adapter_proj.conv_A").replace(/^linear_2/, "adapter_proj.conv_B"))!;
    assert.ok(Buffer.from(stored.bytes).equals(Buffer.from(await tensor.bytes())), name);
  }
});

test("towers without a router are refused by name", async () => {
  const tensors = published();
  for (const name of [...tensors.keys()]) if (name.startsWith("backbone") && /conv_D|expert/.test(name)) tensors.delete(name);
  assert.match((await refusal(written(tensors))).message, /two experts and a router in each block.*conv_D/);
});

test.run();
