// Meta's own LLaMA checkpoints (github.com/meta-llama/llama): consolidated.00.pth, one file for each part of a model that was split, and params.json.
import { type Json, type KeyTable, Known } from "./table.js";

/** Of LLaMA 3.1 and later, which its code holds as constants. 3.2's are the small ones. */
const SCALED = { rope_type: "llama3", low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };
const SMALL = 3072;

function config(known: Known): Json {
  const { beside } = known;
  const [dim, heads] = [known.integer("dim"), known.integer("n_heads")];
  const eps = beside.norm_eps;
  if (typeof eps !== "number" || !(eps > 0 && eps < 1))
    known.fail('"norm_eps" of params.json between 0 and 1', JSON.stringify(eps) ?? "nothing");
  const theta = typeof beside.rope_theta === "number" ? beside.rope_theta : 1e4;
  const third = beside.rope_theta !== undefined; // 1 and 2 name none
  const scaled = beside.use_scaled_rope === true;
  return {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_size: dim,
    intermediate_size: known.size("model.layers.0.mlp.gate_proj.weight", 0),
    num_hidden_layers: known.count("model.layers.*.input_layernorm.weight"),
    num_attention_heads: heads,
    num_key_value_heads: known.integer("n_kv_heads", heads),
    vocab_size: known.size("model.embed_tokens.weight", 0),
    hidden_act: "silu",
    rms_norm_eps: eps,
    rope_theta: theta,
    ...(scaled && { rope_scaling: { ...SCALED, factor: dim > SMALL ? 8 : 32 } }),
    // Nothing beside the weights says how long the texts of training were.
    max_position_embeddings: scaled ? 131072 : third ? 8192 : (eps as number) < 1e-5 ? 2048 : 4096,
    bos_token_id: third ? 128000 : 1,
    eos_token_id: third ? 128001 : 2,
    attention_bias: false,
    tie_word_embeddings: false,
    torch_dtype: known.dtype,
  };
}

const LAYER = /^layers\.(\d+)\./.source;
const below = (name: string): RegExp => new RegExp(`${LAYER}${name.replaceAll(".", "\\.")}\\.weight$`);

export const llama: KeyTable = {
  name: "llama",
  system: "Meta's LLaMA",
  marks: [/^tok_embeddings\.weight$/, /^layers\.0\.attention\.wq\.weight$/, /^layers\.0\.feed_forward\.w1\.weight$/],
  needs: "params.json",
  numbers: (path, beside) => {
    const known = new Known(path, new Map(), "", beside);
    const heads = known.integer("n_heads");
    return { width: known.integer("dim"), heads, kvHeads: known.integer("n_kv_heads", heads) };
  },
  rules: [
    { from: /^tok_embeddings\.weight$/, to: "model.embed_tokens.weight", along: "not width" },
    { from: /^norm\.weight$/, to: "model.norm.weight" },
    { from: /^output\.weight$/, to: "lm_head.weight", along: 0 },
    { from: below("attention.wq"), to: "model.layers.$1.self_attn.q_proj.weight", along: 0, turned: "heads" },
    { from: below("attention.wk"), to: "model.layers.$1.self_attn.k_proj.weight", along: 0, turned: "kvHeads" },
    { from: below("attention.wv"), to: "model.layers.$1.self_attn.v_proj.weight", along: 0 },
    { from: below("attention.wo"), to: "model.layers.$1.self_attn.o_proj.weight", along: 1 },
    { from: below("feed_forward.w1"), to: "model.layers.$1.mlp.gate_proj.weight", along: 0 },
    { from: below("feed_forward.w3"), to: "model.layers.$1.mlp.up_proj.weight", along: 0 },
    { from: below("feed_forward.w2"), to: "model.layers.$1.mlp.down_proj.weight", along: 1 },
    { from: below("attention_norm"), to: "model.layers.$1.input_layernorm.weight" },
    { from: below("ffn_norm"), to: "model.layers.$1.post_attention_layernorm.weight" },
    { from: /(^|\.)(rope\.freqs|inner_attention\.rope\.freqs)$/, to: null },
  ],
  files: (known) => ({ "config.json": config(known) }),
};
