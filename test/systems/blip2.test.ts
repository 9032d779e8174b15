// BLIP-2 and InstructBLIP as they are published, against transformers' own numbers: from pixels on, and asked in words; trained, saved, and refused where they are not.
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { exportBlip2 } from "../../lib/anymal/export-blip2.js";
import { conversationOf, encodePrompt } from "../../lib/anymal/prompt.js";
import { askingOf } from "../../lib/anymal/question.js";
import { backward, noGrad } from "../../lib/core/autograd.js";
import type { Tensor } from "../../lib/core/tensor.js";
import { generate } from "../../lib/generate/generate.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { AutoEncoder } from "../../lib/models/auto-encoder.js";
import { openBridge } from "../../lib/models/bridges/kind.js";
import { layoutName } from "../../lib/systems/layouts/index.js";
import { instruct } from "../../lib/train/instruct.js";
import { Case, caseNames, here, near } from "../case.js";
import { sweep } from "../faults.js";
import { all, rejection } from "../train/stages.js";
import { blip2Folder, pictureOf, unpadded } from "./blip2-cases.js";
import { batchOfIds } from "./llava-cases.js";

const test = suite("BLIP-2");
const folders: string[] = [];
const folderOf = (c: Case) => {
  const folder = blip2Folder(c);
  folders.push(folder);
  return folder;
};
test.after(() => {
  for (const one of folders) rmSync(one, { recursive: true });
});
const load = (from: string, more = {}) => AnyMAL.fromPretrained(from, { device: here, ...more });

for (const name of caseNames(/blip2-llama$/)) {
  const c = new Case(name);
  const folder = folderOf(c);
  const [ids, mask, labels] = [c.rows("in.input_ids"), c.rows("in.attention_mask"), c.rows("in.labels")];
  const [, Q] = c.shape("out.qformer") as [number, number, number];

  test(`${name}: from pixels on the tower, the Q-Former, logits, loss and gradients are transformers'`, async () => {
    using model = await load(folder);
    assert.equal([model.system, model.layout, model.projector("image").rows([4, 4])], ["blip-2", "blip2-hf", Q]);
    const encoder = model.encoder("image");
    assert.equal(encoder.encoder.leftover.length > 0, false, "the tower's piece holds the tower alone");
    const [, ...picture] = c.shape("in.pixel_values");
    using features = noGrad(() =>
      encoder.forward({
        data: c.values("in.pixel_values") as Float32Array,
        shape: [ids.length, ...picture] as [number, number, number, number],
      }),
    );
    await c.close("out.vision", features);
    const bridge = model.projector("image");
    openBridge(bridge, true);
    const rows = bridge.forward(features);
    await c.close("out.image_features", rows);
    rows.dispose();
    const out = model.network.forward(batchOfIds(ids, mask, c.info.image_token_id, Q, features, labels), { logits: "all" });
    await c.close("out.logits", out.logits!, { mask });
    await c.close("out.loss", out.loss!);
    backward(out.loss!);
    const gradients = new Map(bridge.namedParameters());
    for (const key of c.names("grad.")) await c.close(key, gradients.get(key.slice("grad.".length))!.grad!);
    openBridge(bridge, false);
    out.logits!.dispose();
  });

  test(`${name}: greedy ids are transformers'`, async () => {
    using model = await load(folder);
    const [, ...picture] = c.shape("in.pixel_values");
    using features = noGrad(() =>
      model.encoder("image").forward({
        data: c.values("in.pixel_values") as Float32Array,
        shape: [ids.length, ...picture] as [number, number, number, number],
      }),
    );
    for (const { row, prompt, new_ids } of c.info.generate.single) {
      const { inputsEmbeds } = noGrad(() => {
        const one = features.slice(row, 1);
        return model.network.embed(batchOfIds([prompt], [prompt.map(() => 1)], c.info.image_token_id, Q, one));
      });
      assert.equal(await generate(model.llm, { inputsEmbeds }, { maxNewTokens: new_ids.length, eosTokenId: [] }), [new_ids]);
      inputsEmbeds.dispose();
    }
  });
}

