// The keys of an encoder's config.json, kind by kind, as transformers' classes read them.

import type { Json } from "./config.js";
import { type KeyRules, only } from "./config-keys.js";

const BLOCKS = ["hidden_size", "num_hidden_layers", "num_attention_heads", "hidden_act", "layer_norm_eps"];
const PICTURE = ["image_size", "patch_size", "num_channels"];
const TOWER = { is_causal: only(false), position_embedding_type: only("absolute", "learnable") };
const heads = { wanted: "hidden_size / num_attention_heads", fits: (value: unknown, json: Json) => value === widthOfHead(json) };
const widthOfHead = (json: Json): number => Number(json.hidden_size ?? 768) / Number(json.num_attention_heads ?? 12);
/** How a backbone of transformers hands its feature maps on; here a layer is asked for. */
const BACKBONE = ["stage_names", "out_features", "out_indices", "apply_layernorm", "reshape_hidden_states"];

export const ENCODER_KEYS = {
  clipVision: {
    obeyed: [...BLOCKS, ...PICTURE, "intermediate_size", "projection_dim"],
    harmless: ["logit_scale_init_value", "text_config", "vision_config", "text_config_dict", "vision_config_dict"],
    neutral: { ...TOWER, head_dim: heads },
  },
  clipText: {
    obeyed: [...BLOCKS, "intermediate_size", "projection_dim", "vocab_size", "max_position_embeddings"],
    harmless: ["logit_scale_init_value", "text_config", "vision_config", "text_config_dict", "vision_config_dict"],
    neutral: { ...TOWER, is_causal: only(true) },
  },
  siglipVision: {
    obeyed: [...BLOCKS, ...PICTURE, "intermediate_size", "vision_use_head"],
    harmless: ["projection_dim", "num_image_tokens", "text_config", "vision_config"],
    neutral: { ...TOWER, head_dim: heads },
  },
  blip2Vision: {
    obeyed: [...BLOCKS, "image_size", "patch_size", "intermediate_size", "qkv_bias"],
    harmless: [],
    neutral: { ...TOWER, num_channels: only(3), head_dim: heads },
  },
  dinov2: {
    obeyed: [...BLOCKS, ...PICTURE, "mlp_ratio", "qkv_bias", "use_swiglu_ffn", "num_register_tokens"],
    harmless: [...BACKBONE, "layerscale_value", "use_mask_token"],
    neutral: { ...TOWER, head_dim: heads },
  },
  videoMae: {
    obeyed: [...BLOCKS, ...PICTURE, "intermediate_size", "num_frames", "tubelet_size", "qv_bias", "qkv_bias", "use_mean_pooling"],
    harmless: [
      "decoder_num_attention_heads",
      "decoder_hidden_size",
      "decoder_num_hidden_layers",
      "decoder_intermediate_size",
      "norm_pix_loss",
    ],
    neutral: { ...TOWER, head_dim: heads },
  },
  whisper: {
    obeyed: [
      ...["num_mel_bins", "max_source_positions", "d_model", "encoder_ffn_dim"],
      ...["encoder_layers", "encoder_attention_heads", "activation_function"],
    ],
    harmless: [
      ...["scale_embedding", "encoder_layerdrop", "activation_dropout", "init_std", "num_hidden_layers"], // the encoder never scaled its rows
      ...["decoder_layers", "decoder_attention_heads", "decoder_ffn_dim", "decoder_layerdrop", "decoder_start_token_id"],
      ...["vocab_size", "max_target_positions", "suppress_tokens", "begin_suppress_tokens", "forced_decoder_ids", "median_filter_width"],
      ...["apply_spec_augment", "mask_time_prob", "mask_time_length", "mask_time_min_masks"],
      ...["mask_feature_prob", "mask_feature_length", "mask_feature_min_masks", "use_weighted_layer_sum", "classifier_proj_size"],
    ],
    neutral: TOWER,
  },
  clapAudio: {
    obeyed: [
      ...[
        "spec_size",
        "num_mel_bins",
        "patch_size",
        "patch_stride",
        "patch_embeds_hidden_size",
        "depths",
        "num_attention_heads",
        "window_size",
      ],
      ...[
        "mlp_ratio",
        "hidden_act",
        "qkv_bias",
        "enable_patch_layer_norm",
        "layer_norm_eps",
        "enable_fusion",
        "fusion_type",
        "aff_block_r",
      ],
      ...[
        "projection_dim",
        "projection_hidden_act",
        "hidden_size",
        "flatten_patch_embeds",
        "patch_embed_input_channels",
        "num_hidden_layers",
      ],
    ],
    harmless: ["num_classes", "logit_scale_init_value", "text_config", "audio_config", "chunk_size"],
    neutral: TOWER,
  },
} satisfies Record<string, KeyRules>;
