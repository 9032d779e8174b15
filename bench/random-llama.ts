// A LLaMA of random weights in the storage that is asked for: a bench measures time and bytes, which do not depend on what was learned.
import type { Device } from "../lib/index.js";
import { LlamaForCausalLM } from "../lib/models/llama.js";
import { type LlamaConfig, parseLlamaConfig } from "../lib/models/llama-config.js";
import { QuantizedLinear } from "../lib/nn/quantized-linear.js";
import { type Quantization, Weights } from "../lib/nn/weights.js";
import { SIZE_NAMES } from "./suite.js";

// width, feed-forward width, layers, heads, key/value heads, vocabulary; "1b" is TinyLlama's shape, "7b" and "70b" LLaMA 2's.
const SHAPES: Record<string, readonly [number, number, number, number, number, number]> = {
  tiny: [256, 704, 4, 4, 2, 4096],
  small: [768, 2048, 12, 12, 4, 32000],
  "1b": [2048, 5632, 22, 32, 4, 32000],
  "7b": [4096, 11008, 32, 32, 32, 32000],
  "70b": [8192, 28672, 80, 64, 8, 32000],
};

export function randomConfig(size: string): LlamaConfig {
  const shape = SHAPES[size];
  if (!shape) throw new RangeError(`--size: expected ${SIZE_NAMES.join(", ")}, got ${size}`);
  const [hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads, vocab_size] = shape;
  return parseLlamaConfig({
    model_type: "llama",
    hidden_size,
    intermediate_size,
    num_hidden_layers,
    num_attention_heads,
    num_key_value_heads,
    vocab_size,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    hidden_act: "silu",
    tie_word_embeddings: false,
  });
}

/** As PyTorch's models are told it (rivals/torch_llama.py). */
export const shapeOf = ({ hiddenSize, intermediateSize, layers, heads, kvHeads, headDim, vocabSize }: LlamaConfig) => ({
  ...{ hidden: hiddenSize, intermediate: intermediateSize, layers, heads, kvHeads, headDim, vocabulary: vocabSize },
});

export type Storage = "nf4" | "int8" | "bf16" | "f32";
/** NF4 as QLoRA stores it, block maxima quantised too. */
const QUANTIZATION: Partial<Record<Storage, Quantization>> = { nf4: { format: "nf4", doubleQuant: true }, int8: { format: "int8" } };

export function randomLlama(device: Device, config: LlamaConfig, storage: Storage, dtype: "f32" | "bf16"): LlamaForCausalLM {
  const quantization = QUANTIZATION[storage];
  return new LlamaForCausalLM(Weights.fresh({ device, dtype, trainable: false, ...(quantization && { quantization }) }), config);
}

/** Ids of a prompt, others in each row. */
export const promptOf = (tokens: number, vocabulary: number, row = 0): number[] =>
  Array.from({ length: tokens }, (_, i) => ((i + 31 * row) * 7919) % vocabulary);

/** Weights of the decoder's linear layers, one per multiplication and token. */
export function linearParameters({ hiddenSize: C, intermediateSize, layers, heads, kvHeads, headDim }: LlamaConfig): number {
  return layers * (2 * C * heads * headDim + 2 * C * kvHeads * headDim + 3 * C * intermediateSize);
}

/** What a decode step reads of the weights: all but the embedding table, of which it takes a row. */
export function weightBytes(llm: LlamaForCausalLM): number {
  const dense = Array.from(llm.namedParameters()).filter(([name]) => !name.endsWith("embed_tokens.weight"));
  const quantized = llm.modules().flatMap((module) => (module instanceof QuantizedLinear ? module.weight.tensors() : []));
  return [...dense.map(([, tensor]) => tensor), ...quantized].reduce((sum, { size, dtype }) => sum + size * BYTES[dtype], 0);
}
/** With the head read from a copy in 8 bit, a scale for each of its rows. */
export function roundedWeightBytes(llm: LlamaForCausalLM): number {
  const { headWeight } = llm;
  return weightBytes(llm) - headWeight.size * (BYTES[headWeight.dtype] - 1) + 4 * llm.config.vocabSize;
}
const BYTES = { f32: 4, i32: 4, bf16: 2, u8: 1 };