for (const name of caseNames(/^(blip2|instructblip)-words/)) {
  const c = new Case(name);
  const told = name.startsWith("instruct");
  const folder = folderOf(c);
  const texts = c.info.asked.map(({ text }: { text: string }) => text) as string[];

  test(`${name}: asked in words, pictures, ids and greedy answers are transformers' with its processor`, async () => {
    using model = await load(folder);
    assert.equal([model.system, model.layout], told ? ["instructblip", "instructblip-hf"] : ["blip-2", "blip2-hf"]);
    const pictures = texts.map((_, i) => pictureOf(c, i));
    const unencoded = await model.encoder("image").process(pictures);
    near(
      unencoded.flatMap(({ input }) => [...input.data]),
      c.values("in.pixel_values"),
      1e-6,
      "pixels",
    );
    const ask = askingOf(model);
    for (const { text, picture, input_ids, qformer_input_ids, new_ids } of c.info.asked) {
      const content = [text, pictures[picture]!]; // wherever it is put, it stands first
      const { parts, questions } = encodePrompt(model.tokenizer, conversationOf(content, model.prompt), {
        ...model.prompt,
        ask,
        generation: true,
        rows: 1000,
      });
      assert.equal(parts.length, 2);
      assert.equal([...(parts[1] as { ids: number[] }).ids], input_ids.slice(c.info.queries));
      assert.equal(questions?.[0], qformer_input_ids);
      const wanted = model.tokenizer.decode(new_ids, { skipSpecialTokens: true });
      assert.equal(await model.generateAll([content], { maxNewTokens: 8, eosTokenId: [] }), [wanted]);
    }
    // A batch has what each prompt has by itself.
    const together = await model.generateAll(texts.map((text, i) => [pictures[i]!, text]), { maxNewTokens: 8, eosTokenId: [] }); // biome-ignore format: one line
    assert.equal(together, c.info.asked.map(({ new_ids }: { new_ids: number[] }) => model.tokenizer.decode(new_ids, { skipSpecialTokens: true }))); // biome-ignore format: one line
  });

  test(`${name}: loss and gradients of a batch with prompts of unlike length are transformers'`, async () => {
    using model = await load(folder);
    const bridge = model.projector("image");
    openBridge(bridge, true);
    using features = noGrad(() =>
      model.encoder("image").forward({
        data: c.values("in.pixel_values") as Float32Array,
        shape: c.shape("in.pixel_values") as [number, number, number, number],
      }),
    );
    const batch = batchOfIds(
      c.rows("in.input_ids"),
      c.rows("in.attention_mask"),
      model.tokenizer.specialTokens.get("<image>")!,
      c.info.queries,
      features,
      c.rows("in.labels"),
    );
    const image = told ? unpadded(c.rows("in.qformer_input_ids"), c.rows("in.qformer_attention_mask")) : undefined;
    const { loss } = model.network.forward({ ...batch, ...(image && { questions: { image } }) });
    await c.close("out.loss", loss!);
    backward(loss!);
    const gradients = new Map(bridge.namedParameters());
    for (const key of c.info.gradients) await c.close(`grad.${key}`, gradients.get(key)!.grad!);
    openBridge(bridge, false);
  });
}

const words = new Case("blip2-words");
const asking = new Case("instructblip-words");
const onOpt = new Case("blip2-words-opt");

test("every key of the files is read, none is left over; the layout is told, by openers and inspect alike", async () => {
  for (const c of [words, asking]) {
    const folder = folderOf(c);
    using model = await load(folder);
    using file = Checkpoint.open(folder);
    const own = new Set([
      ...Array.from(model.llm.namedParameters("language_model"), ([name]) => name),
      ...Array.from(model.projector("image").namedParameters(), ([name]) => name),
      ...Array.from(model.encoder("image").encoder.namedParameters(), ([name]) => name),
    ]);
    assert.equal(
      [...file.names()].filter((name) => !own.has(name)),
      [],
    );
    assert.is(layoutName(file, c.json()), model.layout);
    const { inspectFolder } = await import("../../lib/cli/inspect-folder.js");
    const { kind, facts } = await inspectFolder(folder);
    const told = Object.fromEntries(facts);
    assert.equal([kind, told.system, told.layout], ["multimodal model", model.system, model.layout]);
    assert.match(String(told["rows of image"]), /^3, .*<image>/);
  }
});

test("its tower alone opens too, alone or within", async () => {
  const folder = folderOf(words);
  using tower = await AutoEncoder.fromPretrained(folder, { device: here });
  assert.equal([tower.kind, tower.classTokens, tower.width], ["blip2-vision", 1, 20]);
  assert.ok(tower.leftover.some((name) => name.startsWith("qformer.")));
});

