// AutoModelForCausalLM: every family from its folder, the face that users of transformers know, and folders that lie about what they hold.
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type AnymalError, AutoModelForCausalLM, backward, noGrad, scope, Tensor } from "../../lib/index.js";
import { QuantizedLinear } from "../../lib/nn/quantized-linear.js";
import { Case, caseNames, here, largest, near } from "../case.js";

const names = caseNames(/^(llama(?!-adapter)|mistral|qwen(?!2-audio)|opt(?!im)|mpt)/);
const [plain] = caseNames(/^llama2$/).map((name) => new Case(name)) as [Case];
const f32 = { device: here, dtype: "f32" } as const;

// First: what the other tests leave to the garbage collector is gone at no certain time.
test("nothing is left behind: models that were used, and models that were refused", async () => {
  const use = async () => {
    await here.synchronize();
    const { bytesInUse, tensors } = here.memory();
    return [bytesInUse, tensors];
  };
  const folder = mkdtempSync(join(tmpdir(), "anymal-auto-"));
  try {
    copyModel(plain.folder, folder);
    writeFileSync(join(folder, "config.json"), JSON.stringify({ ...plain.json(), mlp_bias: true }));
    const before = await use();
    for (let i = 0; i < 2; ++i) {
      const model = await AutoModelForCausalLM.fromPretrained(plain.folder, f32);
      scope(() => void noGrad(() => model.forward({ inputIds: [[5, 6, 7]], labels: [[5, 6, 7]], outputHiddenStates: true })));
      await model.generate({ inputIds: [[5, 6, 7]] }, { maxNewTokens: 4, eosTokenId: [] });
      model.dispose();
      assert.is((await refusal(AutoModelForCausalLM.fromPretrained(folder, f32))).code, "E_STATE");
      assert.equal(await use(), before);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

for (const name of names) {
  const c = new Case(name);
  test(`${name}: logits, loss and hidden states of one forward`, async () => {
    using model = await AutoModelForCausalLM.fromPretrained(c.folder, f32);
    const inputIds = c.rows("in.input_ids.right");
    const attentionMask = c.rows("in.attention_mask.right");
    const labels = c.rows("in.labels.right");
    const { logits, loss, hiddenStates } = noGrad(() => model.forward({ inputIds, attentionMask, labels, outputHiddenStates: true }));
    await c.close("out.right.logits", logits!, { mask: attentionMask });
    await c.close("out.right.loss", loss!);
    assert.is(hiddenStates!.length, model.config.layers + 1);

    using ids = Tensor.from(Int32Array.from(inputIds.flat()), [inputIds.length, inputIds[0]!.length], { device: here });
    const again = noGrad(() => model.forward({ inputIds: ids, attentionMask }));
    assert.equal(await again.logits!.data(), await logits!.data());
    assert.equal(Object.keys(again), ["logits"]);
  });

  const generate = c.info.generate;
  if (!generate) continue;
  test(`${name}: generate, up to the end that generation_config.json names`, async () => {
    using model = await AutoModelForCausalLM.fromPretrained(c.folder, f32);
    for (const { input_ids: inputIds, attention_mask: attentionMask, new_ids, eos_token_id } of [generate.batch_with_eos ?? []].flat()) {
      const ends = [eos_token_id].flat();
      const want = new_ids.map((row: number[]) => row.slice(0, [...row.map((id) => ends.includes(id)), true].indexOf(true)));
      assert.equal(await model.generate({ inputIds, attentionMask }, { maxNewTokens: new_ids[0].length }), want);
    }
    const { prompt, new_ids } = generate.single[0];
    using inputIds = Tensor.from(Int32Array.from(prompt), [1, prompt.length], { device: here });
    const options = { maxNewTokens: new_ids.length, eosTokenId: [] };
    assert.equal(await model.generate({ inputIds }, options), [new_ids]);
    assert.equal(await model.generate({ inputIds: [prompt], ...options }), [new_ids], "all in one argument");
    // A penalty looks at the ids of the prompt, wherever they are.
    const penal = { ...options, repetitionPenalty: 1.7 };
    assert.equal(await model.generate({ inputIds }, penal), await model.generate({ inputIds: [prompt] }, penal));
  });
}

test("options that count in training: no logits beside the loss, the whole window's tokens", async () => {
  using model = await AutoModelForCausalLM.fromPretrained(plain.folder, { ...f32, trainable: true });
  const inputIds = plain.rows("in.input_ids.right");
  const attentionMask = plain.rows("in.attention_mask.right");
  const labels = plain.rows("in.labels.right");
  const scored = labels.flatMap((row) => row.slice(1)).filter((label) => label !== -100).length;
  const loss = async (options: object) => {
    const output = model.forward({ inputIds, attentionMask, labels, logits: false, ...options });
    assert.equal(Object.keys(output), ["loss"]);
    using value = output.loss!;
    return value.item();
  };
  near([await loss({ windowTokens: 2 * scored })], [(await loss({})) / 2], 1e-6, "half of a window");
  const { loss: value } = model.forward({ inputIds, attentionMask, labels, logits: false });
  backward(value!);
  for (const [name, p] of model.namedParameters()) assert.ok(largest(await p.grad!.data()) > 0, `${name} has no gradient`);
  for (const p of model.parameters()) p.grad!.dispose();
  value!.dispose();
});

test("a device by name, and each quantisation by name or as an object", async () => {
  for (const quantization of ["nf4", "fp4", "int8", { format: "nf4", doubleQuant: true, block: 32 }] as const) {
    using model = await AutoModelForCausalLM.fromPretrained(plain.folder, { device: "cpu", dtype: "bf16", quantization });
    const layers = model.modules().filter((module) => module instanceof QuantizedLinear);
    assert.is(layers.length, 7 * model.config.layers);
    assert.is(layers[0]!.weight.format, typeof quantization === "string" ? quantization : quantization.format);
    assert.is(model.dtype, "bf16");
  }
  using model = await AutoModelForCausalLM.fromPretrained(plain.folder, { device: "auto", quantization: "none" });
  assert.not.ok(model.modules().some((module) => module instanceof QuantizedLinear));
});

async function refusal(promise: Promise<unknown>): Promise<AnymalError> {
  return promise.then(
    () => assert.unreachable("it was taken") as never,
    (error) => error,
  );
}

test("options that do not fit, and a folder that is not there", async () => {
  const of = (options: object, folder = plain.folder) => refusal(AutoModelForCausalLM.fromPretrained(folder, options));
  assert.is((await of({ quantization: "nf5" })).code, "E_VALUE");
  assert.is((await of({ quantization: { format: "q4" } })).code, "E_VALUE");
  assert.is((await of({ dtype: "f16" })).code, "E_DTYPE");
  assert.is((await of({ device: "tpu" })).code, "E_DEVICE");
  assert.is((await of({ device: 7 })).code, "E_ARGUMENT");
  assert.is((await of({}, "/nowhere/at/all")).code, "E_HUB_ID");
  assert.is((await refusal(AutoModelForCausalLM.fromPretrained(7 as unknown as string))).code, "E_ARGUMENT");
  const reason = new Error("enough");
  assert.is(await of({ signal: AbortSignal.abort(reason) }), reason);
});

test("a model of the hub by its id, from the cache that Python uses too", async () => {
  const cache = mkdtempSync(join(tmpdir(), "anymal-hub-"));
  const kept = { HF_HUB_CACHE: process.env.HF_HUB_CACHE, HF_HUB_OFFLINE: process.env.HF_HUB_OFFLINE };
  try {
    Object.assign(process.env, { HF_HUB_CACHE: cache, HF_HUB_OFFLINE: "1" });
    const [id, commit] = ["somebody/tiny-llama", "0123456789abcdef0123456789abcdef01234567"];
    const model = join(cache, "models--somebody--tiny-llama");
    mkdirSync(join(model, "refs"), { recursive: true });
    mkdirSync(join(model, "snapshots", commit), { recursive: true });
    writeFileSync(join(model, "refs", "main"), commit);
    copyModel(plain.folder, join(model, "snapshots", commit));
    using llm = await AutoModelForCausalLM.fromPretrained(id, f32);
    assert.is(llm.config.layers, plain.json().num_hidden_layers);
    (await AutoModelForCausalLM.fromPretrained(id, { ...f32, revision: commit })).dispose();
    assert.is((await refusal(AutoModelForCausalLM.fromPretrained(id, { revision: "other" }))).code, "E_HUB_OFFLINE");
    assert.is((await refusal(AutoModelForCausalLM.fromPretrained("somebody/else"))).code, "E_HUB_OFFLINE");
  } finally {
    for (const [name, value] of Object.entries(kept)) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
    rmSync(cache, { recursive: true });
  }
});

test("input that does not fit is refused at the call", async () => {
  using model = await AutoModelForCausalLM.fromPretrained(plain.folder, f32);
  const V = model.config.vocabSize;
  // biome-ignore lint/suspicious/noExplicitAny: what JavaScript may pass
  const code = (input: any) => {
    try {
      model.forward(input);
    } catch (error) {
      assert.match((error as Error).message, /expected .*, got /);
      return (error as AnymalError).code;
    }
    return "taken";
  };
  using mask = Tensor.from(new Int32Array([1, 1]), [1, 2], { device: here });
  assert.is(code({}), "E_ARGUMENT");
  assert.is(code({ inputIds: [1, 2, 3] }), "E_ARGUMENT");
  assert.is(code({ inputIds: "hello" }), "E_ARGUMENT");
  assert.is(code({ inputIds: ["hello"] }), "E_ARGUMENT");
  assert.is(code({ inputIds: [[1, 2], [3]] }), "E_SHAPE");
  for (const id of [-1, V, 1.5, Number.NaN, "3", undefined]) assert.is(code({ inputIds: [[1, id]] }), "E_INDEX", String(id));
  assert.is(code({ inputIds: [[1, 2]], labels: [[1, V]] }), "E_INDEX");
  assert.is(code({ inputIds: [[1, 2]], labels: [[1, 2, 3]] }), "E_SHAPE");
  assert.is(
    code({
      inputIds: [[1, 2]],
      labels: [
        [1, 2],
        [3, 4],
      ],
    }),
    "E_SHAPE",
  );
  assert.is(code({ inputIds: [[1, 2]], positionIds: [[0, 2e9]] }), "E_INDEX");
  assert.is(code({ inputIds: [[1, 2]], labels: mask }), "E_ARGUMENT");
  assert.is(code({ inputIds: [[1, 2]], attentionMask: mask }), "E_ARGUMENT");
  assert.is(
    code({
      inputIds: [[1, 2]],
      attentionMask: [
        [1, 1],
        [1, 1],
      ],
    }),
    "E_SHAPE",
  );
  assert.is(code({ inputIds: [[1, 2]], attentionMask: [[1]] }), "E_MASK");
});

function copyModel(from: string, to: string): void {
  for (const file of readdirSync(from)) if (statSync(join(from, file)).isFile()) copyFileSync(join(from, file), join(to, file));
}

// What config.json claims, where the weights say something else. Each is found before anything is built.
const lies: [string, (json: Record<string, number>) => object, string][] = [
  ["one layer more", ({ num_hidden_layers: n }) => ({ num_hidden_layers: n! + 1 }), "E_CONFIG num_hidden_layers"],
  ["one layer less", ({ num_hidden_layers: n }) => ({ num_hidden_layers: n! - 1 }), "E_CONFIG num_hidden_layers"],
  ["as many layers as may be", () => ({ num_hidden_layers: 4096 }), "E_CONFIG num_hidden_layers"],
  ["a billion layers", () => ({ num_hidden_layers: 1e9 }), "E_CONFIG num_hidden_layers"],
  ["a vocabulary of a billion", () => ({ vocab_size: 1e9 }), "E_CONFIG vocab_size"],
  ["twice the width", ({ hidden_size: n }) => ({ hidden_size: 2 * n! }), "E_CONFIG hidden_size"],
  ["another feed-forward", ({ intermediate_size: n }) => ({ intermediate_size: n! + 8 }), "E_CONFIG intermediate_size"],
  ["twice the heads", ({ num_attention_heads: n }) => ({ num_attention_heads: 2 * n! }), "E_CONFIG num_attention_heads"],
  ["a key/value head each", ({ num_attention_heads: n }) => ({ num_key_value_heads: n }), "E_CONFIG num_key_value_heads"],
  ["biases that are not there", () => ({ attention_bias: true }), "E_STATE"],
  [
    "norms of heads that are not there",
    ({ num_attention_heads: n, hidden_size: d }) => ({ model_type: "qwen3", head_dim: d! / n! }),
    "E_STATE",
  ],
  ["a head that is there after all", () => ({ tie_word_embeddings: true }), ""],
];
for (const [what, change, wanted] of lies) {
  test(`a folder that claims ${what}`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "anymal-auto-"));
    try {
      copyModel(plain.folder, folder);
      const json = plain.json() as Record<string, number>;
      writeFileSync(join(folder, "config.json"), JSON.stringify({ ...json, ...change(json) }));
      const before = process.memoryUsage().rss;
      if (!wanted) return (await AutoModelForCausalLM.fromPretrained(folder, f32)).dispose();
      const error = await refusal(AutoModelForCausalLM.fromPretrained(folder, f32));
      assert.is([error.code, (error as { key?: string }).key].filter(Boolean).join(" "), wanted, error.message);
      assert.ok(process.memoryUsage().rss - before < 64 * 2 ** 20, "memory grew");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}

test.run();
