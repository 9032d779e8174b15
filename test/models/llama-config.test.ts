// config.json of LLaMA's family: what absent keys mean, both spellings, RoPE scalings, and claims that no model can keep.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ConfigError, readConfig, storedDType } from "../../lib/models/config.js";
import { parseLlamaConfig, readLlamaConfig } from "../../lib/models/llama-config.js";
import { inverseFrequencies } from "../../lib/nn/rope.js";
import { attentionFactorOf } from "../../lib/nn/rope-frequencies.js";
import { Case, caseNames, near } from "../case.js";

const least = {
  model_type: "llama",
  vocab_size: 100,
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 3,
  num_attention_heads: 4,
};
const parse = (changes: object) => parseLlamaConfig({ ...least, ...changes });

for (const name of caseNames(/^(llama(?!-adapter)|mistral|qwen(?!2-audio))/)) {
  const c = new Case(name);
  test(`${name}: the frequencies that transformers rotates by`, () => {
    if (!c.has("ref.rope_inv_freq")) return;
    const { headDim, ropeTheta, ropeScaling } = readLlamaConfig(c.folder);
    // Of dynamic scaling the reference keeps those of the longest sequence that it has seen.
    const longest = Math.max(0, ...["in.long.input_ids", "in.input_ids.right"].map((key) => (c.has(key) ? c.shape(key)[1]! : 0)));
    const got = inverseFrequencies({ headDim, theta: ropeTheta, scaling: ropeScaling }, longest);
    const want = c.values("ref.rope_inv_freq");
    for (const [i, w] of got.entries()) near([w], [want[i]!], 4e-7 * Math.abs(want[i]!), `${name}: pair ${i}`);
    assert.is(got.length, want.length);
    const { rope_attention_scaling: factor = 1 } = c.info;
    near([attentionFactorOf(ropeScaling)], [factor], 1e-12, `${name}: attention factor`);
  });
}

test("both spellings of config.json say the same", () => {
  const rope = { factor: 4, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 16 };
  for (const parameters of [
    { rope_type: "linear", factor: 2 },
    { rope_type: "dynamic", factor: 2 },
    { rope_type: "llama3", ...rope },
    { rope_type: "yarn", factor: 4, original_max_position_embeddings: 16, mscale: 1.1, mscale_all_dim: 0.9, truncate: false },
  ]) {
    const { rope_type: type, ...rest } = parameters;
    const new5 = parse({ rope_parameters: { ...parameters, rope_theta: 5e4 } });
    assert.equal(parse({ rope_theta: 5e4, rope_scaling: parameters }), new5);
    assert.equal(parse({ rope_theta: 5e4, rope_scaling: { type, ...rest } }), new5, "the oldest files say `type`");
    assert.equal(parse({ rope_theta: 5e4, rope_parameters: parameters, rope_scaling: null }), new5, "theta beside the parameters");
    assert.is(new5.ropeScaling.type, type);
    assert.is(new5.ropeTheta, 5e4);
  }
  assert.equal(parse({ rope_scaling: {} }), parse({}));
  assert.equal(parse({ head_dim: null, num_key_value_heads: null, rope_scaling: null }), parse({}));
});

