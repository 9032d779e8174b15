// Quantised models saved: a checkpoint of bitsandbytes comes back byte for byte, and what is quantised here loads again as the same numbers.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { noGrad } from "../../lib/core/autograd.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { saveModel } from "../../lib/io/model-folder.js";
import { SafetensorsFile } from "../../lib/io/safetensors.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { pythonFloat } from "../../lib/nn/bitsandbytes.js";
import { QuantizedWeight } from "../../lib/nn/quantized-weight.js";
import { caseFolder, caseNames, copyFolder, here } from "../case.js";
import { some } from "../some.js";

const test = suite("saving quantised models");
let folder = "";
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), "anymal-quantised-"));
});
test.after.each(() => rmSync(folder, { recursive: true, force: true }));

const bytes = (...path: string[]) => readFileSync(join(...path));
const json = (...path: string[]) => JSON.parse(readFileSync(join(...path), "utf8"));

for (const name of caseNames(/^quant_llama/)) {
  const from = caseFolder(name);

  test(`${name}: the file that bitsandbytes wrote, byte for byte`, async () => {
    using model = LlamaForCausalLM.fromPretrained(from, { device: here });
    await saveModel(folder, model, json(from, "config.json"));
    using theirs = Checkpoint.open(from);
    using ours = Checkpoint.open(folder);
    assert.equal([...ours.names()].sort(), [...theirs.names()].sort());
    for (const key of some(theirs.names())) {
      const [a, b] = [ours.entry(key), theirs.entry(key)];
      assert.equal([a.dtype, a.shape], [b.dtype, b.shape], key);
      assert.equal(new Uint8Array(ours.bytes(key)), new Uint8Array(theirs.bytes(key)), key);
    }
    if (readdirSync(from).includes("model.safetensors"))
      assert.ok(bytes(folder, "model.safetensors").equals(bytes(from, "model.safetensors")), "header and order too");
    assert.equal(json(folder, "config.json"), json(from, "config.json"));
  });

  test(`${name}: quantization_config of a model that was none before is the one that transformers writes`, async () => {
    using model = LlamaForCausalLM.fromPretrained(from, { device: here });
    const { quantization_config: wanted, ...plain } = json(from, "config.json");
    await saveModel(folder, model, plain);
    const got = json(folder, "config.json").quantization_config;
    assert.equal(Object.keys(got).sort(), Object.keys(wanted).sort());
    assert.equal(got, wanted);
  });
}

const [base] = caseNames(/^llama3$/) as [string];
const inputIds = [Array.from({ length: 9 }, (_, i) => 3 + 5 * i)];
for (const quantization of [
  { format: "nf4" },
  { format: "nf4", doubleQuant: true },
  { format: "fp4", block: 128 },
  { format: "fp4", doubleQuant: true },
  { format: "int8" },
] as const) {
  test(`${JSON.stringify(quantization)}: saved in shards and loaded again, the logits are the same bits`, async () => {
    const from = caseFolder(base);
    using model = LlamaForCausalLM.fromPretrained(from, { device: here, quantization });
    const before = await noGrad(() => model.forward({ inputIds })).logits!.data();
    await saveModel(folder, model, json(from, "config.json"), { maxShardBytes: 20_000 });
    const files = readdirSync(folder).filter((file) => file.endsWith(".safetensors"));
    assert.ok(files.length > 2, `shards: ${files}`);
    for (const file of files) {
      using shard = new SafetensorsFile(join(folder, file));
      const sizes = Array.from(shard.entries.values(), ({ bytes: size }) => size);
      const total = sizes.reduce((a, b) => a + b, 0);
      const layers = new Set(Array.from(shard.entries.keys(), (key) => key.replace(/\.(weight|SCB|bias).*$/, "")));
      assert.ok(total <= 20_000 || layers.size === 1, `${file} holds ${total} bytes of ${[...layers]}`);
    }
    const { metadata, weight_map } = json(folder, "model.safetensors.index.json");
    using stored = Checkpoint.open(folder);
    const names = [...stored.names()];
    assert.is(names.length, Object.keys(weight_map).length);
    assert.is(
      metadata.total_size,
      names.reduce((sum, key) => sum + stored.entry(key).bytes, 0),
    );
    // A layer's codes and scales lie together: some readers look no further than the shard.
    for (const key of some(names.filter((one) => /\.(weight\.absmax|SCB)$/.test(one))))
      assert.is(weight_map[key], weight_map[key.replace(/(\.weight)?\.(absmax|SCB)$/, ".weight")], key);
    using again = LlamaForCausalLM.fromPretrained(folder, { device: here });
    const weights = again.modules().flatMap((part) => ("weight" in part && part.weight instanceof QuantizedWeight ? [part.weight] : []));
    assert.is(weights.length, 7 * again.config.layers);
    const { format, doubleQuant = false, block = 64 } = { block: 64, doubleQuant: false, ...quantization };
    for (const weight of weights)
      assert.equal([weight.format, weight.nestedAbsmax !== undefined, weight.block], [format, doubleQuant, format === "int8" ? 0 : block]);
    assert.equal(await noGrad(() => again.forward({ inputIds })).logits!.data(), before);

    await saveModel(folder, again, json(folder, "config.json"));
    const left = readdirSync(folder).sort();
    assert.equal(left, ["config.json", "model.safetensors"], "shards and index of the older model are gone");
    using single = LlamaForCausalLM.fromPretrained(folder, { device: here });
    assert.equal(await noGrad(() => single.forward({ inputIds })).logits!.data(), before);
  });
}

