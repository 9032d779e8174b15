// Models from GGUF files: transformers' logits on the weights that the file holds, and those of the Hugging Face folder it was made from.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { GgufCheckpoint } from "../../lib/io/gguf-checkpoint.js";
import { AutoModelForCausalLM } from "../../lib/models/auto-causal-lm.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { ggufConfig, llamaFromGguf } from "../../lib/models/llama-gguf.js";
import { AutoTokenizer } from "../../lib/text/auto-tokenizer.js";
import { f32, type GgufField, ggufFile, list, text, u32 } from "../../tools/fuzz/gguf-file.js";
import { Case, caseNames, here, largest, near } from "../case.js";

const refused = (code: string, words: RegExp) => (e: { code?: string; message: string }) => e.code === code && words.test(e.message);

for (const name of caseNames(/^gguf-(?!types|tokenizer)/)) {
  const c = new Case(name);
  const path = join(c.folder, "model.gguf");
  const inputIds = c.rows("in.input_ids");

  test(`${name}: logits`, async () => {
    using model = llamaFromGguf(path, { device: here, dtype: "f32" });
    using logits = model.forward({ inputIds }).logits!;
    await c.close("out.logits", logits);
    assert.equal(model.config.eosTokenIds, c.info.eos_token_ids);
  });

  if (c.info.folder)
    test(`${name}: the very weights of the folder that it was made from, and its logits`, async () => {
      using own = llamaFromGguf(path, { device: here });
      using theirs = LlamaForCausalLM.fromPretrained(c.folder, { device: here, dtype: "f32" });
      assert.is(own.dtype, "f32");
      const weights = new Map(theirs.namedParameters());
      const held = [...own.namedParameters()];
      assert.is(held.length, weights.size);
      for (const [weight, tensor] of held) assert.equal(await tensor.data(), await weights.get(weight)!.data(), weight);
      using a = own.forward({ inputIds }).logits!;
      using b = theirs.forward({ inputIds }).logits!;
      const [got, want] = [await a.data(), await b.data()];
      // Llama 3's frequencies come as divisors rounded to f32 from a GGUF file, and as a formula from config.json.
      near(got, want, own.config.ropeScaling.type === "factors" ? c.atol("out.logits") : 0, name);
    });

  test(`${name}: quantised while it is loaded, as from dense weights`, async () => {
    for (const format of ["nf4", "int8"] as const) {
      using model = llamaFromGguf(path, { device: here, dtype: "f32", quantization: { format } });
      using logits = model.forward({ inputIds }).logits!;
      const want = Array.from(c.values("out.logits"));
      const got = Array.from(await logits.data());
      const off = Math.sqrt(got.reduce((sum, x, i) => sum + (x - want[i]!) ** 2, 0) / want.reduce((sum, x) => sum + x ** 2, 0));
      assert.ok(off > 0 && off < (format === "nf4" ? 0.5 : 0.1), `${format}: ${off}`);
    }
  });
}

test("by its path, as a folder: model and tokenizer", async () => {
  const c = new Case("gguf-llama");
  const path = join(c.folder, "model.gguf");
  using model = await AutoModelForCausalLM.fromPretrained(path, { device: "cpu", quantization: "none" });
  using logits = model.forward({ inputIds: c.rows("in.input_ids") }).logits!;
  await c.close("out.logits", logits);
  const tokenizer = await AutoTokenizer.fromPretrained(path);
  const [row] = await model.generate({ inputIds: [tokenizer.encode("The quick")] }, { maxNewTokens: 4 });
  assert.ok(row!.length > 0 && row!.every((id) => id < tokenizer.vocabSize));
});

test("a file with narrow weights computes in bf16 unless told otherwise", async () => {
  const c = new Case("gguf-mixed");
  using model = llamaFromGguf(join(c.folder, "model.gguf"), { device: here });
  assert.is(model.dtype, "bf16");
  using logits = model.forward({ inputIds: c.rows("in.input_ids") }).logits!;
  const [got, want] = [await logits.data(), c.values("out.logits")];
  const size = (values: Iterable<number>) => Math.sqrt(Array.from(values).reduce((sum, v) => sum + v * v, 0));
  const off = size(Array.from(got, (v, i) => v - want[i]!)) / size(want);
  assert.ok(off > 0 && off < 0.05, `off by ${off} of the whole`);
  near(got, want, 0.1 * largest(want), "bf16");
});

test("what was widened for a row order of llama.cpp goes once the rows are in order", async () => {
  const { tensors } = here.memory();
  const model = llamaFromGguf(join(new Case("gguf-mixed").folder, "model.gguf"), { device: here });
  assert.is(here.memory().tensors - tensors, model.parameters().length);
  model.dispose();
  assert.is(here.memory().tensors, tensors);
});