// What the hub's own config.json say of the shape, without the keys that nothing reads.
// biome-ignore format: a table
const hub: Record<string, [object, object]> = {
  "Llama-2-7b-hf": [
    { model_type: "llama", hidden_size: 4096, intermediate_size: 11008, num_hidden_layers: 32, num_attention_heads: 32, num_key_value_heads: 32,
      max_position_embeddings: 4096, rope_scaling: null, torch_dtype: "float16", vocab_size: 32000, bos_token_id: 1, eos_token_id: 2 },
    { kvHeads: 32, headDim: 128, ropeTheta: 10000, eosTokenIds: [2] },
  ],
  "Llama-3.1-8B-Instruct": [
    { model_type: "llama", hidden_size: 4096, intermediate_size: 14336, num_hidden_layers: 32, num_attention_heads: 32, num_key_value_heads: 8,
      max_position_embeddings: 131072, rope_theta: 500000, vocab_size: 128256, eos_token_id: [128001, 128008, 128009],
      rope_scaling: { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192, rope_type: "llama3" } },
    { maxPositions: 131072, eosTokenIds: [128001, 128008, 128009],
      ropeScaling: { type: "llama3", factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 8192 } },
  ],
  "vicuna-7b-v1.5-16k": [
    { model_type: "llama", hidden_size: 4096, intermediate_size: 11008, num_hidden_layers: 32, num_attention_heads: 32, vocab_size: 32000,
      max_position_embeddings: 4096, max_sequence_length: 16384, rope_scaling: { factor: 4, type: "linear" }, pad_token_id: 0 },
    { kvHeads: 32, maxPositions: 16384, ropeScaling: { type: "linear", factor: 4 }, padTokenId: 0 },
  ],
  "SmolLM2-135M": [
    { model_type: "llama", is_llama_config: true, rope_interleaved: false, hidden_size: 576, intermediate_size: 1536, num_hidden_layers: 30,
      num_attention_heads: 9, num_key_value_heads: 3, max_position_embeddings: 8192, rope_theta: 100000, tie_word_embeddings: true,
      vocab_size: 49152, bos_token_id: 0, eos_token_id: 0 },
    { headDim: 64, tieWordEmbeddings: true, eosTokenIds: [0] },
  ],
  "Mistral-7B-v0.1": [
    { model_type: "mistral", hidden_size: 4096, intermediate_size: 14336, num_hidden_layers: 32, num_attention_heads: 32, num_key_value_heads: 8,
      max_position_embeddings: 32768, sliding_window: 4096, rope_theta: 10000, vocab_size: 32000 },
    { slidingWindow: 4096, slidingLayers: undefined, headDim: 128 },
  ],
  "Qwen2.5-7B-Instruct": [
    { model_type: "qwen2", hidden_size: 3584, intermediate_size: 18944, num_hidden_layers: 28, num_attention_heads: 28, num_key_value_heads: 4,
      max_position_embeddings: 32768, max_window_layers: 28, sliding_window: 131072, use_sliding_window: false, rope_theta: 1000000,
      vocab_size: 152064, bos_token_id: 151643, eos_token_id: 151645 },
    { qkvBias: true, outputBias: false, slidingWindow: 0, headDim: 128 },
  ],
  "Qwen3-0.6B": [
    { model_type: "qwen3", attention_bias: false, head_dim: 128, hidden_size: 1024, intermediate_size: 3072, num_hidden_layers: 28,
      num_attention_heads: 16, num_key_value_heads: 8, max_position_embeddings: 40960, max_window_layers: 28, sliding_window: null,
      use_sliding_window: false, rope_scaling: null, rope_theta: 1000000, tie_word_embeddings: true, vocab_size: 151936 },
    { headDim: 128, headNorm: true, qkvBias: false, slidingWindow: 0 },
  ],
};
for (const [name, [json, wanted]] of Object.entries(hub)) {
  test(`${name}, as the hub has it`, () => {
    const config = parseLlamaConfig(json as Record<string, unknown>) as unknown as Record<string, unknown>;
    for (const [key, value] of Object.entries(wanted)) assert.equal(config[key], value, key);
  });
}

test("an absent key means what it means to transformers", () => {
  const llama = parse({});
  assert.is(llama.kvHeads, 4);
  assert.is(llama.headDim, 16);
  assert.is(llama.maxPositions, 2048);
  assert.is(llama.rmsNormEps, 1e-6);
  assert.equal(llama.eosTokenIds, [2]);
  assert.equal(parse({ eos_token_id: null }).eosTokenIds, []);
  const mistral = parse({ model_type: "mistral", num_attention_heads: 16 });
  assert.is(mistral.kvHeads, 8);
  assert.is(mistral.slidingWindow, 4096);
  assert.is(parse({ model_type: "mistral", num_key_value_heads: null, sliding_window: null }).slidingWindow, 0);
  const qwen3 = parse({ model_type: "qwen3", num_key_value_heads: 2 });
  assert.is(qwen3.headDim, 128);
  assert.ok(qwen3.headNorm);
});

test("biases as each family has them", () => {
  const of = (model_type: string) => {
    const { qkvBias, outputBias, mlpBias } = parse({ model_type, num_key_value_heads: 4, attention_bias: true, mlp_bias: true });
    return [qkvBias, outputBias, mlpBias];
  };
  assert.equal(of("llama"), [true, true, true]);
  assert.equal(of("mistral"), [false, false, false]);
  assert.equal(of("qwen2"), [true, false, false]);
  assert.equal(of("qwen3"), [true, true, false]);
});