test("a stale quantization_config does not survive a model in full precision", async () => {
  const from = caseFolder(base);
  using model = LlamaForCausalLM.fromPretrained(from, { device: here });
  await saveModel(folder, model, {
    ...json(from, "config.json"),
    quantization_config: { quant_method: "bitsandbytes", load_in_4bit: true },
  });
  assert.is(json(folder, "config.json").quantization_config, undefined);
});

test("a save that fails leaves the older model as it was, and nothing else", async () => {
  const from = caseFolder(base);
  using model = LlamaForCausalLM.fromPretrained(from, { device: here });
  await saveModel(folder, model, json(from, "config.json"));
  const before = bytes(folder, "model.safetensors");
  const broken = {
    namedParameters: () => model.namedParameters(),
    namedModules: () => model.namedModules(),
    *hostState(): Generator<[string, { dtype: "F32"; shape: number[]; read(): Promise<Float32Array> }]> {
      yield ["late", { dtype: "F32", shape: [2], read: async () => new Float32Array(3) }];
    },
  };
  await saveModel(folder, broken, json(from, "config.json"), { maxShardBytes: 20_000 }).then(
    () => assert.unreachable("a tensor of another size than planned"),
    (error) => assert.is(error.code, "E_SAFETENSORS"),
  );
  assert.equal(readdirSync(folder).sort(), ["config.json", "model.safetensors"]);
  assert.ok(bytes(folder, "model.safetensors").equals(before));
  await saveModel(folder, model, {}, { maxShardBytes: 0 }).then(
    () => assert.unreachable(),
    (error) => assert.is(error.code, "E_VALUE"),
  );
});

test("a quant_state that lies is refused by name", async () => {
  const [name] = caseNames(/^quant_llama_nf4$/) as [string];
  const from = caseFolder(name);
  // The checkpoint may be in shards.
  const files = readdirSync(from).filter((file) => /^model.*\.safetensors$/.test(file));
  const lies: [RegExp, (digits: string) => string][] = [
    [/(?<="blocksize": )\d+/, (digits) => "-4".padEnd(digits.length)],
    [/(?<="blocksize": )\d+/, (digits) => "0".padEnd(digits.length)],
    [/\{(?="quant_type")/, () => "["],
  ];
  copyFolder(from, folder, (path) => !basename(path).startsWith("expected"));
  LlamaForCausalLM.fromPretrained(folder, { device: here }).dispose();
  for (const [what, lie] of lies) {
    const lying = files.filter((file) => {
      const text = bytes(from, file).toString("latin1");
      writeFileSync(join(folder, file), Buffer.from(text.replace(what, lie), "latin1"));
      return what.test(text);
    });
    assert.ok(lying.length, `${what} in ${files}`);
    assert.throws(
      () => LlamaForCausalLM.fromPretrained(folder, { device: here }),
      (e: { code?: string }) => e.code === "E_STATE",
      String(what),
    );
  }
});

test("floats as Python writes them", () => {
  const python: [number, string][] = [
    [0.476837158203125, "0.476837158203125"],
    [0, "0.0"],
    [1, "1.0"],
    [-3, "-3.0"],
    [0.0001, "0.0001"],
    [0.00001, "1e-05"],
    [1.5e-7, "1.5e-07"],
    [1e16, "1e+16"],
    [123456789012345680, "1.2345678901234568e+17"],
    [1e15, "1000000000000000.0"],
    [1e-100, "1e-100"],
  ];
  for (const [value, text] of python) assert.is(pythonFloat(value), text);
});

test.run();
