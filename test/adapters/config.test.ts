// What a kind writes of its options it reads as the same, from text; and what its own files leave out or say of other tools.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { IA3 } from "../../lib/adapters/ia3.js";
import type { AdapterKind } from "../../lib/adapters/kind.js";
import { ADAPTER_KINDS, type AdapterOptions, adapterKindNames, adapterKindOf } from "../../lib/adapters/load-adapter.js";
import { PROMPT_TUNING } from "../../lib/adapters/prompt-tuning.js";

/** None of them as it is without a word. */
const OPTIONS: { [K in keyof AdapterOptions]: Partial<AdapterOptions[K]> } = {
  lora: {
    r: 3,
    alpha: 5,
    dropout: 0.25,
    targetModules: ["q_proj"],
    modulesToSave: ["norm"],
    bias: "all",
    dora: true,
    rsLora: true,
    trainableTokens: { embed_tokens: [4, 2] },
  },
  ia3: { targetModules: ["k_proj", "up_proj"], feedforwardModules: ["up_proj"], excludeModules: ["layers.0"], modulesToSave: ["norm"], baseModel: "b" }, // biome-ignore format: a table
  pink: { hidden: 3, nonLinear: true, dropout: 0.5, layers: [1] },
  lavin: {
    hidden: 4,
    groups: 4,
    temperature: 5,
    scale: 0.5,
    dropout: 0.25,
    routing: "published",
    clipDim: 3,
    projHidden: 2,
    baseModel: "b",
  },
  bottleneck: { hidden: 3, activation: "silu", dropout: 0.5, targetModules: ["gate_proj"], baseModel: "b" },
  "llama-adapter-v1": { prompts: 3, layers: 2, visualDims: [4, 5], visualHidden: 6, picture: true, baseModel: "b" },
  "llama-adapter-v2": { form: "multimodal7b", prompts: 3, layers: 2, clipDim: 4, visual: { dim: 6, depth: 1, heads: 2 }, baseModel: "b" },
  "adaption-prompt": { prompts: 3, layers: 2, targetModules: "attn", baseModel: "b" },
  "gated-cross-attention": { form: "idefics", every: 2, dimVisual: 3, heads: 4, dimHead: 5, ffMult: 6, hidden: 7, onlyAttendImmediateMedia: false, headNorm: true, vectorGates: true, eps: 1e-3 }, // biome-ignore format: a table
  "prefix-tuning": { tokens: 3, projection: true, hidden: 7, baseModel: "b" },
  "prompt-tuning": { tokens: 3, baseModel: "b" },
  "trained-tokens": { tokenIndices: [7, 3], targetModules: ["embed_tokens", "lm_head"] },
};
const refused = (run: () => unknown, why: RegExp) =>
  assert.throws(run, (error: { code?: string; message: string }) => error.code === "E_ADAPTER" && why.test(error.message));

/** What complete() makes of it, or undefined where it refuses. */
function accepted(kind: AdapterKind, options: object): Record<string, unknown> | undefined {
  try {
    return kind.complete(options) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

for (const kind of Object.values(ADAPTER_KINDS) as unknown as AdapterKind[])
  test(`${kind.name}: a zero and a no are written where they are not what is meant without them`, () => {
    let tried = 0;
    for (const base of [{}, OPTIONS[kind.name as keyof AdapterOptions]])
      for (const key of Object.keys(kind.schema))
        for (const value of [0, false]) {
          const config = accepted(kind, { ...base, [key]: value });
          if (!config) continue;
          const read = kind.read(JSON.parse(JSON.stringify(kind.write(config)))) as Record<string, unknown>;
          assert.equal(read[key], config[key], key);
          ++tried;
        }
    assert.ok(tried || !/lora|v2|lavin|prefix/.test(kind.name), "none was accepted");
  });

for (const kind of Object.values(ADAPTER_KINDS) as unknown as AdapterKind[])
  test(`${kind.name}: read as it was written`, () => {
    const options = OPTIONS[kind.name as keyof AdapterOptions] as Record<string, unknown>;
    const config = kind.complete(options) as Record<string, unknown>;
    const json = JSON.parse(JSON.stringify(kind.write(config)));
    assert.is(adapterKindOf(json, "here"), kind);
    const read = kind.read(json) as Record<string, unknown>;
    for (const [key, value] of Object.entries(options)) assert.equal(read[key], value, key);
    assert.equal(read, config);
  });

test("options of every kind are held here, a picture without widths among them", () => {
  assert.equal(Object.keys(OPTIONS).sort(), [...adapterKindNames].sort());
  const kind = ADAPTER_KINDS["llama-adapter-v1"];
  assert.is(kind.read(kind.write(kind.complete({ picture: true }))).picture, true);
});

test("(IA)3's feed-forward layers are the usual ones with the usual targets alone", () => {
  assert.equal(IA3.complete({ targetModules: ["k_proj", "down_proj"] }).feedforwardModules, []);
  assert.equal(IA3.read({ peft_type: "IA3", target_modules: ["k_proj", "down_proj"] }).feedforwardModules, []);
  assert.equal(IA3.complete({}).feedforwardModules, ["down_proj"]);
  assert.equal(IA3.read({ peft_type: "IA3" }).feedforwardModules, ["down_proj"]);
});

test("what PEFT's files ask for and is not here is refused by name", () => {
  refused(() => IA3.read({ peft_type: "IA3", fan_in_fan_out: true }), /fan_in_fan_out/);
  refused(() => PROMPT_TUNING.read({ peft_type: "PROMPT_TUNING", num_virtual_tokens: 3, num_transformer_submodules: 2 }), /num_transformer_submodules/); // biome-ignore format: one line
  refused(() => PROMPT_TUNING.read({ peft_type: "PROMPT_TUNING", num_virtual_tokens: 3, modules_to_save: ["lm_head"] }), /modules_to_save/); // biome-ignore format: one line
});

test.run();
