// IDEFICS-1 as it is published: a folder read by its layout, against transformers' own numbers; asked in words, trained, saved, and refused where it is not.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { weightsOf } from "../../lib/anymal/parts.js";
import { noGrad } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import { Tensor } from "../../lib/core/tensor.js";
import { generate } from "../../lib/generate/generate.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { image } from "../../lib/media/image.js";
import { AutoModelForCausalLM } from "../../lib/models/auto-causal-lm.js";
import { layoutName } from "../../lib/systems/layouts/index.js";
import { instruct } from "../../lib/train/instruct.js";
import { Case, caseNames, here } from "../case.js";
import { sweep } from "../faults.js";
import { all, rejection } from "../train/stages.js";
import { EDGE, ideficsFolder, jsonOf, latest, rowsOf, seenIn } from "./idefics-cases.js";

const test = suite("IDEFICS");
const cases = caseNames(/^idefics/).map((name) => new Case(name));
const folders = new Map(cases.map((c) => [c, ideficsFolder(c)]));
const [first] = cases as [Case];
const folder = folders.get(first) as string;
test.after(() => {
  for (const one of folders.values()) rmSync(one, { recursive: true });
});
const load = (from = folder, more = {}) => AnyMAL.fromPretrained(from, { device: here, ...more });
const picture = (at: number) =>
  image({ data: Uint8Array.from({ length: 28 * 28 * 3 }, (_, i) => (i * (at + 3) * 37 + at * 91) % 256), width: 28, height: 28 });

for (const c of cases) {
  const [ids, mask, labels] = [c.rows("in.input_ids"), c.rows("in.attention_mask"), c.rows("in.labels")];
  const own = folders.get(c) as string;

  test(`${c.name}: from pixels on logits and loss are transformers', with pictures and without`, async () => {
    using model = await load(own);
    assert.equal([model.system, model.layout, [...model.adapters.keys()]], ["flamingo", "idefics", ["gated-cross-attention", "tokens"]]);
    const [rows, out, bare] = noGrad(() =>
      scope(() => {
        const { rows, R } = rowsOf(model, c);
        const out = model.llm.forward({ inputIds: ids, attentionMask: mask, labels, beside: { rows, seen: seenIn(c, R) } });
        return [rows, out, model.llm.forward({ inputIds: ids, attentionMask: mask })];
      }),
    );
    await c.close("out.image_hidden_states", rows);
    await c.close("out.logits", out.logits!, { mask });
    await c.close("out.loss", out.loss!);
    await c.close("out.text_only.logits", bare.logits!, { mask });
    for (const tensor of [rows, out.logits!, out.loss!, bare.logits!]) tensor.dispose();
  });

  test(`${c.name}: greedy ids are transformers'`, async () => {
    using model = await load(own);
    const { rows, R } = noGrad(() => scope(() => rowsOf(model, c)));
    const seen = seenIn(c, R);
    for (const { row, new_ids } of c.info.generate.single) {
      const length = mask[row]!.reduce((a, b) => a + b, 0);
      using beside = rows.slice(row, 1);
      const prompt = { inputIds: [ids[row]!.slice(0, length)], beside: { rows: beside, seen: [seen[row]!.slice(0, length)] } };
      assert.equal(await generate(model.llm, prompt, { maxNewTokens: new_ids.length, eosTokenId: [] }), [new_ids]);
    }
    rows.dispose();
  });

  test(`${c.name}: asked in words, pictures stand as its processor writes them, and each token sees the latest`, async () => {
    using model = await load(own);
    const { tokenizer } = model;
    const id = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });
    const [mark, edge] = [tokenizer.specialTokens.get("<image>")!, tokenizer.specialTokens.get(EDGE)!];
    const [a, b, s] = [picture(0), picture(1), tokenizer.bosTokenId!];
    const features = (await model.features([a, b])).flatMap(({ data }) => [...data]);
    const rows = noGrad(() => scope(() => rowsTensor(model, features)));
    const R = rows.shape[1]! / 2;
    // Two that follow each other share an edge; a text between them has one on either side.
    const together = [s, ...id("ab"), edge, mark, edge, mark, edge, ...id("cd")];
    const apart = [s, edge, mark, edge, ...id("ab"), edge, mark, edge, ...id("c")];
    for (const [content, want] of [
      [["ab", a, b, "cd"], together],
      [[a, "ab", b, "c"], apart],
    ] as const) {
      const places = want.flatMap((token, i) => (token === mark ? [i] : []));
      const beside = { rows, seen: latest(places, want.length, 2, R) };
      const options = { maxNewTokens: 8, eosTokenId: [] };
      const [ids] = await generate(model.llm, { inputIds: [want], beside }, { ...options, suppressTokens: [mark, edge] });
      assert.equal(await model.generateAll([content], options), [tokenizer.decode(ids!, { skipSpecialTokens: true })]);
    }
    rows.dispose();
    const refused = await rejection(() => model.generateAll([[a, "<image>"]]));
    assert.is(refused.code, "E_PROMPT");
  });
}