async function everything(model: AnyMAL): Promise<Map<string, string>> {
  const named: [string, Tensor][] = [...model.llm.namedParameters("llm"), ...model.projector("image").namedParameters("projectors.image")];
  named.push(...model.encoder("image").encoder.namedParameters("encoders.image"));
  return new Map(await Promise.all(named.map(async ([name, p]) => [name, Buffer.from(await p.bytes()).toString("base64")] as const)));
}

for (const c of [words, asking])
  test(`${c.name}: trained, the bridge moves and all else keeps its bits; saved and read back it answers the same`, async () => {
    const folder = folderOf(c);
    using model = await load(folder);
    const before = await everything(model);
    const rows = [0, 1, 2].map((i) => ({
      where: `row ${i}`,
      turns: [
        { role: "user", content: [pictureOf(c, i), "what is in the picture?"] },
        { role: "assistant", content: ["abc"[i]!] },
      ],
    })) as Parameters<typeof instruct>[1]["data"];
    const output = join(folder, "run");
    const recipe = {
      data: rows,
      steps: 2,
      batch: 3,
      warmupSteps: 0,
      learningRate: 1e-2,
      schedule: "constant",
      output,
      lora: false,
    } as const;
    await all(instruct(model, recipe));
    const after = await everything(model);
    const moved = [...after.keys()].filter((name) => before.get(name) !== after.get(name));
    assert.ok(moved.length > 20 && moved.every((name) => name.startsWith("projectors.image.")), moved.join());
    const ask = (one: AnyMAL) => one.generateAll([[pictureOf(c, 1), "what color is the square?"]], { maxNewTokens: 8, eosTokenId: [] });
    using again = await load(output);
    assert.equal(await everything(again), after);
    assert.equal([again.system, again.prompt.written], [model.system, { mark: "<image>", place: "first" }]);
    assert.equal(await ask(again), await ask(model));
    if (c === asking) {
      const other = join(folder, "copy");
      await again.save(other); // from the checkpoint's own tokenizer
      await again.save(other); // in its place
      using third = await load(other);
      assert.equal(await ask(third), await ask(model));
      renameSync(join(other, "questions"), join(other, "gone"));
      const refused = await rejection(() => load(other));
      assert.is(refused.code, "E_CHECKPOINT");
      assert.match(refused.message, /questions\/image.*reads the question/);
    }
  });

for (const c of [words, asking, onOpt])
  test(`${c.name}: exported, it is the file and the configuration that it came from, and opens as such`, async () => {
    const folder = folderOf(c);
    using model = await load(folder);
    const to = join(folder, "exported");
    await exportBlip2(model, to);
    using own = Checkpoint.open(folder);
    using written = Checkpoint.open(to);
    assert.equal([...written.names()].sort(), [...own.names()].sort());
    for (const name of own.names()) assert.is(Buffer.compare(Buffer.from(written.bytes(name)), Buffer.from(own.bytes(name))), 0, name);
    const json = JSON.parse(readFileSync(join(to, "config.json"), "utf8"));
    for (const [key, value] of Object.entries(c.json()))
      if (["architectures", "model_type", "num_query_tokens", "image_token_index"].includes(key)) assert.equal(json[key], value, key);
    for (const part of ["qformer_config", "vision_config", "text_config"])
      for (const [key, value] of Object.entries(c.json()[part] as object))
        if (!/initializer|attention_probs|use_qformer_text/.test(key) && key in json[part])
          assert.equal(json[part][key], value, `${part}.${key}`);
    using again = await load(to);
    const ask = (one: AnyMAL) => one.generateAll([[pictureOf(c, 1), "how many squares"]], { maxNewTokens: 8, eosTokenId: [] });
    assert.equal([await ask(again), again.layout], [await ask(model), model.layout]);
  });

test("the question belongs to the rows: with another one, a memory of the same picture is not gone on with", async () => {
  using model = await load(folderOf(asking));
  const { ConversationMemory } = await import("../../lib/anymal/conversation-memory.js");
  using memory = new ConversationMemory();
  const picture = pictureOf(asking, 0);
  const options = { maxNewTokens: 8, eosTokenId: [] };
  const collect = async (text: string, more = {}) => {
    let all = "";
    for await (const piece of model.generate([picture, text], { ...options, ...more })) all += piece;
    return all;
  };
  const [one, other] = [await collect("what color is the square?"), await collect("how many squares")];
  assert.not.equal(one, other);
  for (const [text, want] of [["what color is the square?", one], ["how many squares", other], ["what color is the square?", one]] as const) assert.is(await collect(text, { memory }), want); // biome-ignore format: one line
});

