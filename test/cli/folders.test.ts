// The commands about folders: inspect, quantize, export.
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { LoraAdapter } from "../../lib/adapters/lora.js";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { noGrad } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import { Tensor } from "../../lib/core/tensor.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { AutoModelForCausalLM } from "../../lib/models/auto-causal-lm.js";
import { AutoEncoder } from "../../lib/models/auto-encoder.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import type { SpeechTower } from "../../lib/models/speech-tower.js";
import { WhisperEncoder } from "../../lib/models/whisper.js";
import { QuantizedWeight } from "../../lib/nn/quantized-weight.js";
import { instruct } from "../../lib/train/instruct.js";
import { captions, type Toy, toy } from "../anymal/toy.js";
import { Case, caseFolder, caseNames, copyFolder, here, near } from "../case.js";
import { inProcess, run } from "./program.js";

const test = suite("folders on the command line");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

// biome-ignore lint/suspicious/noExplicitAny: what a command printed
type Printed = any;
async function command(...args: string[]): Promise<Printed> {
  const { value, error } = await inProcess([...args, "--json"]);
  if (error) throw error;
  return value.at(-1);
}
async function refusal(...args: string[]): Promise<{ code: string; message: string }> {
  const { error } = await inProcess([...args, "--json"]);
  assert.ok(error, `${args} was not refused`);
  return error as unknown as { code: string; message: string };
}
const json = (...path: string[]) => JSON.parse(readFileSync(join(...path), "utf8"));

/** Branches as after training: B is no longer zero. */
function trainedBranches(adapter: LoraAdapter): void {
  for (const { loraB } of adapter.layers.values()) loraB.write(Float32Array.from({ length: loraB.size }, (_, i) => 0.02 * Math.sin(i + 1)));
}
async function trainedModel(folder: string, quantization: "nf4" | "none"): Promise<void> {
  await using model = await AnyMAL.assemble(world.options({ quantization }));
  trainedBranches(model.addAdapter({ r: 4, alpha: 8, targetModules: ["q_proj", "down_proj"] }));
  await model.save(folder);
}
async function logits(folder: string, inputIds: number[][], change?: (model: LlamaForCausalLM) => Promise<unknown>, options = {}) {
  using model = LlamaForCausalLM.fromPretrained(folder, { device: here, ...options });
  await change?.(model);
  return (await noGrad(() => model.forward({ inputIds })).logits!.data()) as Float32Array;
}

for (const name of [...caseNames(/^llama[23]$/), ...caseNames(/^(mistral|qwen[23])$/)]) {
  test(`inspect: ${name}`, async () => {
    const c = new Case(name);
    const found = await command("inspect", c.folder);
    using model = LlamaForCausalLM.fromPretrained(c.folder, { device: here });
    const parameters = model.parameters().reduce((sum, { size }) => sum + size, 0);
    assert.is(found.kind, "language model");
    assert.is(found.facts.layers, model.config.layers);
    // A tied head may be stored once more.
    const stored = found.weights.groups.filter((group: Printed) => !(model.config.tieWordEmbeddings && group.name === "lm_head.weight"));
    const counted = stored.reduce(
      (sum: number, { count, shape }: Printed) => sum + count * shape.reduce((a: number, b: number) => a * b, 1),
      0,
    );
    assert.is(counted, parameters);
    assert.is(found.sizes.f32, 4 * found.weights.parameters);
  });
}

for (const name of ["gguf-llama", "gguf-llama-bias", "gguf-qwen2", "gguf-qwen3"])
  test(`inspect: ${name}, one file`, async () => {
    const path = join(caseFolder(name), "model.gguf");
    const found = await command("inspect", path);
    using model = await AutoModelForCausalLM.fromPretrained(path, { device: here });
    assert.is(found.kind, "language model");
    assert.is(found.facts.layers, model.config.layers);
    assert.is(found.weights.storedBytes, statSync(path).size);
    assert.is(
      found.weights.parameters,
      model.parameters().reduce((sum, { size }) => sum + size, 0),
    );
  });