test("Qwen's windows: switched off, from a layer on, or by layer", () => {
  const qwen = (changes: object) => parse({ model_type: "qwen2", num_key_value_heads: 4, sliding_window: 7, ...changes });
  assert.is(qwen({}).slidingWindow, 0);
  assert.is(qwen({ use_sliding_window: true }).slidingWindow, 0, "max_window_layers is 28 unless it is said");
  const some = qwen({ use_sliding_window: true, max_window_layers: 1 });
  assert.is(some.slidingWindow, 7);
  assert.equal(some.slidingLayers, [false, true, true]);
  const types = ["sliding_attention", "full_attention", "sliding_attention"];
  assert.equal(qwen({ use_sliding_window: true, layer_types: types }).slidingLayers, [true, false, true]);
});

test("how far a scaling stretches the context", () => {
  const at = (rope_scaling: object) => parse({ max_position_embeddings: 1000, rope_scaling }).maxPositions;
  assert.is(at({ rope_type: "linear", factor: 4 }), 4000);
  assert.is(at({ rope_type: "dynamic", factor: 2 }), 2000);
  assert.is(at({ rope_type: "yarn", factor: 4, original_max_position_embeddings: 1000 }), 4000);
  assert.is(at({ rope_type: "yarn", factor: 4, original_max_position_embeddings: 250 }), 1000);
});

// biome-ignore format: a table
const refused: [string, object, string][] = [
  ["no heads", { num_attention_heads: 0 }, "num_attention_heads"],
  ["a negative width", { hidden_size: -64 }, "hidden_size"],
  ["heads that do not divide the width", { num_attention_heads: 5, head_dim: 16 }, "num_attention_heads"],
  ["key/value heads that do not divide the heads", { num_key_value_heads: 3 }, "num_key_value_heads"],
  ["a billion layers", { num_hidden_layers: 1e9 }, "num_hidden_layers"],
  ["half a layer", { num_hidden_layers: 2.5 }, "num_hidden_layers"],
  ["no number", { intermediate_size: Number.NaN }, "intermediate_size"],
  ["an infinite number", { rms_norm_eps: Infinity }, "rms_norm_eps"],
  ["a string for a number", { vocab_size: "32000" }, "vocab_size"],
  ["a list for a number", { hidden_size: [64] }, "hidden_size"],
  ["a vocabulary beyond any index", { vocab_size: 1e12 }, "vocab_size"],
  ["an odd head", { head_dim: 15 }, "head_dim"],
  ["a head of a billion", { head_dim: 1e9 }, "head_dim"],
  ["no vocabulary", { vocab_size: undefined }, "vocab_size"],
  ["no layers named", { num_hidden_layers: null }, "num_hidden_layers"],
  ["a string for a switch", { tie_word_embeddings: "true" }, "tie_word_embeddings"],
  ["another activation", { hidden_act: "mish" }, "hidden_act"],
  ["another family", { model_type: "gpt2" }, "model_type"],
  ["a family of JavaScript's own", { model_type: "constructor" }, "model_type"],
  ["a family that is no string", { model_type: ["llama"] }, "model_type"],
  ["interleaved rotation", { rope_interleaved: true }, "rope_interleaved"],
  ["no epsilon", { rms_norm_eps: 0 }, "rms_norm_eps"],
  ["no base", { rope_theta: 0 }, "rope_theta"],
  ["a part of each head rotated", { partial_rotary_factor: 0.5 }, "partial_rotary_factor"],
  ["the same in rope_parameters", { rope_parameters: { partial_rotary_factor: 0.25 } }, "partial_rotary_factor"],
  ["LongRoPE", { rope_scaling: { type: "longrope", short_factor: [1], long_factor: [2] } }, "rope_type"],
  ["an unknown scaling", { rope_scaling: { rope_type: "mrope" } }, "rope_type"],
  ["a scaling that is no object", { rope_scaling: "linear" }, "rope_scaling"],
  ["a scaling by layer", { rope_parameters: { full_attention: { rope_type: "default" } } }, "rope_parameters"],
  ["a scaling without a factor", { rope_scaling: { rope_type: "dynamic" } }, "factor"],
  ["yarn without a factor", { rope_scaling: { rope_type: "yarn" } }, "factor"],
  ["a factor of 0", { rope_scaling: { rope_type: "linear", factor: 0 } }, "factor"],
  ["a negative attention factor", { rope_scaling: { rope_type: "yarn", factor: 2, attention_factor: -1 } }, "attention_factor"],
  ["an original context of 0", { rope_scaling: { rope_type: "yarn", factor: 2, original_max_position_embeddings: 0 } }, "original_max_position_embeddings"],
  ["dynamic scaling of heads of 2", { head_dim: 2, rope_scaling: { rope_type: "dynamic", factor: 2 } }, "head_dim"],
  ["a window of 0", { model_type: "mistral", num_key_value_heads: 4, sliding_window: 0 }, "sliding_window"],
  ["kinds of layers for other layers", { model_type: "qwen3", num_key_value_heads: 4, use_sliding_window: true, layer_types: ["full_attention"] }, "layer_types"],
  ["an unknown kind of layer", { model_type: "qwen3", num_key_value_heads: 4, use_sliding_window: true, layer_types: ["a", "b", "c"] }, "layer_types"],
];
for (const [what, changes, key] of refused) {
  test(`refused by its key, with what to do: ${what}`, () => {
    try {
      parse(changes);
    } catch (error) {
      assert.instance(error, ConfigError);
      const { code, message, key: named } = error as ConfigError;
      assert.is(code, "E_CONFIG");
      assert.is(named, key);
      assert.match(message, /expected .*, got .*; ./);
      return;
    }
    assert.unreachable(`${what} was taken`);
  });
}

