// What a file of LLaMA's family must hold for its config.json to be true.
import { notice } from "../core/notice.js";
import type { WeightSource } from "../io/checkpoint.js";
import type { Json } from "./config.js";
import type { LlamaConfig } from "./llama-config.js";
import { checkStored, type StoredSize } from "./stored-decoder.js";

/** Throws E_CONFIG where a size differs, E_STATE where weights are missing. */
export function checkAgainst(config: LlamaConfig, checkpoint: WeightSource): void {
  checkStored(checkpoint, {
    layers: "model.layers",
    sample: "input_layernorm.weight",
    count: config.layers,
    key: "num_hidden_layers",
    tied: config.tieWordEmbeddings,
    sizes: sizes(config),
    names: names(config),
  });
}

/** A config.json that claims quantised weights over a file that holds none is no mistake that changes numbers, but not what was meant either. */
export function tellDense(json: Json, checkpoint: WeightSource): void {
  if (!json.quantization_config) return;
  for (const name of checkpoint.names()) if (name.includes(".quant_state.") || name.endsWith(".SCB")) return;
  notice(
    "ANYMAL_DENSE_WEIGHTS",
    `${checkpoint.path}: config.json has a quantization_config, but every weight is stored dense, and is read so; pass quantization "nf4" or "int8" to quantise them here`,
  );
}

function sizes({ vocabSize, hiddenSize, intermediateSize, heads, kvHeads, headDim }: LlamaConfig): StoredSize[] {
  const [table, layer] = ["model.embed_tokens.weight", "model.layers.0"];
  return [
    { key: "vocab_size", name: table, size: vocabSize },
    { key: "hidden_size", name: table, size: hiddenSize, dim: 1 },
    { key: "intermediate_size", name: `${layer}.mlp.gate_proj.weight`, size: intermediateSize },
    { key: "num_attention_heads", name: `${layer}.self_attn.q_proj.weight`, size: heads * headDim, each: headDim },
    { key: "num_key_value_heads", name: `${layer}.self_attn.k_proj.weight`, size: kvHeads * headDim, each: headDim },
  ];
}

function* names(config: LlamaConfig): Generator<string> {
  yield "model.embed_tokens.weight";
  yield "model.norm.weight";
  if (!config.tieWordEmbeddings) yield "lm_head.weight";
  for (let i = 0; i < config.layers; ++i) {
    const layer = `model.layers.${i}`;
    for (const norm of ["input_layernorm", "post_attention_layernorm"]) yield `${layer}.${norm}.weight`;
    if (config.headNorm) for (const norm of ["q_norm", "k_norm"]) yield `${layer}.self_attn.${norm}.weight`;
    for (const [linear, bias] of linears(config)) {
      yield `${layer}.${linear}.weight`;
      if (bias) yield `${layer}.${linear}.bias`;
    }
  }
}

function linears({ qkvBias, outputBias, mlpBias }: LlamaConfig): [string, boolean][] {
  return [
    ...["q_proj", "k_proj", "v_proj"].map((name): [string, boolean] => [`self_attn.${name}`, qkvBias]),
    ["self_attn.o_proj", outputBias],
    ...["gate_proj", "up_proj", "down_proj"].map((name): [string, boolean] => [`mlp.${name}`, mlpBias]),
  ];
}
