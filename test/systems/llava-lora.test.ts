// What LLaVA's own LoRA runs write: PEFT's adapter beside non_lora_trainables.bin, converted and opened as it is.
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { convertCheckpoint } from "../../lib/io/convert.js";
import { image } from "../../lib/media/image.js";
import { Case, here } from "../case.js";
import { fresh, remove, type Tensors, tensorsOf, torchFile } from "../io/torch-case.js";
import { inAllLayouts } from "./llava-cases.js";

const test = suite("LLaVA's LoRA runs");
const c = new Case("llava");
let folders: Map<string, string>;
test.before(async () => {
  folders = await inAllLayouts(c);
});
test.after(() => {
  rmSync(dirname(folders.get("llava-hf")!), { recursive: true });
  remove();
});

const BRIDGE = /^model\.mm_projector\./;
const elsewhere = () => ({ llm: folders.get("llava-original")!, encoders: { image: join(folders.get("llava-original")!, "tower") } });
const load = (folder: string, more = {}) => AnyMAL.fromPretrained(folder, { device: here, ...more });
const picture = () => image(join(c.folder, (c.info.images as string[])[0]!));
const answer = (model: AnyMAL) => model.generateAll([[picture(), "what?"], ["and?"]], { maxNewTokens: 6, eosTokenId: [] });

/** A run's folder, its adapter as a pickle or in safetensors, and what the model of it answers. */
async function run(pickled: boolean): Promise<{ folder: string; answers: string[]; bare: string[] }> {
  const original = folders.get("llava-original")!;
  using model = await load(original);
  const bare = await answer(model);
  const adapter = model.addAdapter({ r: 2, alpha: 16, targetModules: ["q_proj", "v_proj", "up_proj"] }, { seed: 4 });
  for (const [name, tensor] of adapter.namedParameters())
    if (name.includes("lora_B")) tensor.write(Float32Array.from({ length: tensor.size }, (_, i) => Math.sin(i + name.length) / 2));
  const bridge = new Map(Array.from(tensorsOf(original)).filter(([name]) => BRIDGE.test(name)));
  const answers = await answer(model);
  const folder = fresh();
  mkdirSync(folder);
  await adapter.save(folder);
  if (pickled) {
    torchFile(join(folder, "adapter_model.bin"), tensorsOf(join(folder, "adapter_model.safetensors")));
    rmSync(join(folder, "adapter_model.safetensors"));
  }
  const theirs: Tensors = new Map(Array.from(bridge, ([name, tensor]) => [`base_model.model.${name}`, tensor]));
  torchFile(join(folder, "non_lora_trainables.bin"), theirs);
  copyFileSync(join(original, "config.json"), join(folder, "config.json"));
  return { folder, answers, bare };
}

for (const pickled of [true, false])
  test(`the adapter ${pickled ? "as a pickle" : "in safetensors"}: refused as it is, converted, and it answers as the run's model did`, async () => {
    const { folder, answers, bare } = await run(pickled);
    assert.not.equal(answers, bare);
    const refused = await load(folder, elsewhere()).then(
      (model) => model.dispose(),
      (error) => error,
    );
    assert.match(refused?.message, /non_lora_trainables\.bin, a pickle; anymal convert .* writes a folder that is read/);
    for (const from of [folder, join(folder, "non_lora_trainables.bin")]) {
      const to = fresh();
      const done = await convertCheckpoint(from, to);
      assert.is(done.table, "llava-lora");
      assert.ok(
        ["mm_projector.safetensors", "adapter_model.safetensors", "adapter_config.json", "config.json"].every((name) =>
          existsSync(join(to, name)),
        ),
      );
      using model = await load(to, elsewhere());
      assert.equal([model.layout, model.system, [...model.adapters.keys()]], ["llava-original-projector", "llava-1.5", ["default"]]);
      assert.equal(await answer(model), answers);
      model.adapter!.enabled = false;
      assert.equal(await answer(model), bare);
      model.adapter!.enabled = true;
      await model.save(join(to, "again"));
      using again = await load(join(to, "again"));
      assert.equal(await answer(again), answers);
    }
  });

test("without where its language model is, the folder names it; weights of no place are told by name", async () => {
  const { folder } = await run(true);
  const to = fresh();
  await convertCheckpoint(folder, to);
  const { encoders } = elsewhere();
  const json = JSON.parse(readFileSync(join(to, "config.json"), "utf8"));
  writeFileSync(join(to, "config.json"), JSON.stringify({ ...json, _name_or_path: undefined }));
  const message = async (more: object) =>
    load(to, more).then(
      (model) => model.dispose() ?? "",
      (error) => error.message as string,
    );
  assert.match(await message({ encoders }), /its language model.*\{ llm: FOLDER \}/);
  const other = fresh();
  mkdirSync(other);
  for (const name of ["adapter_model.bin", "adapter_config.json", "config.json"]) copyFileSync(join(folder, name), join(other, name));
  const stranger = { dtype: "F32", shape: [2], bytes: new Uint8Array(8) };
  const mine = Array.from(tensorsOf(folders.get("llava-original")!)).filter(([name]) => BRIDGE.test(name));
  torchFile(join(other, "non_lora_trainables.bin"), new Map([...mine.map(([name, tensor]) => [`base_model.model.${name}`, tensor] as const), ["base_model.model.model.vision_tower.x", stranger]])); // biome-ignore format: one line
  const odd = fresh();
  await convertCheckpoint(other, odd);
  const error = await load(odd, elsewhere()).then(
    (model) => model.dispose(),
    (e) => e,
  );
  assert.match(error?.message, /base_model\.model\.model\.vision_tower\.x/);
});

test.run();
