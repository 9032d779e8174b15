// LLaMA and its relatives from one GGUF file of llama.cpp: its keys read as the config.json that they came from, its weights widened and, when asked,
// quantised anew while they are loaded.
import { atOnce, type Pieces } from "../core/turns.js";
import type { GgufValue } from "../io/gguf.js";
import { GgufError } from "../io/gguf.js";
import { GgufCheckpoint, ROPE_FACTORS } from "../io/gguf-checkpoint.js";
import { Weights } from "../nn/weights.js";
import { ConfigError, type Json } from "./config.js";
import { LlamaForCausalLM, type PretrainedOptions } from "./llama.js";
import { checkAgainst } from "./llama-checkpoint.js";
import { type LlamaConfig, parseLlamaConfig } from "./llama-config.js";
import { checkPretrained } from "./loading.js";

/** general.architecture, and the family of config.json that it is. Mistral has LLaMA's. */
const FAMILIES: readonly string[] = ["llama", "qwen2", "qwen3"];

/**
 * From a GGUF file. Without `dtype` a file of F32 weights computes in f32, every other in bf16. Throws E_FILE, E_GGUF, or E_STATE where weights are
 * missing or left over.
 */
export function llamaFromGguf(path: string, options: PretrainedOptions): LlamaForCausalLM {
  checkPretrained("llamaFromGguf", options);
  return atOnce(llamaFromGgufInPieces(path, options));
}

export function* llamaFromGgufInPieces(
  path: string,
  { device, dtype, trainable = false, quantization }: PretrainedOptions,
): Pieces<LlamaForCausalLM> {
  using checkpoint = yield* GgufCheckpoint.inPieces(path);
  const config = ggufConfig(checkpoint);
  inItsWords(path, () => checkAgainst(config, checkpoint));
  const at = Weights.from(checkpoint, { device, dtype: dtype ?? storedDType(checkpoint), trainable, quantization });
  return yield* LlamaForCausalLM.built(at, config);
}

/** What the file's keys say of the model. Throws E_GGUF. */
export function ggufConfig(checkpoint: GgufCheckpoint): LlamaConfig {
  const { path, architecture } = checkpoint;
  if (!FAMILIES.includes(architecture))
    throw new GgufError(
      path,
      `one of the architectures ${FAMILIES.join(", ")}`,
      architecture,
      "models of other families are not supported",
    );
  refuseOthers(checkpoint);
  const config = inItsWords(path, () => parseLlamaConfig(asJson(checkpoint)));
  const factors = ropeFactors(checkpoint, config.headDim / 2);
  if (!factors) return config;
  if (config.ropeScaling.type !== "default")
    throw new GgufError(path, `${ROPE_FACTORS} or ${architecture}.rope.scaling`, "both", "convert the model again");
  return { ...config, ropeScaling: { type: "factors", factors } };
}

/** The checks of config.json serve here too; only the file that they complain of is another. */
function inItsWords<T>(path: string, check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const got = typeof error.got === "object" ? "something else" : String(error.got);
    throw new GgufError(
      path,
      `${error.key}, in config.json's word, to be ${error.expected}`,
      got,
      "its keys and weights do not fit: fetch it again",
    );
  }
}

function refuseOthers(checkpoint: GgufCheckpoint): void {
  const parts = checkpoint.file.values.get("split.count");
  if (typeof parts === "number" && parts > 1)
    throw new GgufError(checkpoint.path, "a whole model", `one of ${parts} parts`, "join them with llama-gguf-split --merge");
  const experts = checkpoint.value("expert_count");
  if (typeof experts === "number" && experts > 0)
    throw new GgufError(checkpoint.path, "one feed-forward per layer", `${experts} experts`, "mixtures of experts are not supported");
}

