// No key of a config.json that changes the numbers is passed over: our readers held against what transformers' classes write and read.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parseClapAudioConfig } from "../../lib/models/clap-config.js";
import { parseClipTextConfig, parseClipVisionConfig } from "../../lib/models/clip-config.js";
import { ConfigError, type Json } from "../../lib/models/config.js";
import { isJudged, type KeyRules } from "../../lib/models/config-keys.js";
import { parseDinov2Config } from "../../lib/models/dinov2-config.js";
import { ENCODER_KEYS } from "../../lib/models/encoder-keys.js";
import { parseLlamaConfig } from "../../lib/models/llama-config.js";
import { LLAMA_KEYS } from "../../lib/models/llama-keys.js";
import { MPT_KEYS, parseMptConfig } from "../../lib/models/mpt-config.js";
import { parseOpenClipConfig } from "../../lib/models/open-clip-config.js";
import { OPT_KEYS, parseOptConfig } from "../../lib/models/opt-config.js";
import { parseSiglipVisionConfig } from "../../lib/models/siglip-config.js";
import { parseQwen2AudioConfig, parseWhisperConfig } from "../../lib/models/speech-config.js";
import { parseVideoMaeConfig } from "../../lib/models/video-mae-config.js";

const file = fileURLToPath(new URL("../fixtures/config_keys/transformers-5.18.json", import.meta.url));
const defaults = JSON.parse(readFileSync(file, "utf8")) as Record<string, Json>;

const readers: Record<string, [KeyRules, (json: Json) => unknown]> = {
  LlamaConfig: [LLAMA_KEYS.llama!, parseLlamaConfig],
  MistralConfig: [LLAMA_KEYS.mistral!, parseLlamaConfig],
  Qwen2Config: [LLAMA_KEYS.qwen2!, parseLlamaConfig],
  Qwen3Config: [LLAMA_KEYS.qwen3!, parseLlamaConfig],
  OPTConfig: [OPT_KEYS, parseOptConfig],
  MptConfig: [MPT_KEYS, parseMptConfig],
  CLIPVisionConfig: [ENCODER_KEYS.clipVision, parseClipVisionConfig],
  CLIPTextConfig: [ENCODER_KEYS.clipText, parseClipTextConfig],
  SiglipVisionConfig: [ENCODER_KEYS.siglipVision, parseSiglipVisionConfig],
  Dinov2Config: [ENCODER_KEYS.dinov2, parseDinov2Config],
  Dinov2WithRegistersConfig: [ENCODER_KEYS.dinov2, parseDinov2Config],
  VideoMAEConfig: [ENCODER_KEYS.videoMae, parseVideoMaeConfig],
  WhisperConfig: [ENCODER_KEYS.whisper, parseWhisperConfig],
  Qwen2AudioEncoderConfig: [ENCODER_KEYS.whisper, parseQwen2AudioConfig],
  ClapAudioConfig: [ENCODER_KEYS.clapAudio, parseClapAudioConfig],
};

for (const [name, [rules, parse]] of Object.entries(readers)) {
  const json = defaults[name]!;
  test(`${name}: what transformers writes by default is read, and every key of it was judged`, () => {
    parse(json);
    assert.equal(
      Object.keys(json).filter((key) => !isJudged(key, rules)),
      [],
    );
  });
}

const refuses = (parse: (json: Json) => unknown, json: Json, key: string) =>
  assert.throws(
    () => parse(json),
    (error: unknown) => error instanceof ConfigError && error.message.includes(key),
    `${key} ${JSON.stringify(json[key])}`,
  );