test("inspect: sizes in each storage are what a loaded model takes", async () => {
  const forms = {
    int8: { format: "int8" },
    nf4: { format: "nf4" },
    "nf4 + double quantisation": { format: "nf4", doubleQuant: true },
  } as const;
  const { sizes } = await command("inspect", world.llm);
  for (const [storage, quantization] of Object.entries(forms)) {
    using model = LlamaForCausalLM.fromPretrained(world.llm, { device: here, dtype: "bf16", quantization });
    let bytes = model.parameters().reduce((sum, tensor) => sum + 2 * tensor.size, 0);
    for (const part of model.modules()) {
      if (!("weight" in part && part.weight instanceof QuantizedWeight)) continue;
      const { outFeatures, inFeatures, codes, ...scales } = part.weight;
      bytes += Math.ceil((outFeatures * inFeatures) / (storage === "int8" ? 1 : 2)); // the packed layout may round up
      for (const tensor of [scales.absmax, scales.nestedAbsmax, scales.nestedOffset])
        if (tensor instanceof Tensor) bytes += tensor.size * (tensor.dtype === "f32" ? 4 : 1);
    }
    assert.is(sizes[storage], bytes, storage);
  }
});

test("inspect: a quantised folder counts the weights that its codes stand for", async () => {
  for (const name of caseNames(/^quant_llama/)) {
    const found = await command("inspect", caseFolder(name));
    using model = LlamaForCausalLM.fromPretrained(caseFolder(name), { device: here });
    const quantised = model.modules().flatMap((part) => ("weight" in part && part.weight instanceof QuantizedWeight ? [part.weight] : []));
    const dense = model.parameters().reduce((sum, { size }) => sum + size, 0);
    assert.is(
      found.weights.parameters,
      quantised.reduce((sum, w) => sum + w.outFeatures * w.inFeatures, dense),
      name,
    );
    assert.match(found.facts.quantised, quantised[0]!.format);
    assert.is(/double/.test(found.facts.quantised), quantised[0]!.nestedAbsmax !== undefined);
  }
});

for (const name of caseNames(/^(speech-whisper|whisper-encoder|qwen2-audio-encoder)/))
  test(`inspect: ${name}`, async () => {
    const folder = caseFolder(name);
    const { kind, facts } = await command("inspect", folder);
    using encoder = (await AutoEncoder.fromPretrained(folder, { device: here })) as SpeechTower;
    const { config } = encoder;
    assert.equal(
      [kind, facts.takes, facts.architecture],
      ["encoder", "audio", encoder instanceof WhisperEncoder ? "Whisper" : "Qwen2-Audio"],
    );
    assert.equal([facts.layers, facts.width, facts.heads, facts["mel bins"], facts["rows of a chunk"]].map(Number), [
      config.layers,
      encoder.width,
      config.heads,
      config.melBins,
      config.positions,
    ]);
    assert.is(facts.processor, "preprocessor_config.json");
  });

test("inspect: an encoder, an adapter, a trained model, a file; what is none of them is said", async () => {
  const clip = await command("inspect", world.clip);
  assert.equal([clip.kind, clip.facts.takes, clip.facts.architecture], ["encoder", "image", "CLIP"]);
  const [lora] = caseNames(/^lora$/) as [string];
  const peft = await command("inspect", join(caseFolder(lora), "adapter"));
  assert.equal(
    [peft.kind, peft.facts["base model"]],
    ["adapter", json(caseFolder(lora), "adapter/adapter_config.json").base_model_name_or_path],
  );
  await trainedModel(world.path("inspected"), "nf4");
  const ours = await command("inspect", world.path("inspected"));
  assert.is(ours.kind, "trained model");
  assert.match(ours.facts["language model"], /nf4/);
  assert.match(ours.facts.adapter, /rank 4/);
  assert.ok(ours.facts.image && ours.facts["image encoder"]);
  const file = await command("inspect", join(world.llm, "model.safetensors"));
  assert.is(file.kind, "weights");

  mkdirSync(world.path("other"));
  writeFileSync(world.path("other/notes.txt"), "");
  const refused = await refusal("inspect", world.path("other"));
  assert.is(refused.code, "E_FILE");
  assert.match(refused.message, /config\.json.*anymal\.json.*adapter_config\.json.*notes\.txt/);
  assert.is((await refusal("inspect", world.path("nowhere"))).code, "E_FILE");
  writeFileSync(world.path("other/config.json"), '{"model_type":"bert"}');
  assert.match((await refusal("inspect", world.path("other"))).message, /model_type.*llama.*clip.*got "bert"/);
});

