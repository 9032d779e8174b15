// What IDEFICS-1's config.json says of its language model and of its tower, as their own classes say it.
import { ConfigError, type Json, number, section, size, storedDType } from "./config.js";

/** CLIP's, under other keys; what is left out is as the class has it. */
export function ideficsTower(json: Json): Json {
  const own = section(json, "vision_config");
  return {
    model_type: "clip_vision_model",
    architectures: ["CLIPVisionModel"],
    dtype: storedDType(json) === "f32" ? "float32" : "bfloat16",
    hidden_size: size(own, "embed_dim", 768),
    image_size: size(own, "image_size", 224),
    intermediate_size: size(own, "intermediate_size", 5120),
    patch_size: size(own, "patch_size", 14),
    num_hidden_layers: size(own, "num_hidden_layers", 32),
    num_attention_heads: size(own, "num_attention_heads", 16),
    num_channels: size(own, "num_channels", 3),
    hidden_act: own.hidden_act ?? "gelu",
    layer_norm_eps: number(own, "layer_norm_eps", 1e-5),
  };
}

/** IDEFICS' stands among its other keys; its class's defaults are LLaMA's. */
export function ideficsText(json: Json, defaults: Json): Json {
  const own = Object.entries(json).filter(([key]) => !IDEFICS_KEYS.test(key) && key !== "architectures");
  const text: Json = { ...defaults, pad_token_id: 0, bos_token_id: 1, eos_token_id: 2, ...Object.fromEntries(own) };
  const more = json.additional_vocab_size ?? 0;
  if (!Number.isInteger(more) || (more as number) < 0) throw new ConfigError("additional_vocab_size", "an integer of at least 0", more);
  return { ...text, model_type: "llama", vocab_size: size(text, "vocab_size") + (more as number) };
}
const IDEFICS_KEYS =
  /^(additional_vocab_size|alphas?_\w+|cross_layer_\w+|dropout|freeze_\w+|perceiver_config|qk_layer_norms|use_resampler|vision_config|word_embed_proj_dim)$/;