/** [key, what changes the numbers, what does not] */
const decoders: readonly [string, unknown[], unknown[]][] = [
  ["is_causal", [false], [true, null]], // transformers: create_causal_mask() sees ahead
  ["use_bidirectional_attention", [true], [false, null]],
  ["attn_logit_softcapping", [50], [null]],
  ["final_logit_softcapping", [30], [null]],
  ["embedding_multiplier", [12], [1, null]],
  ["residual_multiplier", [0.22], [1]],
  ["logits_scaling", [8], [1]],
  ["logit_scale", [0.0625], [1, null]],
  ["scale_emb", [12], [1]],
  ["attention_chunk_size", [8192], [null]],
  ["no_rope_layers", [[1, 1, 0]], [null, [1, 1, 1], []]],
  ["no_rope_layer_interval", [4], [null]],
  ["clip_qkv", [8], [null]],
  ["use_qk_norm", [true], [false]],
  ["parallel_attn", [true], [false]],
  ["use_parallel_residual", [true], [false]],
  ["alibi", [true], [false]],
  ["attn_temperature_tuning", [true], [false]],
  ["per_layer_config", [{ 0: { num_attention_heads: 2 } }], [{}, null]],
  ["partial_rotary_factor", [0.5], [1, 1.0]],
  ["query_pre_attn_scalar", [256], [16]],
  ["attention_multiplier", [0.0078125], [0.25]],
  ["rotary_dim", [8], [16]],
  ["hidden_activation", ["gelu"], ["silu"]],
  ["rope_interleaved", [true], [false]],
  ["hidden_act", ["mish"], ["silu", "gelu"]],
];
for (const family of ["llama", "mistral", "qwen2", "qwen3"]) {
  const least = {
    model_type: family,
    vocab_size: 100,
    hidden_size: 64,
    intermediate_size: 96,
    num_hidden_layers: 3,
    num_attention_heads: 4,
  };
  const plain = { ...least, num_key_value_heads: 2, head_dim: 16 };
  test(`${family}: keys of other models are refused unless they say what is done here`, () => {
    for (const [key, other, same] of decoders) {
      for (const value of other) refuses(parseLlamaConfig, { ...plain, [key]: value }, key);
      const want = parseLlamaConfig({ ...plain, hidden_act: "silu" });
      for (const value of same) {
        const got = parseLlamaConfig({ ...plain, [key]: value });
        assert.equal({ ...got, activation: "silu" }, { ...want, activation: "silu" }, `${key} ${JSON.stringify(value)}`);
      }
    }
    // What means nothing to any model is nobody's loss.
    parseLlamaConfig({ ...plain, time_step_limit: [0, Infinity], unsloth_version: "2026.1", attention_dropout: 0.1, pretraining_tp: 2 });
  });
}

test("windows by the layer, in a family that has none, or the same for all", () => {
  const of = (model_type: string, more: Json) =>
    ({
      model_type,
      vocab_size: 9,
      hidden_size: 8,
      intermediate_size: 9,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      num_key_value_heads: 2,
      ...more,
    }) as Json;
  const [full, sliding] = ["full_attention", "sliding_attention"];
  refuses(parseLlamaConfig, of("llama", { layer_types: [full, sliding], sliding_window: 4 }), "layer_types");
  refuses(parseLlamaConfig, of("llama", { sliding_window: 4 }), "sliding_window");
  refuses(parseLlamaConfig, of("llama", { layer_types: [full, "linear_attention"] }), "layer_types");
  parseLlamaConfig(of("llama", { layer_types: [full, full], sliding_window: null }));
  parseLlamaConfig(of("llama", { sliding_window: 4096 }));
  parseLlamaConfig(of("llama", { sliding_window: 4, use_sliding_window: false }));
  refuses(parseLlamaConfig, of("mistral", { layer_types: [full, sliding], sliding_window: 4 }), "layer_types");
  refuses(parseLlamaConfig, of("mistral", { layer_types: [sliding, sliding], sliding_window: null }), "layer_types");
  parseLlamaConfig(of("mistral", { layer_types: [sliding, sliding], sliding_window: 4 }));
  refuses(parseLlamaConfig, of("qwen2", { layer_types: [full, sliding], use_sliding_window: false, sliding_window: 4 }), "layer_types");
  refuses(parseLlamaConfig, of("qwen3", { layer_types: [full, "linear_attention"] }), "layer_types");
});

