// Tokens that train alone, in PEFT's files: gradients, two steps, logits and greedy ids of peft 0.21; saved as peft reads them.
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fresh } from "../../lib/adapters/adapter-files.js";
import { loadAdapter } from "../../lib/adapters/load-adapter.js";
import { TRAINED_TOKENS } from "../../lib/adapters/trained-tokens.js";
import { backward, noGrad, type Tensor } from "../../lib/index.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { SafetensorsFile, saveSafetensors } from "../../lib/io/safetensors.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { AdamW } from "../../lib/train/optimizer.js";
import { caseFolder, here } from "../case.js";

const test = suite("trained tokens");
const fails = (code: string) => (e: Error & { code?: string }) => e.code === code;

for (const name of ["trained-tokens", "trained-tokens-tied"]) {
  const folder = caseFolder(name);
  const { ids, rows, greedy } = JSON.parse(readFileSync(join(folder, "expected.json"), "utf8"));
  const load = () => LlamaForCausalLM.fromPretrained(folder, { device: here });
  const want = async (key: string) => {
    using file = new SafetensorsFile(join(folder, "expected.safetensors"));
    using tensor = file.load(key, here);
    return [...((await tensor.data()) as Float32Array)];
  };
  const near = async (tensor: Tensor, key: string, least = 2e-5) => {
    const [got, wanted] = [[...((await tensor.data()) as Float32Array)], await want(key)];
    assert.is(got.length, wanted.length);
    const most = Math.max(...wanted.map(Math.abs));
    const off = Math.max(...wanted.map((value, i) => Math.abs(value - got[i]!)));
    assert.ok(off <= least * most, `${key}: off by ${off} of ${most}`);
  };
  const logits = (llm: LlamaForCausalLM) => noGrad(() => llm.forward({ inputIds: rows })).logits as Tensor;
  const bits = async (llm: LlamaForCausalLM) => Buffer.from(await logits(llm).bytes());
  const targets = name.endsWith("tied") ? ["embed_tokens"] : ["embed_tokens", "lm_head"];

  test(`${name}: loaded, answers as in peft; saved and loaded again, to the bit`, async () => {
    using llm = load();
    const adapter = await loadAdapter(llm, join(folder, "adapter"));
    await near(logits(llm), "logits");
    const [answer] = await llm.generate({ inputIds: [rows[0].slice(0, 3)] }, { maxNewTokens: 8, eosTokenId: [] });
    assert.equal(answer, greedy);
    const place = mkdtempSync(join(tmpdir(), "anymal-tokens-"));
    try {
      await adapter.save(place);
      using other = load();
      await loadAdapter(other, place);
      assert.ok((await bits(other)).equals(await bits(llm)));
    } finally {
      rmSync(place, { recursive: true });
    }
  });

  test(`${name}: two steps as peft's; off and detached the base is what it was, merged it keeps the rows`, async () => {
    using llm = load();
    const before = await bits(llm);
    const adapter = fresh(TRAINED_TOKENS, "test", llm, { tokenIndices: ids, targetModules: targets }, { name: "words" });
    assert.ok((await bits(llm)).equals(before), "nothing has changed yet");
    adapter.train(true);
    const parameters = [...adapter.namedParameters()];
    assert.equal(
      parameters.map(([key]) => key).sort(),
      targets.map((t) => `base_model.model.${t === "lm_head" ? t : `model.${t}`}.trainable_tokens_delta`).sort(),
    );
    using optimizer = new AdamW([{ parameters }], { weightDecay: 0.01 });
    for (let step = 0; step < 2; ++step) {
      using loss = llm.forward({ inputIds: rows }, { labels: rows, logits: false }).loss as Tensor;
      backward(loss);
      if (step === 0) {
        await near(loss, "loss");
        for (const [key, p] of parameters) await near(p.grad!, `grad.${key}`, 1e-4);
      }
      optimizer.step(1e-2).dispose();
      optimizer.zeroGrad();
    }
    adapter.train(false);
    await near(logits(llm), "logits", 2e-4);
    const trained = await bits(llm);
    adapter.enabled = false;
    assert.ok((await bits(llm)).equals(before), "off");
    adapter.enabled = true;
    assert.ok((await bits(llm)).equals(trained), "on");
    const other = fresh(TRAINED_TOKENS, "test", llm, { tokenIndices: [9], targetModules: targets }, { name: "other" });
    adapter.detach();
    assert.ok((await bits(llm)).equals(before), "detached below another");
    other.detach();
    const again = await loadAdapter(llm, join(folder, "adapter"));
    const loaded = await bits(llm);
    again.merge();
    assert.ok((await bits(llm)).equals(loaded), "merged");
    assert.equal([...llm.namedParameters()].length, [...load().namedParameters()].length);
  });
}

