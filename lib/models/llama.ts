// LLaMA 2 and 3, and what differs from it by a switch (Mistral, Qwen 2 and 3): RMSNorm before attention and before a gated feed-forward,
// rotary positions, grouped key/value heads. The names of the fields give the names of a Hugging Face checkpoint.
import { builtInPieces } from "../core/scope.js";
import { atOnce, type Pieces } from "../core/turns.js";
import type { Weights } from "../nn/weights.js";
import { CausalDecoder } from "./causal-decoder.js";
import { type DecoderFamily, inPieces } from "./decoder-family.js";
import { checkAgainst } from "./llama-checkpoint.js";
import { type LlamaConfig, parseLlamaConfig } from "./llama-config.js";
import { type DecoderLayer, decoderLayer, LlamaModel } from "./llama-layers.js";
import { checkPretrained, type PretrainedOptions } from "./loading.js";
import type { Place } from "./piece.js";

export type { Ids } from "../nn/sequence.js";
export type { LlamaInput, LlamaOptions, LlamaOutput } from "./causal-decoder.js";
export type { PretrainedOptions } from "./loading.js";

/**
 * A decoder: ids (B,T), or embeddings, → logits (B,T,V) and loss; generate() writes on. AutoModelForCausalLM opens one from a folder, a file or the
 * hub.
 */
export class LlamaForCausalLM extends CausalDecoder<LlamaConfig> {
  declare model: LlamaModel;

  /** `layers` are made before where the model is built in pieces. */
  constructor(at: Weights, config: LlamaConfig, layers?: DecoderLayer[]) {
    // Old checkpoints carry the RoPE frequencies.
    super(
      at,
      config,
      () => new LlamaModel(at.at("model"), config, layers),
      (name) => name.endsWith("rotary_emb.inv_freq"),
    );
  }

  /**
   * From a folder in Hugging Face layout. Frozen, in the dtype of the checkpoint, unless told otherwise. Throws E_CONFIG, E_STATE or
   * E_SAFETENSORS where the folder does not hold the model that it claims to.
   */
  static fromPretrained(folder: string, options: PretrainedOptions): LlamaForCausalLM {
    checkPretrained("LlamaForCausalLM.fromPretrained", options);
    return atOnce(LlamaForCausalLM.inPieces(folder, options));
  }

  /** The same in pieces of a layer: for who must not hold the event loop meanwhile. */
  static inPieces(place: Place, options: PretrainedOptions): Pieces<LlamaForCausalLM> {
    return inPieces(() => LLAMA, place, options);
  }

  /** From weights that are stored. When it fails, or is abandoned, nothing of it is left. */
  static built(at: Weights, config: LlamaConfig): Pieces<LlamaForCausalLM> {
    return builtInPieces(layered(at, config));
  }
}

export const LLAMA: DecoderFamily<LlamaConfig, LlamaForCausalLM> = {
  parse: parseLlamaConfig,
  embedding: "model.embed_tokens.weight",
  check: checkAgainst,
  built: LlamaForCausalLM.built,
};

function* layered(at: Weights, config: LlamaConfig): Pieces<LlamaForCausalLM> {
  const layers: DecoderLayer[] = [];
  for (let i = 0; i < config.layers; ++i) {
    yield* at.at("model").at("layers").at(i).prepare();
    layers.push(decoderLayer(at.at("model"), i, config));
    yield;
  }
  yield* at.at("model").at("embed_tokens").prepare();
  if (!config.tieWordEmbeddings) yield* at.at("lm_head").prepare();
  yield;
  return new LlamaForCausalLM(at, config, layers);
}