for (const [format, doubleQuant] of [
  ["nf4", true],
  ["fp4", false],
  ["int8", false],
] as const) {
  test(`quantize: ${format}`, async () => {
    const out = world.path(`llm-${format}`);
    const printed = await command("quantize", world.llm, out, "--format", format, ...(doubleQuant ? ["--double-quant"] : []));
    assert.is(printed.output, out);
    assert.ok(printed.bytesAfter < printed.bytesBefore);
    assert.ok(existsSync(join(out, "tokenizer.json")) || existsSync(join(out, "tokenizer.model")), "a tokenizer lies beside");
    const ids = [[1, 5, 9, 13]];
    assert.equal(await logits(out, ids), await logits(world.llm, ids, undefined, { quantization: { format, doubleQuant } }));
    assert.is((await command("inspect", out)).facts.quantised.startsWith(format), true);
    assert.is((await refusal("quantize", out, world.path("again"))).code, "E_CONFIG");
    assert.match((await refusal("quantize", world.llm, out)).message, /E_USAGE|holds .* already/);
  });
}

test("quantize: flags that do not fit are a wrong command line", async () => {
  for (const args of [
    ["--format", "int8", "--double-quant"],
    ["--block", "48"],
    ["--format", "q4"],
  ])
    assert.is((await refusal("quantize", world.llm, world.path("never"), ...args)).code, "E_USAGE", args.join(" "));
  assert.not(existsSync(world.path("never")));
});

for (const quantization of ["nf4", "none"] as const) {
  test(`export: LoRA on ${quantization} merged onto the numbers it was trained against`, async () => {
    const [trained, out] = [world.path(`trained-${quantization}`), world.path(`merged-${quantization}`)];
    await trainedModel(trained, quantization);
    const { drift, layers, kind } = await command("export", trained, out, "--dtype", "f32", "--max-shard", "0.00005");
    assert.equal([kind, layers], ["merged", 2 * LlamaConfigOf(world.llm)]);
    assert.ok(drift.largest < 1e-4 && drift.sameBest === 1 && drift.divergence < 1e-8, JSON.stringify(drift));
    assert.ok(existsSync(join(out, "model.safetensors.index.json")), "in shards");
    const ids = [[2, 7, 11, 19, 4]];
    const form = quantization === "nf4" ? { quantization: { format: "nf4" } } : {};
    const before = await logits(world.llm, ids, (model) => LoraAdapter.load(model, trained), form);
    near(await logits(out, ids), before, 1e-4, "logits of the merged folder");
    const untouched = await logits(world.llm, ids, undefined, form);
    assert.ok(
      untouched.some((value, i) => Math.abs(value - (before[i] as number)) > 1e-2),
      "the adapter does something",
    );
    using stored = Checkpoint.open(out);
    assert.not([...stored.names()].some((name) => /lora|absmax|SCB/.test(name)));
    assert.is(json(out, "config.json").quantization_config, undefined);
    assert.match((await refusal("export", trained, out)).message, /already/);
  });
}

test("export and inspect: a language model whose own weights were trained", async () => {
  const [run, out] = [world.path("trained-whole"), world.path("whole-out")];
  await using model = await AnyMAL.assemble(world.options({ quantization: "none" }));
  const options = { data: captions(), lora: false, opens: "llm.*", steps: 2, batch: 2, learningRate: 1e-2, warmupSteps: 0 } as const;
  for await (const _ of instruct(model, { ...options, output: run }));
  const { kind, layers } = await command("export", run, out, "--dtype", "f32");
  assert.equal([kind, layers], ["merged", 0]);
  const ids = [[2, 7, 11, 19, 4]];
  const [trained, before] = [await logits(out, ids), await logits(world.llm, ids)];
  using own = noGrad(() => scope(() => model.llm.forward({ inputIds: ids }).logits!));
  near(trained, await own.data(), 1e-4, "logits of the exported folder");
  assert.ok(trained.some((value, i) => Math.abs(value - (before[i] as number)) > 1e-3));
  assert.is((await refusal("export", run, world.path("never"), "--adapter")).code, "E_USAGE");
  const inspected = await command("inspect", run);
  assert.match(JSON.stringify(inspected), /projections and language model/);
  assert.match(JSON.stringify(inspected), /trained of the language model/);
});