/** Of features, one picture behind the other: (1, pictures · R, d). */
function rowsTensor(model: AnyMAL, features: readonly number[]): Tensor {
  const { width } = model.encoder("image");
  const N = 2;
  const x = Tensor.from(Float32Array.from(features), [N, features.length / N / width, width], { device: here });
  const rows = model.projector("image").forward(x);
  return rows.reshape([1, N * rows.shape[1]!, -1]);
}

test("the layout is told, by openers and inspect alike", async () => {
  const { vocab_size, additional_vocab_size, cross_layer_interval, perceiver_config } = jsonOf(folder);
  using file = Checkpoint.open(folder);
  assert.is(layoutName(file, jsonOf(folder)), "idefics");
  const { inspectFolder } = await import("../../lib/cli/inspect-folder.js");
  const { kind, about, facts } = await inspectFolder(folder);
  const told = Object.fromEntries(facts);
  assert.equal(
    [kind, told.system, told.layout, told.vocabulary],
    ["multimodal model", "flamingo", "idefics", vocab_size + additional_vocab_size],
  );
  assert.match(about, /flamingo of .* in the layout idefics$/);
  assert.match(String(told["adapter gated-cross-attention"]), new RegExp(`every ${cross_layer_interval}`));
  assert.match(String(told["rows of image"]), new RegExp(`^${perceiver_config.resampler_n_latents}, beside the text, at <image>`));
});

test("its language model alone opens too, the added rows behind its own", async () => {
  const { vocab_size, additional_vocab_size, hidden_size } = jsonOf(folder);
  using llm = await AutoModelForCausalLM.fromPretrained(folder, { device: here });
  assert.is(llm.config.vocabSize, vocab_size + additional_vocab_size);
  using file = Checkpoint.open(folder);
  using rest = file.load("lm_head.additional_fc.weight", here);
  const head = Array.from((await llm.headWeight.data()) as Float32Array);
  assert.equal(head.slice(vocab_size * hidden_size), Array.from((await rest.data()) as Float32Array));
});

async function everything(model: AnyMAL): Promise<Map<string, string>> {
  const named: [string, Tensor][] = [...weightsOf(model.llm)];
  for (const [name, p] of model.projector("image").namedParameters("projectors.image")) named.push([name, p]);
  for (const [name, p] of model.encoder("image").encoder.namedParameters("encoders.image")) named.push([name, p]);
  for (const [name, adapter] of model.adapters)
    for (const [key, p] of adapter.namedParameters()) named.push([`adapters.${name}.${key}`, p]);
  return new Map(await Promise.all(named.map(async ([name, p]) => [name, Buffer.from(await p.bytes()).toString("base64")] as const)));
}
const TABLES = ["llm.model.embed_tokens.weight", "llm.lm_head.weight"];

test("stage 2 moves resampler, gated layers and the rows of added tokens; all else keeps its bits; saved it answers the same", async () => {
  using model = await load();
  const before = await everything(model);
  const rows = [0, 1, 2, 3].map((i) => ({
    where: `row ${i}`,
    turns: [
      { role: "user", content: ["see ", picture(i)] },
      { role: "assistant", content: ["abcd"[i]!] },
    ],
  })) as Parameters<typeof instruct>[1]["data"];
  const output = join(folder, "run");
  await all(instruct(model, { data: rows, steps: 2, batch: 4, warmupSteps: 0, learningRate: 1e-2, schedule: "constant", output }));
  const ask = (one: AnyMAL) => one.generateAll([["see ", picture(1)]], { maxNewTokens: 8, eosTokenId: [] });
  const answer = await ask(model); // which writes rows that trained into the tables
  const after = await everything(model);
  const moved = [...after.keys()].filter((name) => before.get(name) !== after.get(name));
  const opened = [...after.keys()].filter((name) => /^(projectors|adapters)\./.test(name));
  assert.equal(moved.filter((name) => !TABLES.includes(name)).sort(), opened.sort());
  // Of the tables the added rows alone.
  for (const table of TABLES) {
    const [one, other] = [before, after].map((all) => Buffer.from(all.get(table)!, "base64"));
    assert.is(Buffer.compare(one!.subarray(0, 80 * 32 * 4), other!.subarray(0, 80 * 32 * 4)), 0, table);
  }
  using again = await load(output);
  const read = await everything(again);
  assert.equal(
    [...after.keys()].filter((name) => read.get(name) !== after.get(name)),
    [],
  );
  assert.is(read.size, after.size);
  assert.equal([again.system, again.prompt.written], ["flamingo", { id: "<image>", edge: EDGE }]);
  assert.equal(await ask(again), answer);
  rmSync(output, { recursive: true });
});