test("OPT and MPT: keys that would make another model, in the reading of the code that wrote the file", () => {
  const { OPTConfig: opt, MptConfig: mpt } = defaults as { OPTConfig: Json; MptConfig: Json };
  refuses(parseOptConfig, { ...opt, qk_norm: true }, "qk_norm");
  refuses(parseOptConfig, { ...opt, position_embedding_type: "rotary" }, "position_embedding_type");
  refuses(parseOptConfig, { ...opt, num_attention_heads: 7 }, "num_attention_heads");
  parseOptConfig({ ...opt, is_causal: true, position_embedding_type: "absolute", prefix: "</s>" });
  const attention = mpt.attn_config as Json;
  const original = { ...mpt, architectures: ["MPTForCausalLM"] };
  const others: Json[] = [{ prefix_lm: true }, { attn_type: "multiquery_attention" }, { alibi: false }];
  for (const other of others) {
    refuses(parseMptConfig, { ...original, attn_config: { ...attention, ...other } }, Object.keys(other)[0]!);
    parseMptConfig({ ...mpt, attn_config: { ...attention, ...other } }); // does nothing in transformers' class
  }
  refuses(parseMptConfig, { ...original, attn_config: null }, "alibi"); // off where MosaicML's code was not told
  refuses(parseMptConfig, { ...original, logit_scale: "inv_sqrt_d_model" }, "logit_scale");
  refuses(parseMptConfig, { ...original, norm_type: "rmsnorm" }, "norm_type");
  refuses(parseMptConfig, { ...mpt, attn_config: { ...attention, clip_qkv: -1 } }, "clip_qkv");
  assert.is(parseMptConfig({ ...mpt, attn_config: { ...attention, clip_qkv: 0 } }).clip, undefined); // as both codes read it: off
  const normed = { ...attention, qk_ln: true };
  assert.equal([parseMptConfig({ ...original, attn_config: normed }).qkNorm, parseMptConfig({ ...mpt, attn_config: normed }).qkNorm], [true, false]); // biome-ignore format: one line
  refuses(parseMptConfig, { ...original, attn_config: { ...attention, qk_ln: 1 } }, "qk_ln");
  const steep = { ...attention, alibi_bias_max: 16 };
  assert.is(parseMptConfig({ ...original, attn_config: steep }).alibiMost, 16);
  assert.is(parseMptConfig({ ...mpt, attn_config: steep }).alibiMost, 8);
});

test("encoders: keys that would make another tower", () => {
  const vision = { ...defaults.CLIPVisionConfig, architectures: ["CLIPVisionModel"] };
  for (const [name, [, parse]] of Object.entries(readers).slice(6)) {
    refuses(parse, { ...defaults[name], is_causal: name !== "CLIPTextConfig" }, "is_causal");
    refuses(parse, { ...defaults[name], qk_norm: true }, "qk_norm");
    refuses(parse, { ...defaults[name], position_embedding_type: "relative_key" }, "position_embedding_type");
    parse({ ...defaults[name], hidden_dropout_prob: 0.1, qk_norm: false, position_embedding_type: "absolute" });
  }
  refuses(parseClipVisionConfig, { ...vision, head_dim: 32 }, "head_dim");
  parseClipVisionConfig({ ...vision, head_dim: 64 });
  const open = { model_cfg: { embed_dim: 8, vision_cfg: { layers: 1, width: 64, patch_size: 4, image_size: 8, norm_kwargs: {} } } };
  parseOpenClipConfig(open);
  for (const [key, value] of Object.entries({
    norm_kwargs: { eps: 1e-6 },
    act_kwargs: { approximate: "tanh" },
    global_average_pool: true,
    scale_heads: true,
  })) {
    const changed = { model_cfg: { embed_dim: 8, vision_cfg: { ...open.model_cfg.vision_cfg, [key]: value } } };
    refuses(parseOpenClipConfig, changed, key);
  }
});

test.run();