/** The config.json that the keys stand for. Keys of the wrong kind are passed on, and refused where config.json's are. */
function asJson(checkpoint: GgufCheckpoint): Json {
  const { architecture } = checkpoint;
  const value = (key: string) => plain(checkpoint.value(key));
  const needed = (key: string) => {
    const found = value(key);
    if (found === undefined) throw new GgufError(checkpoint.path, `a key ${architecture}.${key}`, "none", "convert the model again");
    return found;
  };
  const token = (name: string) => plain(checkpoint.file.values.get(`tokenizer.ggml.${name}_token_id`));
  const headDim = value("attention.key_length");
  if (headDim !== undefined && (value("attention.value_length") ?? headDim) !== headDim)
    throw new GgufError(
      checkpoint.path,
      "keys and values of one size",
      `${headDim} and ${value("attention.value_length")}`,
      "it is of another family",
    );
  const window = value("attention.sliding_window");
  const [layer, has] = ["model.layers.0", (name: string) => checkpoint.has(name)];
  return {
    model_type: architecture === "llama" && window !== undefined ? "mistral" : architecture,
    vocab_size: has("model.embed_tokens.weight") ? checkpoint.entry("model.embed_tokens.weight").shape[0] : value("vocab_size"),
    hidden_size: needed("embedding_length"),
    intermediate_size: needed("feed_forward_length"),
    num_hidden_layers: needed("block_count"),
    num_attention_heads: needed("attention.head_count"),
    num_key_value_heads: value("attention.head_count_kv") ?? value("attention.head_count"),
    ...(headDim !== undefined && { head_dim: headDim }),
    rms_norm_eps: needed("attention.layer_norm_rms_epsilon"),
    max_position_embeddings: needed("context_length"),
    rope_theta: value("rope.freq_base") ?? 10000,
    rope_scaling: ropeScaling(value),
    ...rotated(checkpoint, value),
    ...(window !== undefined && architecture === "llama" && { sliding_window: window }),
    tie_word_embeddings: !has("lm_head.weight"),
    attention_bias: has(`${layer}.self_attn.q_proj.bias`),
    mlp_bias: has(`${layer}.mlp.gate_proj.bias`),
    bos_token_id: token("bos") ?? null,
    eos_token_id: [token("eos"), token("eot")].filter((id) => id !== undefined),
    pad_token_id: token("padding") ?? null,
  };
}

// llama.cpp can turn a part of each head; the classes here turn all of it.
function rotated(checkpoint: GgufCheckpoint, value: (key: string) => unknown): Json {
  const turned = value("rope.dimension_count");
  const size = value("attention.key_length") ?? Number(value("embedding_length")) / Number(value("attention.head_count"));
  if (turned === undefined || turned === size || typeof turned !== "number" || !Number.isFinite(size)) return {};
  throw new GgufError(checkpoint.path, `RoPE over whole heads of ${size}`, `over ${turned}`, "it is of another family");
}

function ropeScaling(value: (key: string) => unknown): Json | null {
  const old = value("rope.scale_linear");
  const type = value("rope.scaling.type") ?? (old === undefined ? "none" : "linear");
  if (type === "none") return null;
  const factor = value("rope.scaling.factor") ?? old;
  if (type === "linear") return factor === 1 ? null : { rope_type: "linear", factor };
  const given = {
    original_max_position_embeddings: value("rope.scaling.original_context_length"),
    attention_factor: value("rope.scaling.attn_factor"),
    beta_fast: value("rope.scaling.yarn_beta_fast"),
    beta_slow: value("rope.scaling.yarn_beta_slow"),
  };
  return { rope_type: type, factor, ...Object.fromEntries(Object.entries(given).filter(([, one]) => one !== undefined)) };
}

function ropeFactors(checkpoint: GgufCheckpoint, pairs: number): readonly number[] | undefined {
  const { file, path } = checkpoint;
  if (!file.tensors.has(ROPE_FACTORS)) return undefined;
  const { shape, type } = file.tensor(ROPE_FACTORS);
  if (type !== "F32" || String(shape) !== String([pairs]))
    throw new GgufError(path, `${ROPE_FACTORS} of ${pairs} F32 numbers`, `[${shape}] in ${type}`);
  const factors = Array.from(file.numbers(ROPE_FACTORS));
  if (!factors.every((factor) => factor > 0 && Number.isFinite(factor)))
    throw new GgufError(path, `${ROPE_FACTORS} above 0`, `${factors.find((factor) => !(factor > 0))}`);
  return factors;
}

/** Numbers of 32 bits as the decimal that they were rounded from: 1e-5, not 9.99999974e-6. */
function plain(value: GgufValue | undefined): unknown {
  if (typeof value !== "number" || Number.isInteger(value)) return value;
  for (let digits = 1; digits < 9; ++digits) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return value;
}

function storedDType(checkpoint: GgufCheckpoint): "f32" | "bf16" {
  const matrices = [...checkpoint.names()].map((name) => checkpoint.entry(name)).filter(({ shape }) => shape.length > 1);
  return matrices.every(({ dtype }) => dtype === "F32") ? "f32" : "bf16";
}