test("rows of a tied pair are written under both names, read from either, and restored only where both agree", async () => {
  using llm = LlamaForCausalLM.fromPretrained(caseFolder("trained-tokens-tied"), { device: here });
  const adapter = await loadAdapter(llm, join(caseFolder("trained-tokens-tied"), "adapter"));
  const place = mkdtempSync(join(tmpdir(), "anymal-tokens-"));
  const path = join(place, "adapter_model.safetensors");
  const wanted = [...((await adapter.namedParameters().next().value![1].data()) as Float32Array)];
  const table = async () => Buffer.from(await llm.model.embedding.weight.bytes());
  try {
    await adapter.save(place);
    const held = await table();
    const tensors = new Map<string, { dtype: "F32"; shape: readonly number[]; data: Uint8Array }>();
    {
      using file = Checkpoint.open(path);
      for (const name of file.names())
        tensors.set(name, { dtype: "F32", shape: file.entry(name).shape, data: new Uint8Array(file.bytes(name)) });
    }
    const [head, rows] = ["lm_head", "model.embed_tokens"].map((at) => `base_model.model.${at}.trainable_tokens_delta`) as [string, string];
    assert.equal([...tensors.keys()].sort(), [head, rows]);
    assert.equal(tensors.get(head), tensors.get(rows));

    const written = async (names: Iterable<[string, { dtype: "F32"; shape: readonly number[]; data: Uint8Array }]>) => {
      await saveSafetensors(path, new Map(names));
      return Checkpoint.open(path);
    };
    for (const only of [head, rows]) {
      adapter.namedParameters().next().value![1].write(new Float32Array(wanted.length));
      using file = await written([[only, tensors.get(rows)!]]);
      adapter.restore(file);
      assert.equal([...((await adapter.namedParameters().next().value![1].data()) as Float32Array)], wanted);
      assert.ok((await table()).equals(held), "and the table has them");
    }
    const other = { ...tensors.get(rows)!, data: tensors.get(rows)!.data.map((byte, i) => (i ? byte : byte ^ 1)) };
    using file = await written([...tensors, [head, other]]);
    assert.throws(() => adapter.restore(file), fails("E_STATE"));
    assert.ok((await table()).equals(held));
  } finally {
    rmSync(place, { recursive: true });
  }
});

test("rows of a tied pair that the file holds twice are one set, or refused", async () => {
  const folder = caseFolder("trained-tokens-tied");
  const place = mkdtempSync(join(tmpdir(), "anymal-tokens-"));
  try {
    using file = new SafetensorsFile(join(folder, "adapter", "adapter_model.safetensors"));
    const delta = "trainable_tokens_delta";
    const key = [...file.entries.keys()].find((name) => name.endsWith(`embed_tokens.${delta}`))!;
    const { shape } = file.entry(key);
    copyFileSync(join(folder, "adapter", "adapter_config.json"), join(place, "adapter_config.json"));
    for (const by of [0, 0.5]) {
      const head = Float32Array.from(file.values(key), (v) => v + by);
      const all = [
        [key, { dtype: "F32", shape, data: Float32Array.from(file.values(key)) }],
        [`base_model.model.lm_head.${delta}`, { dtype: "F32", shape, data: head }],
      ] as const;
      await saveSafetensors(join(place, "adapter_model.safetensors"), all);
      using llm = LlamaForCausalLM.fromPretrained(folder, { device: here });
      if (by === 0) await loadAdapter(llm, place);
      else {
        const error = await loadAdapter(llm, place).catch((e) => e);
        assert.is(error.code, "E_ADAPTER");
        assert.match(error.message, /one set of rows/);
      }
    }
  } finally {
    rmSync(place, { recursive: true });
  }
});

test("what does not fit is refused, and the model stays as it was", async () => {
  const folder = caseFolder("trained-tokens");
  using llm = LlamaForCausalLM.fromPretrained(folder, { device: here });
  const table = async () => Buffer.from(await llm.model.embedding.weight.bytes());
  const before = await table();
  for (const options of [
    {},
    { tokenIndices: [40] },
    { tokenIndices: [1, 1] },
    { tokenIndices: [1], targetModules: ["q_proj"] },
    { tokenIndices: [1], targetModules: ["nothing"] },
  ])
    assert.throws(() => fresh(TRAINED_TOKENS, "test", llm, options), fails("E_ADAPTER"), JSON.stringify(options));
  await loadAdapter(llm, join(folder, "adapter"), { name: "one" });
  const held = await table();
  assert.not.ok(held.equals(before));
  try {
    await loadAdapter(llm, join(folder, "adapter"), { name: "two" });
    assert.unreachable();
  } catch (error) {
    assert.is((error as { code?: string }).code, "E_ADAPTER");
  }
  assert.ok((await table()).equals(held), "a second one of the same tokens changes nothing");
});

test.run();