test("whatever step of reading one fails, nothing stays", () => sweep("IDEFICS", async () => (await load()).dispose()));

test("what is not IDEFICS, or contradicts itself, is refused by name with the remedy", async () => {
  const refused = async (name: string, change: object, code: string, pattern: RegExp) => {
    const path = join(folder, name);
    const before = readFileSync(path);
    writeFileSync(path, JSON.stringify({ ...JSON.parse(before.toString()), ...change }));
    const error = await rejection(() => load());
    writeFileSync(path, before);
    assert.is(error.code, code, `${JSON.stringify(change)}: ${error.stack}`);
    assert.match(error.message, pattern);
    assert.match(error.message, /; \S/, "no remedy");
  };
  const { vision_config: vision, perceiver_config: perceiver, hidden_size: width, additional_vocab_size: more } = jsonOf(folder);
  const { num_hidden_layers: layers, cross_layer_interval: every } = jsonOf(folder);
  const larger = vision.image_size + vision.patch_size;
  const cells = (larger / vision.patch_size) ** 2;
  for (const [change, pattern] of [
    [{ additional_vocab_size: more + 1 }, new RegExp(`"additional_vocab_size" to be ${more}, as in .*got ${more + 1}`)],
    [{ additional_vocab_size: -1 }, /"additional_vocab_size" to be/],
    [
      { cross_layer_interval: layers },
      new RegExp(`"cross_layer_interval" to be such that ${layers} layers have the ${layers / every} gated ones`),
    ],
    [{ cross_layer_interval: 0 }, /"cross_layer_interval" to be an integer >= 1/],
    [{ alpha_type: "matrix" }, /"alpha_type" to be "float" or "vector"/],
    [{ use_resampler: false }, /"use_resampler" to be true/],
    [{ hidden_act: "gelu" }, /"hidden_act" to be "silu"/],
    [{ perceiver_config: null }, /"perceiver_config" to be an object/],
    [{ perceiver_config: { ...perceiver, resampler_n_latents: 0 } }, /"resampler_n_latents"/],
  ] as const)
    await refused("config.json", change, "E_CONFIG", pattern);
  for (const [change, pattern] of [
    [{ alpha_type: "vector" }, new RegExp(`alpha_cross_attn" of shape \\[1,1,${width}\\]`)],
    [{ qk_layer_norms: true }, /q_layer_norm/],
    [
      { vision_config: { ...vision, image_size: larger } },
      new RegExp(`position_embedding.weight" of shape \\[${cells + 1},${vision.embed_dim}\\]`),
    ],
    [{ perceiver_config: { ...perceiver, resampler_depth: 1 } }, /left over|to have a place/],
  ] as const) {
    const path = join(folder, "config.json");
    const before = readFileSync(path);
    writeFileSync(path, JSON.stringify({ ...JSON.parse(before.toString()), ...change }));
    const error = await rejection(() => load());
    writeFileSync(path, before);
    assert.ok(["E_STATE", "E_SAFETENSORS"].includes(error.code), `${JSON.stringify(change)}: ${error.stack}`);
    assert.match(error.message, pattern);
  }
  const other = new RegExp(`"image_size" to be ${larger}, the side of the pictures`);
  await refused("preprocessor_config.json", { image_size: larger }, "E_CONFIG", other);
  await refused(
    "tokenizer.json",
    { added_tokens: jsonOf(folder, "tokenizer.json").added_tokens.slice(0, 3) },
    "E_CONFIG",
    /<image>, with which idefics writes a medium, has a row, got .*without it/,
  );
  const path = join(folder, "model.safetensors");
  const before = readFileSync(path);
  for (const [from, to] of [
    ["gated_cross_attn_layers", "gated_cross_attn_blocks"],
    ["perceiver_resampler.latents", "perceiver_resampler.patents"],
    ["additional_embedding", "additionel_embedding"],
  ] as const) {
    writeFileSync(path, Buffer.from(before.toString("latin1").replaceAll(from, to), "latin1"));
    const error = await rejection(() => load());
    assert.ok(["E_STATE", "E_CONFIG"].includes(error.code), `${from}: ${error.stack}`);
    assert.match(error.message, from === "additional_embedding" ? /additional_vocab_size|additionel/ : /IDEFICS|latents/);
  }
  writeFileSync(path, before);
});

test.run();