test("a config.json that is no file of JSON, is not one object, or is far too large", () => {
  const folder = mkdtempSync(join(tmpdir(), "anymal-config-"));
  try {
    for (const text of [
      "",
      "{",
      "[]",
      "null",
      '"llama"',
      "NaN",
      `{"a": Nan}`,
      `{"a": ${"[".repeat(200_000)}${"]".repeat(200_000)}`,
      " ".repeat(17 * 2 ** 20),
    ]) {
      writeFileSync(join(folder, "config.json"), text);
      assert.throws(
        () => readConfig(folder),
        (error: ConfigError) => error.code === "E_CONFIG" && error.message.length < 1000,
      );
    }
    writeFileSync(join(folder, "config.json"), JSON.stringify({ ...least, hidden_size: "x".repeat(10_000) }));
    assert.throws(
      () => readLlamaConfig(folder),
      (error: ConfigError) => error.key === "hidden_size" && error.message.length < 1000,
    );
    rmSync(join(folder, "config.json"));
    assert.throws(
      () => readConfig(folder),
      (error: ConfigError) => error.code === "E_CONFIG",
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("generation_config.json says after which tokens generation ends", () => {
  const folder = mkdtempSync(join(tmpdir(), "anymal-config-"));
  try {
    writeFileSync(join(folder, "config.json"), JSON.stringify({ ...least, eos_token_id: 5 }));
    assert.equal(readLlamaConfig(folder).eosTokenIds, [5]);
    writeFileSync(join(folder, "generation_config.json"), JSON.stringify({ eos_token_id: [7, 8] }));
    assert.equal(readLlamaConfig(folder).eosTokenIds, [7, 8]);
    writeFileSync(join(folder, "generation_config.json"), JSON.stringify({ temperature: 0.6 }));
    assert.equal(readLlamaConfig(folder).eosTokenIds, [5]);
    for (const wrong of ["evil", [1, "2"], [[1]], {}, 0.5, Array(5000).fill(1)]) {
      writeFileSync(join(folder, "generation_config.json"), JSON.stringify({ eos_token_id: wrong }));
      assert.throws(() => readLlamaConfig(folder), /eos_token_id/);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("the type that weights are stored in: PyTorch's names, and no other is taken for half precision", () => {
  for (const name of ["float32", "torch.float32", "float", "float64"]) assert.is(storedDType({ torch_dtype: name }), "f32", name);
  for (const name of ["float16", "torch.bfloat16", "half", "float8_e4m3fn"]) assert.is(storedDType({ dtype: name }), "bf16", name);
  assert.is(storedDType({}), "f32");
  assert.is(storedDType({ dtype: null, torch_dtype: "bfloat16" }), "bf16");
  for (const name of ["evil", "", "constructor", "torch.", 32, ["float32"], {}]) assert.throws(() => storedDType({ dtype: name }), /dtype/);
});

test.run();