test("whatever step of reading one fails, nothing stays", () => {
  const folder = folderOf(asking);
  return sweep("InstructBLIP", async () => (await load(folder)).dispose());
});

test("what is not BLIP-2, or contradicts itself, is refused by name with the remedy", async () => {
  const folder = folderOf(asking);
  const refused = async (name: string, change: object, code: string, pattern: RegExp) => {
    const path = join(folder, name);
    const before = readFileSync(path);
    writeFileSync(path, JSON.stringify({ ...JSON.parse(before.toString()), ...change }));
    const error = await rejection(() => load(folder));
    writeFileSync(path, before);
    assert.is(error.code, code, `${JSON.stringify(change)}: ${error.stack}`);
    assert.match(error.message, pattern);
    assert.match(error.message, /; \S/, "no remedy");
  };
  const { qformer_config: q, text_config: text, vision_config: vision } = asking.json() as Record<string, object>;
  const t5 = { ...text, model_type: "t5", is_encoder_decoder: true };
  await refused(
    "config.json",
    { text_config: t5 },
    "E_CONFIG",
    /"text_config.model_type" to be a causal language model's, got "t5"; forms with FlanT5 are not read, since/,
  );
  await refused("config.json", { use_decoder_only_language_model: false }, "E_CONFIG", /FlanT5/);
  await refused("config.json", { num_query_tokens: 4 }, "E_CONFIG", /"num_query_tokens" to be 3, as in processor_config.json, got 4/);
  await refused("config.json", { image_token_index: 3 }, "E_CONFIG", /"image_token_index" to be 34/);
  await refused(
    "config.json",
    { qformer_config: { ...q, hidden_dropout_prob: 1 } },
    "E_CONFIG",
    /"hidden_dropout_prob" to be from 0 to below 1/,
  );
  await refused("config.json", { qformer_config: { ...q, num_attention_heads: 3 } }, "E_CONFIG", /divisor of the width 16/);
  await refused("config.json", { qformer_config: { ...q, hidden_act: "tanhexp" } }, "E_CONFIG", /"hidden_act" to be one of/);
  await refused(
    "config.json",
    { qformer_config: { ...q, position_embedding_type: "relative_key" } },
    "E_CONFIG",
    /"position_embedding_type" to be "absolute"/,
  );
  await refused("config.json", { qformer_config: { ...q, cross_attention_frequency: 1 } }, "E_SAFETENSORS", /layer.1.crossattention/);
  await refused("config.json", { qformer_config: { ...q, cross_attention_frequency: 3 } }, "E_STATE", /crossattention.* left over/);
  await refused("config.json", { qformer_config: { ...q, vocab_size: 17 } }, "E_STATE", /word_embeddings.weight" of shape \[17,16\]/);
  await refused("config.json", { vision_config: { ...vision, qkv_bias: false } }, "E_STATE", /qkv.bias/);
  await refused("config.json", { vision_config: { ...vision, image_size: 42 } }, "E_STATE", /position_embedding/);
  await refused("config.json", { model_type: "blip-2" }, "E_SAFETENSORS", /qformer\.layernorm\.weight/);
  renameSync(join(folder, "qformer_tokenizer"), join(folder, "gone"));
  const missing = await rejection(() => load(folder));
  renameSync(join(folder, "gone"), join(folder, "qformer_tokenizer"));
  assert.is(missing.code, "E_CHECKPOINT");
  assert.match(missing.message, /qformer_tokenizer\/, the tokenizer by which its Q-Former reads the question, got none; fetch/);
  const path = join(folder, "model.safetensors");
  const before = readFileSync(path);
  for (const [from, to] of [
    ["query_tokens", "query_takens"],
    ["language_projection", "language_prajection"],
    ["language_model.", "langwage_model."],
  ] as const) {
    // biome-ignore format: one line
    writeFileSync(path, Buffer.from(before.toString("latin1").replaceAll(from, to), "latin1"));
    const error = await rejection(() => load(folder));
    assert.is(error.code, "E_STATE", `${from}: ${error.stack}`);
    assert.match(error.message, /the tensors of InstructBLIP, the layout instructblip-hf/);
  }
  writeFileSync(path, before);
  (await load(folder)).dispose();
});

test.run();