test("keys that do not fit the weights, and models of other kinds", () => {
  const folder = mkdtempSync(join(tmpdir(), "anymal-gguf-"));
  try {
    const c = new Case("gguf-llama");
    using source = new GgufCheckpoint(join(c.folder, "model.gguf"));
    const { layers, hiddenSize, heads, ...own } = ggufConfig(source);
    const keys: [string, GgufField][] = [
      ["general.architecture", text("llama")],
      ["llama.block_count", u32(layers)],
      ["llama.context_length", u32(own.maxPositions)],
      ["llama.embedding_length", u32(hiddenSize)],
      ["llama.feed_forward_length", u32(own.intermediateSize)],
      ["llama.attention.head_count", u32(heads)],
      ["llama.attention.head_count_kv", u32(own.kvHeads)],
      ["llama.attention.layer_norm_rms_epsilon", f32(1e-5)],
    ];
    const tensors = [...source.file.tensors].map(([name, { shape }]) => ({
      name,
      type: 0,
      sizes: [...shape].reverse(),
      data: new Uint8Array(source.file.bytes(name)),
    }));
    const path = join(folder, "model.gguf");
    const open = (changes: Record<string, GgufField | undefined>, without = /^$/) => {
      const values = new Map<string, GgufField | undefined>([...keys, ...Object.entries(changes)]);
      const held = [...values].filter((entry): entry is [string, GgufField] => entry[1] !== undefined);
      writeFileSync(path, ggufFile({ values: held, tensors: tensors.filter(({ name }) => !without.test(name)) }).bytes);
      llamaFromGguf(path, { device: here }).dispose();
    };
    open({});
    // A last layer of another size is found when the others are built.
    const changed = tensors.map((tensor) =>
      tensor.name === `blk.${layers - 1}.ffn_down.weight` ? { ...tensor, sizes: [...tensor.sizes].reverse() } : tensor,
    );
    writeFileSync(path, ggufFile({ values: keys, tensors: changed }).bytes);
    const before = here.memory().tensors;
    for (const options of [{}, { trainable: true }, { quantization: { format: "nf4", doubleQuant: true } }, { dtype: "bf16" }] as const) {
      assert.throws(
        () => llamaFromGguf(path, { device: here, ...options }),
        refused("E_STATE", new RegExp(`layers\\.${layers - 1}\\.mlp\\.down_proj`)),
      );
      assert.is(here.memory().tensors, before, "what was built before the failure is gone");
    }
    const wrong: [Record<string, GgufField | undefined>, string, RegExp][] = [
      [{ "general.architecture": text("gpt2") }, "E_GGUF", /gpt2/],
      [{ "general.architecture": u32(1) }, "E_GGUF", /general.architecture/],
      [{ "general.architecture": undefined }, "E_GGUF", /general.architecture/],
      [{ "llama.expert_count": u32(8) }, "E_GGUF", /experts/],
      [{ "split.count": { type: 2, value: 3 } }, "E_GGUF", /llama-gguf-split --merge/],
      [{ "llama.block_count": u32(layers + 1) }, "E_GGUF", /num_hidden_layers/],
      [{ "llama.block_count": u32(2 ** 32 - 1) }, "E_GGUF", /num_hidden_layers/],
      [{ "llama.embedding_length": u32(2 * hiddenSize) }, "E_GGUF", /hidden_size|rope_freqs/],
      [{ "llama.attention.head_count": u32(0) }, "E_GGUF", /num_attention_heads/],
      [{ "llama.attention.head_count": list(5, Array(layers).fill(heads)) }, "E_GGUF", /num_attention_heads/],
      [{ "llama.attention.head_count_kv": u32(heads + 1) }, "E_GGUF", /num_key_value_heads/],
      [{ "llama.rope.dimension_count": u32(4) }, "E_GGUF", /RoPE/],
      [{ "llama.rope.freq_base": f32(Number.NaN) }, "E_GGUF", /rope_theta/],
      [{ "llama.rope.scaling.type": text("linear"), "llama.rope.scaling.factor": f32(2) }, "E_GGUF", /rope_freqs/],
      [{ "llama.attention.layer_norm_rms_epsilon": undefined }, "E_GGUF", /layer_norm_rms_epsilon/],
    ];
    for (const [changes, code, words] of wrong)
      assert.throws(() => open(changes), refused(code, words), JSON.stringify(Object.keys(changes)));
    assert.throws(() => open({}, /blk\.1\.ffn_up/), refused("E_STATE", /up_proj/));
    assert.throws(() => open({}, /token_embd/), refused("E_GGUF", /vocab_size/));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("numbers of 32 bits are read as the decimals that they were rounded from", () => {
  const folder = mkdtempSync(join(tmpdir(), "anymal-gguf-"));
  try {
    for (const name of caseNames(/^gguf-(?!types|tokenizer)/)) {
      using checkpoint = new GgufCheckpoint(join(new Case(name).folder, "model.gguf"));
      const { rmsNormEps, ropeTheta } = ggufConfig(checkpoint);
      for (const value of [rmsNormEps, ropeTheta]) assert.ok(String(value).length < 9, `${name}: ${value}`);
    }
    // A file of another kind under the name.
    writeFileSync(join(folder, "x.gguf"), readFileSync(new URL(import.meta.url)));
    assert.throws(() => llamaFromGguf(join(folder, "x.gguf"), { device: here }), refused("E_GGUF", /GGUF/));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
