// PEFT adapters: logits with, without and merged; gradients of A and B; the files; the rules for which modules are meant.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exportMerged, drift as logitDrift } from "../../lib/adapters/export.js";
import { LoraAdapter } from "../../lib/adapters/lora.js";
import { isTarget, loraConfig, parseLoraConfig, rankOf } from "../../lib/adapters/lora-config.js";
import { backward, noGrad } from "../../lib/core/autograd.js";
import { SafetensorsFile } from "../../lib/io/safetensors.js";
import { Case, caseFolder, caseNames, here, largest, near } from "../case.js";
import { openDecoder } from "../models/decoder-cases.js";

const load = openDecoder;

for (const name of caseNames(/^lora/)) {
  const c = new Case(name);
  const mask = c.rows("in.attention_mask");
  const input = { inputIds: c.rows("in.input_ids"), attentionMask: mask };
  const labels = c.rows("in.labels");

  test(`${name}: logits, loss and gradients`, async () => {
    using model = load(c.base);
    await c.close("out.base.logits", noGrad(() => model.forward(input)).logits!, { mask });
    const adapter = await LoraAdapter.load(model, join(c.folder, "adapter"), { trainable: true });
    assert.equal(Object.fromEntries([...adapter.layers].map(([path, { scaling }]) => [path, scaling])), c.info.scaling);
    const { logits, loss } = model.forward(input, { labels, logits: "all" });
    await c.close("out.adapter.logits", logits!, { mask });
    await c.close("out.adapter.loss", loss!);
    backward(loss!);
    const own = new Map(adapter.namedParameters());
    // A table for both places of a tied pair stands in the file twice, and is trained once.
    assert.equal([...own.keys()].map((key) => `grad.${key}`).sort(), c.names("grad."));
    for (const [key, tensor] of own) {
      assert.equal(tensor.shape, c.info.adapter_keys[key]);
      await c.close(`grad.${key}`, tensor.grad!);
    }
  });

  test(`${name}: merged, unloaded`, async () => {
    using model = load(c.base);
    const before = await noGrad(() => model.forward(input)).logits!.data();
    const removable = await LoraAdapter.load(model, join(c.folder, "adapter"));
    removable.unload();
    assert.equal(await noGrad(() => model.forward(input)).logits!.data(), before, "unload() leaves a trace");
    const adapter = await LoraAdapter.load(model, join(c.folder, "adapter"));
    adapter.merge();
    await c.close("out.merged.logits", noGrad(() => model.forward(input)).logits!, { mask });
    const weights = new Map(model.namedParameters());
    for (const key of c.info.merged_keys as string[]) {
      const want = c.values(`merged.${key}`);
      near(await weights.get(key)!.data(), want, 1e-6 * largest(want), `${name}: merged ${key}`);
    }
  });

  test(`${name}: what save() writes is what was loaded`, async () => {
    using model = load(c.base);
    const adapter = await LoraAdapter.load(model, join(c.folder, "adapter"));
    const folder = mkdtempSync(join(tmpdir(), "anymal-lora-"));
    try {
      await adapter.save(folder);
      using ours = new SafetensorsFile(join(folder, "adapter_model.safetensors"));
      using theirs = new SafetensorsFile(join(c.folder, "adapter", "adapter_model.safetensors"));
      assert.equal([...ours.entries.keys()].sort(), [...theirs.entries.keys()].sort());
      for (const key of ours.entries.keys()) assert.equal(ours.values(key), theirs.values(key));
      const config = (f: string) => parseLoraConfig(JSON.parse(readFileSync(join(f, "adapter_config.json"), "utf8")));
      assert.equal(config(folder), config(join(c.folder, "adapter")));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}

for (const quantization of [undefined, { format: "nf4", doubleQuant: true }, { format: "int8" }] as const) {
  const kind = quantization?.format ?? "dense";
  test(`a fresh adapter on a ${kind} model changes nothing, bit for bit, and then learns`, async () => {
    const [name] = caseNames(/^lora/) as [string];
    const c = new Case(name);
    using model = load(c.base, { quantization });
    const input = { inputIds: c.rows("in.input_ids"), attentionMask: c.rows("in.attention_mask") };
    const before = await noGrad(() => model.forward(input)).logits!.data();
    const adapter = LoraAdapter.apply(model, { r: 3, alpha: 6, targetModules: ["q_proj", "down_proj"] }, { seed: 11 });
    const { logits, loss } = model.forward(input, { labels: c.rows("in.labels"), logits: "all" });
    assert.equal(await logits!.data(), before);
    backward(loss!);
    for (const [key, tensor] of adapter.namedParameters()) {
      // B = 0 keeps A's gradient at 0 in the first step.
      const moved = largest(await tensor.grad!.data()) > 0;
      assert.is(moved, key.includes("lora_B"), key);
    }
  });
}

test("target modules: last names, whole-path expressions, exclusions, chosen layers", () => {
  const path = "model.layers.11.self_attn.q_proj";
  assert.ok(isTarget(loraConfig({ targetModules: ["q_proj"] }), path, true));
  assert.not(isTarget(loraConfig({ targetModules: ["proj"] }), path, true));
  assert.ok(isTarget(loraConfig({ targetModules: "model.*self_attn\\.(q|v)_proj" }), path, true));
  assert.not(isTarget(loraConfig({ targetModules: "self_attn\\.q_proj" }), path, true), "an expression covers the whole path");
  assert.not(isTarget(loraConfig({ targetModules: ["q_proj"], excludeModules: ["self_attn.q_proj"] }), path, true));
  assert.ok(isTarget(loraConfig({ targetModules: ["q_proj"], layersToTransform: [11] }), path, true));
  assert.not(isTarget(loraConfig({ targetModules: ["q_proj"], layersToTransform: [1] }), path, true));
  assert.not(isTarget(loraConfig({ targetModules: "all-linear" }), path, false));
  assert.not(isTarget(loraConfig({ targetModules: ["lm_head"], modulesToSave: ["lm_head"] }), "lm_head", true));
});

test("rank and alpha patterns, rank-stabilised scaling", () => {
  const config = loraConfig({ r: 8, alpha: 16, rankPattern: { "layers.1.self_attn.q_proj": 4 }, alphaPattern: { "^model.*down_proj": 2 } });
  assert.equal(rankOf(config, "model.layers.1.self_attn.q_proj"), { r: 4, scaling: 4 });
  assert.equal(rankOf(config, "model.layers.11.self_attn.q_proj"), { r: 8, scaling: 2 });
  assert.equal(rankOf(config, "model.layers.0.mlp.down_proj"), { r: 8, scaling: 0.25 });
  assert.is(rankOf(loraConfig({ r: 16, alpha: 8, rsLora: true }), "x").scaling, 2);
});

test("ranks and alphas by layer, rank-stabilised, with a head trained whole: saved as PEFT names it, loaded, merged and exported", async () => {
  const [name] = caseNames(/^lora/) as [string];
  const c = new Case(name);
  const input = { inputIds: c.rows("in.input_ids") };
  const options = {
    r: 4,
    alpha: 6,
    targetModules: ["q_proj", "down_proj"],
    rankPattern: { "layers.1.self_attn.q_proj": 2 },
    alphaPattern: { "layers\\.0\\..*": 12 },
    rsLora: true,
    modulesToSave: ["lm_head"],
  };
  const folder = mkdtempSync(join(tmpdir(), "anymal-lora-"));
  try {
    using model = load(c.base, { quantization: { format: "nf4" } });
    const adapter = LoraAdapter.apply(model, options, { seed: 5 });
    for (const [key, tensor] of adapter.namedParameters())
      if (!key.includes("lora_A")) tensor.write(Float32Array.from({ length: tensor.size }, (_, i) => 0.1 * Math.sin(i + 1)));
    const before = await noGrad(() => model.forward(input)).logits!.data();
    await adapter.save(join(folder, "adapter"));
    using stored = new SafetensorsFile(join(folder, "adapter", "adapter_model.safetensors"));
    assert.ok(stored.entries.has("base_model.model.lm_head.weight"));
    assert.is(stored.entry("base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight").shape[0], 2);
    assert.is(stored.entry("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight").shape[0], 4);
    const json = JSON.parse(readFileSync(join(folder, "adapter", "adapter_config.json"), "utf8"));
    assert.equal([json.use_rslora, json.rank_pattern, json.modules_to_save], [true, options.rankPattern, ["lm_head"]]);
    assert.is(adapter.layers.get("model.layers.0.mlp.down_proj")!.scaling, 6); // 12 / sqrt(4)
    assert.is(adapter.layers.get("model.layers.1.self_attn.q_proj")!.scaling, 6 / Math.SQRT2);

    using again = load(c.base, { quantization: { format: "nf4" } });
    await LoraAdapter.load(again, join(folder, "adapter"));
    assert.equal(await noGrad(() => again.forward(input)).logits!.data(), before);
    const base = JSON.parse(readFileSync(join(c.base, "config.json"), "utf8"));
    const drift = await exportMerged(again, join(folder, "merged"), base, { inputIds: input.inputIds });
    assert.ok(drift.largest < 1e-4 && drift.sameBest === 1, JSON.stringify(drift));
    using merged = openDecoder(join(folder, "merged"));
    near(await noGrad(() => merged.forward(input)).logits!.data(), before, 1e-4, "merged");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("drift: none of a model with itself, all of it of another", () => {
  const one = Float32Array.from([0, 1, 2, 3, 2, 1]);
  assert.equal(logitDrift(one, one, 3), { largest: 0, mean: 0, divergence: 0, sameBest: 1, positions: 2 });
  const moved = logitDrift(one, Float32Array.from([2, 1, 0, 3, 2, 1]), 3);
  assert.equal([moved.largest, moved.sameBest], [2, 0.5]);
  // KL of softmax(0,1,2) from softmax(2,1,0) is Σ p (a - b), halved by the second position, which stayed.
  const z = 1 + Math.E + Math.E ** 2;
  assert.ok(Math.abs(moved.divergence - (2 * Math.E ** 2 - 2) / z / 2) < 1e-12);
  assert.is(logitDrift(one, Float32Array.from([Number.NaN, 1, 2, 3, 2, 1]), 3).largest, Infinity);
});

test("a folder that is no adapter, a pickle, and numbers that are none are refused by name", async () => {
  const [name] = caseNames(/^lora/) as [string];
  using model = load(new Case(name).base);
  const folder = mkdtempSync(join(tmpdir(), "anymal-lora-"));
  const refusal = async () =>
    LoraAdapter.load(model, folder).then(
      () => assert.unreachable(),
      (error) => error,
    );
  try {
    assert.match((await refusal()).message, /adapter_config\.json/);
    writeFileSync(join(folder, "adapter_config.json"), "{");
    writeFileSync(join(folder, "adapter_model.bin"), "");
    const pickle = await refusal();
    assert.is(pickle.code, "E_LORA");
    assert.match(pickle.message, /adapter_model\.bin, a pickle.*anymal convert/);
    writeFileSync(join(folder, "adapter_model.safetensors"), "");
    assert.match((await refusal()).message, /in JSON/);
  } finally {
    rmSync(folder, { recursive: true });
  }
  const good = { peft_type: "LORA", r: 4, lora_alpha: 8, target_modules: ["q_proj"] };
  parseLoraConfig(good);
  const wrong = {
    r: -1,
    lora_alpha: "8",
    rank_pattern: { q_proj: 0 },
    alpha_pattern: [1],
    target_modules: "(",
    modules_to_save: [3],
    bias: "some",
  };
  for (const [key, value] of [...Object.entries(wrong), ["r", 2 ** 40], ["r", null]] as const)
    assert.throws(
      () => parseLoraConfig({ ...good, [key]: value }),
      (e: { code?: string; message: string }) => e.code === "E_LORA" && e.message.includes(key),
      key,
    );
});

test("a model that an adapter does not fit stays as it was", async () => {
  const [name] = caseNames(/^lora-patterns$/) as [string];
  const c = new Case(name);
  await here.synchronize();
  const width = (folder: string) => JSON.parse(readFileSync(join(folder, "config.json"), "utf8")).hidden_size;
  const others = caseNames(/^(llama(?!-adapter)|mistral|qwen(?!2-audio))/).map(caseFolder);
  using model = load(others.find((folder) => width(folder) !== width(c.base)) as string);
  await here.synchronize();
  const [before, names] = [here.memory().bytesInUse, [...model.namedModules()].map(([path, part]) => `${path} ${part.constructor.name}`)];
  let code: unknown;
  await LoraAdapter.load(model, join(c.folder, "adapter")).catch((error) => {
    code = error.code;
  });
  assert.is(code, "E_STATE");
  await here.synchronize();
  assert.is(here.memory().bytesInUse, before);
  assert.equal(
    [...model.namedModules()].map(([path, part]) => `${path} ${part.constructor.name}`),
    names,
  );
});

test("an adapter of another kind, or one that fits nothing, is refused", () => {
  const refused = (e: { code?: string }) => e.code === "E_LORA";
  assert.throws(() => parseLoraConfig({ peft_type: "LORA", use_dora: "yes", r: 4, lora_alpha: 4 }), refused);
  assert.throws(() => parseLoraConfig({ peft_type: "PREFIX_TUNING" }), refused);
  const [name] = caseNames(/^lora/) as [string];
  using model = load(new Case(name).base);
  assert.throws(() => LoraAdapter.apply(model, { targetModules: ["query"] }), refused);
  assert.throws(() => LoraAdapter.apply(model, { targetModules: ["input_layernorm"] }), refused);
  assert.throws(() => LoraAdapter.apply(model, { targetModules: ["q_proj", "self_attn"] }), refused);
  assert.ok(![...model.namedParameters()].some(([name]) => name.includes("lora")), "a refused adapter leaves nothing behind");
  const plain = { peft_type: "LORA", r: 4, lora_alpha: 4, target_modules: ["q_proj"] };
  for (const change of [{ kasa_config: {} }, { alora_invocation_tokens: [1] }, { init_lora_weights: "pissa_niter_4" }])
    assert.throws(() => parseLoraConfig({ ...plain, ...change }), refused, JSON.stringify(change));
  assert.is(parseLoraConfig({ ...plain, init_lora_weights: "gaussian" }).r, 4);
});

for (const quantization of [undefined, { format: "nf4", doubleQuant: true }, { format: "int8" }] as const)
  test(`merge() of a ${quantization?.format ?? "dense"} model holds one layer at a time in full precision, and leaves nothing`, async () => {
    const [name] = caseNames(/^lora/) as [string];
    const c = new Case(name);
    await here.synchronize();
    const empty = here.memory();
    {
      using model = load(c.base, { quantization });
      await here.synchronize();
      const before = here.memory();
      const adapter = LoraAdapter.apply(model, { r: 2, alpha: 4 });
      const largest = 4 * Math.max(...Array.from(adapter.layers.values(), (layer) => layer.inFeatures * layer.outFeatures));
      await here.synchronize();
      const attached = here.memory();
      here.resetPeak();
      adapter.merge();
      await here.synchronize();
      const after = here.memory();
      // The weight, the change, their sum, and what is made of it.
      assert.ok(
        after.bytesPeak - after.bytesScratch - attached.bytesInUse <= 4 * largest + 4096,
        `${after.bytesPeak - attached.bytesInUse} for ${largest} a layer`,
      );
      assert.equal([after.tensors, after.bytesInUse], [before.tensors, before.bytesInUse]);
      assert.is(adapter.layers.size, 0);
      const error = await adapter.save(tmpdir()).catch((problem) => problem);
      assert.is(error.code, "E_LORA");
      assert.match(error.message, /that was merged/);
    }
    await here.synchronize();
    const { tensors, bytesInUse } = here.memory();
    assert.equal([tensors, bytesInUse], [empty.tensors, empty.bytesInUse]);
  });

test("a key of rank_pattern fits whole names at the end of a path", () => {
  const path = "model.layers.10.self_attn.q_proj";
  const ranks: [string, boolean][] = [["q_proj", true], ["proj", false], ["self_attn.q_proj", true], ["attn.q_proj", false], [path, true], [`x${path}`, false], ["q.proj", true], ["10.self_attn.q_proj", true], ["0.self_attn.q_proj", false]]; // biome-ignore format: a table
  for (const [key, fits] of ranks) {
    const config = parseLoraConfig({ peft_type: "LORA", r: 4, lora_alpha: 8, target_modules: ["q_proj"], rank_pattern: { [key]: 16 } });
    assert.equal(rankOf(config, path).r, fits ? 16 : 4, key);
  }
});

test("expressions of a stranger's configuration cannot hold up the loading: they are taken in counted steps, or refused", () => {
  const path = "model.layers.10.self_attn.q_proj";
  const base = { peft_type: "LORA", r: 4, lora_alpha: 8, target_modules: ["q_proj"] };
  const slow = "((([a-z_0-9.])+)+)+!";
  for (const key of ["target_modules", "exclude_modules", "modules_to_save"]) {
    const config = parseLoraConfig({ ...base, [key]: key === "modules_to_save" ? [slow] : slow });
    assert.is(isTarget(config, path, true), key !== "target_modules", key);
  }
  for (const key of ["rank_pattern", "alpha_pattern"])
    assert.equal(rankOf(parseLoraConfig({ ...base, [key]: { [slow]: 8, "q_proj": 16 } }), path), key === "rank_pattern" ? { r: 16, scaling: 0.5 } : { r: 4, scaling: 4 }); // biome-ignore format: one line
  const layers = parseLoraConfig({ ...base, layers_to_transform: [10], layers_pattern: ["((([a-z_0-9])+)+)+", "layers"] });
  assert.ok(isTarget(layers, path, true));
  const refused = [{ target_modules: "(q)\\1" }, { rank_pattern: { "(a{200}){200}": 3 } }, { modules_to_save: ["[a-"] }];
  for (const more of refused) assert.throws(() => parseLoraConfig({ ...base, ...more }), (e: { code?: string }) => e.code === "E_LORA"); // biome-ignore format: one line
  // So many of them, that each is cheap and all are not.
  const many = Object.fromEntries(Array.from({ length: 4000 }, (_, i) => [`(a|b)*${i}{400}`, 2]));
  assert.throws(() => parseLoraConfig({ ...base, rank_pattern: many }), /all together are too long/);
});

test.run();
