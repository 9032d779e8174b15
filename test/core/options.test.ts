// An option that nobody knows is refused at every public door, with the name that was probably meant.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { nearest } from "../../lib/core/checks.js";
import { checkOptions } from "../../lib/core/options.js";
import { AnyMAL, AutoEncoder, AutoModelForCausalLM, LoraAdapter, Tensor } from "../../lib/index.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { AdamW } from "../../lib/train/optimizer.js";
import { Case, caseNames, here } from "../case.js";

const [plain] = caseNames(/^llama2$/).map((name) => new Case(name)) as [Case];
// biome-ignore lint/suspicious/noExplicitAny: what JavaScript passes
type Any = any;

async function refused(run: () => unknown, code: string, pattern: RegExp): Promise<void> {
  const error = await Promise.resolve()
    .then(run)
    .then(
      () => undefined,
      (e) => e,
    );
  assert.is(error?.code, code, `${pattern}: ${error?.message}`);
  assert.match(error.message, pattern);
}

test("nearest names, and keys that hold undefined", () => {
  assert.is(nearest("max_new_token", ["maxNewTokens", "minNewTokens"]), "maxNewTokens");
  assert.is(nearest("xyz", ["maxNewTokens"]), undefined);
  checkOptions("f", { a: 1, zzz: undefined }, ["a"]);
  assert.throws(() => checkOptions("f", { zzz: null }, ["a", "b"]), /known are a, b/);
});

test("generation", async () => {
  using llm = LlamaForCausalLM.fromPretrained(plain.folder, { device: here });
  const ask = (options: Any) => llm.generate({ inputIds: [[1, 2]] }, options);
  await refused(() => ask({ max_new_tokens: 3 }), "E_GENERATION", /"max_new_tokens".*"maxNewTokens"/);
  await refused(() => ask({ maxnewtokens: 3 }), "E_GENERATION", /"maxNewTokens"/);
  await refused(() => ask({ top_k: 3 }), "E_GENERATION", /"topK"/);
  await refused(() => ask({ num_beams: 3 }), "E_GENERATION", /"numBeams"/);
  await refused(() => ask({ numBeamGroups: 3 }), "E_GENERATION", /take numBeams/);
  await refused(() => ask({ do_sample: true }), "E_GENERATION", /temperature/);
  await refused(() => ask({ stop: "x" }), "E_GENERATION", /eosTokenId/);
  await refused(() => llm.generate({ inputIds: [[1, 2]], repetition_penalty: 2 } as Any), "E_GENERATION", /"repetitionPenalty"/);
  await refused(() => llm.forward({ inputIds: [[1]], attention_mask: [[1]] } as Any), "E_VALUE", /"attentionMask"/);
  await refused(() => llm.forward({ inputIds: [[1]] }, { past_key_values: 1 } as Any), "E_VALUE", /"cache"/);
  await refused(() => LoraAdapter.apply(llm, { lora_alpha: 3 } as Any), "E_LORA", /"alpha"/);
  await refused(() => LoraAdapter.apply(llm, { target_modules: ["q_proj"] } as Any), "E_LORA", /"targetModules"/);
});

test("loading, assembling, optimising", async () => {
  await refused(() => AutoModelForCausalLM.fromPretrained(plain.folder, { torch_dtype: "bf16" } as Any), "E_VALUE", /"dtype"/);
  await refused(() => AutoModelForCausalLM.fromPretrained(plain.folder, { load_in_4bit: true } as Any), "E_VALUE", /nf4/);
  await refused(() => AutoEncoder.fromPretrained(plain.folder, { devcie: "cpu" } as Any), "E_VALUE", /"device"/);
  const image = { encoder: plain.folder };
  const assemble = (more: Any, own: Any = {}) =>
    AnyMAL.assemble({ llm: plain.folder, modalities: { image: { ...image, ...own } }, ...more });
  await refused(() => assemble({ quantisation: "nf4" }), "E_VALUE", /"quantization"/);
  await refused(() => assemble({ modalities: { images: image } }), "E_VALUE", /"image"/);
  await refused(() => assemble({}, { frame: 3 }), "E_VALUE", /"frames"/);
  await refused(() => assemble({}, { projector: { type: "linear", token: 3 } }), "E_VALUE", /"tokens"/);
  await refused(() => assemble({}, { projector: { type: "concat_linear" } }), "E_VALUE", /"concat-linear"/);
  await refused(
    () => assemble({}, { projector: { layers: 2 } }),
    "E_VALUE",
    /resampler, linear, mlp, concat-linear, q-former, query-vit, clip-pool, got undefined/,
  );
  await refused(() => assemble({}, { projector: { type: "mlp", hiden: 8 } }), "E_VALUE", /"hidden"/);
  await refused(() => assemble({}, { projector: { type: "concat-linear", patch: 8 } }), "E_VALUE", /"patches"/);
  await refused(() => assemble({}, { projector: { type: "q-former", querys: 8 } }), "E_VALUE", /"queries"/);
  await refused(() => assemble({}, { projector: { type: "clip-pool", temporals: 8 } }), "E_VALUE", /"temporal"/);
  await refused(() => assemble({}, { projector: { type: "mlp", activation: "gelo" } }), "E_VALUE", /one of gelu.*got "gelo"/);
  await refused(() => assemble({ prompt: { sytem: "x" } }), "E_VALUE", /"system"/);
  await refused(() => AnyMAL.fromPretrained(plain.folder, { lm: "x" } as Any), "E_VALUE", /"llm"/);
  using p = Tensor.zeros([2], { device: here, requiresGrad: true });
  await refused(() => new AdamW([{ parameters: [["p", p]] }], { weight_decay: 0.1 } as Any), "E_VALUE", /"weightDecay"/);
  await refused(() => new AdamW([{ parameters: [["p", p]] }], { lr: 0.1 } as Any), "E_VALUE", /step\(lr\)/);
});

test("minNewTokens keeps the ending tokens off until so many are written", async () => {
  using llm = LlamaForCausalLM.fromPretrained(plain.folder, { device: here, dtype: "f32" });
  const prompt = { inputIds: [[1, 5, 2]] };
  const [free] = (await llm.generate(prompt, { maxNewTokens: 4, eosTokenId: [] })) as [number[]];
  const ends = { eosTokenId: [free[0]!, free[1]!] };
  assert.equal(await llm.generate(prompt, { maxNewTokens: 4, ...ends }), [[]], "it ends at once");
  const [held] = (await llm.generate(prompt, { maxNewTokens: 4, minNewTokens: 3, ...ends })) as [number[]];
  assert.ok(held.length >= 3 && !held.slice(0, 3).some((token) => ends.eosTokenId.includes(token)), `${held}`);
  for (const minNewTokens of [-1, 1.5, 5])
    await refused(() => llm.generate(prompt, { maxNewTokens: 4, minNewTokens }), "E_GENERATION", /minNewTokens/);
});

test.run();