test("export: rounding to bf16 is told as drift", async () => {
  const trained = world.path("trained-bf16");
  await trainedModel(trained, "none");
  const { drift } = await command("export", trained, world.path("merged-bf16"), "--dtype", "bf16");
  assert.ok(drift.largest > 1e-4 && Number.isFinite(drift.largest), JSON.stringify(drift));
  assert.ok(drift.mean > 0 && drift.mean <= drift.largest && drift.positions === 64);
});

test("export: the adapter alone; a PEFT adapter merged; what has no adapter is refused", async () => {
  const trained = world.path("trained-peft");
  await trainedModel(trained, "none");
  const printed = await command("export", trained, world.path("adapter"), "--adapter");
  assert.equal([printed.kind, printed.r, printed.alpha], ["adapter", 4, 8]);
  assert.equal(readFileSync(world.path("adapter/adapter_model.safetensors")), readFileSync(join(trained, "adapter_model.safetensors")));
  assert.is(json(world.path("adapter"), "adapter_config.json").base_model_name_or_path, world.llm);
  const { drift } = await command("export", world.path("adapter"), world.path("merged-again"), "--dtype", "f32");
  assert.ok(drift.largest < 1e-4);

  const [lora] = caseNames(/^lora$/) as [string];
  const c = new Case(lora);
  copyFolder(join(c.folder, "adapter"), world.path("theirs"));
  assert.match((await refusal("export", world.path("theirs"), world.path("never"))).message, /--llm is needed/);
  await command("export", world.path("theirs"), world.path("merged-theirs"), "--llm", c.base, "--dtype", "f32");
  using ours = Checkpoint.open(world.path("merged-theirs"));
  for (const key of c.info.merged_keys as string[]) {
    const tensor = ours.load(key, here);
    near(await tensor.data(), c.values(`merged.${key}`), 1e-6 * 10, `merged ${key}`);
    tensor.dispose();
  }

  await using plain = await AnyMAL.assemble(world.options({ quantization: "none" }));
  await plain.save(world.path("stage-1"));
  assert.is((await refusal("export", world.path("stage-1"), world.path("never"))).code, "E_CHECKPOINT");
  assert.not(existsSync(world.path("never")));
});

test("one GGUF file is no folder to quantise or to merge into, and that is said before it is loaded", async () => {
  const gguf = join(caseFolder("gguf-llama"), "model.gguf");
  const [lora] = caseNames(/^lora$/) as [string];
  const adapter = world.path("for-gguf");
  copyFolder(join(caseFolder(lora), "adapter"), adapter);
  for (const [args, next] of [
    [["quantize", gguf], /model\.gguf is one file.*folder.*made of/],
    [["export", adapter, "--llm", gguf], /model\.gguf is one file.*folder.*--llm.*--adapter/],
  ] as const) {
    const { code, message } = await refusal(...args, world.path("never-written"));
    assert.is(code, "E_USAGE");
    assert.match(message, next);
  }
  assert.not(existsSync(world.path("never-written")));
  await command("export", adapter, world.path("only-adapter"), "--adapter", "--llm", gguf);
  assert.is(json(world.path("only-adapter"), "adapter_config.json").base_model_name_or_path, gguf);
});

test("help tells how", async () => {
  for (const name of ["inspect", "quantize", "export"]) {
    const { code, out } = await run([name, "--help"]);
    assert.is(code, 0);
    assert.match(out, new RegExp(`Usage: anymal ${name} .*--json.*Example:\\n {2}anymal ${name} `, "s"));
  }
});

const LlamaConfigOf = (folder: string): number => json(folder, "config.json").num_hidden_layers;

test.run();
