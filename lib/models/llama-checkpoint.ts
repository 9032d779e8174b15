// Does a checkpoint hold the model that its config.json claims? Asked before anything is built, so that a wrong claim costs neither time nor
// memory, and is named by its key.
import { notice } from "../core/notice.js";
import type { WeightSource } from "../io/checkpoint.js";
import { describe, StateError } from "../nn/module.js";
import { ConfigError, type Json } from "./config.js";
import type { LlamaConfig } from "./llama-config.js";
import { HEAD } from "./llama-ties.js";

/** Throws E_CONFIG where a size differs, E_STATE where weights are missing. */
export function checkAgainst(config: LlamaConfig, checkpoint: WeightSource): void {
  const layers = layersIn(checkpoint.names());
  if (!layers)
    throw new StateError(`a decoder's weights, such as model.layers.0.input_layernorm.weight, in ${checkpoint.path}`, first(checkpoint));
  const differs = (key: string, wanted: string, got: unknown) =>
    new ConfigError(key, `${wanted}, as in ${checkpoint.path}`, got, "config.json and weights are of different models: fetch both again");
  if (layers !== config.layers) throw differs("num_hidden_layers", `${layers}`, config.layers);

  for (const [key, name, size, each] of sizes(config)) {
    // What is missing is named below; packed codes of 4 bits say nothing of the shape.
    if (!checkpoint.has(name) || checkpoint.has(`${name}.absmax`)) continue;
    const { shape } = checkpoint.entry(name);
    const stored = shape[key === "hidden_size" ? 1 : 0] as number;
    if (stored !== size) throw differs(key, stored % each ? `such that ${name} has ${stored} rows` : `${stored / each}`, size / each);
  }
  const missing = [...names(config)].filter((name) => !checkpoint.has(name));
  if (missing.length === 1 && missing[0] === HEAD)
    throw differs("tie_word_embeddings", "true where there is no lm_head.weight", config.tieWordEmbeddings);
  if (missing.length) throw new StateError(`every weight of the model in ${checkpoint.path}`, describe(missing, []));
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

function layersIn(names: Iterable<string>): number {
  let most = 0;
  for (const name of names) most = Math.max(most, 1 + Number(/^model\.layers\.(\d+)\./.exec(name)?.[1] ?? -1));
  return most;
}

/** [key, a weight that shows it, rows or columns of that, how many of them one of the key's units takes] */
function sizes({ vocabSize, hiddenSize, intermediateSize, heads, kvHeads, headDim }: LlamaConfig): [string, string, number, number][] {
  const layer = "model.layers.0";
  return [
    ["vocab_size", "model.embed_tokens.weight", vocabSize, 1],
    ["hidden_size", "model.embed_tokens.weight", hiddenSize, 1],
    ["intermediate_size", `${layer}.mlp.gate_proj.weight`, intermediateSize, 1],
    ["num_attention_heads", `${layer}.self_attn.q_proj.weight`, heads * headDim, headDim],
    ["num_key_value_heads", `${layer}.self_attn.k_proj.weight`, kvHeads * headDim, headDim],
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

function first(checkpoint: WeightSource): string {
  const some = [...checkpoint.names()].slice(0, 3);
  return some.length ? `${some.join(", ")} …` : "no weights";
}
