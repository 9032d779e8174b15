// The language model that a folder's config.json names.
import { statSync } from "node:fs";
import type { Device } from "../core/device.js";
import { expected } from "../core/errors.js";
import { checkOptions } from "../core/options.js";
import { inTurns, type Pieces } from "../core/turns.js";
import { type ResolveOptions, resolveModel } from "../io/hub.js";
import type { Quantization } from "../nn/weights.js";
import type { CausalDecoder } from "./causal-decoder.js";
import { ConfigError, readConfig } from "./config.js";
import { familyOf } from "./decoder-families.js";
import { inPieces } from "./decoder-family.js";
import { llamaFromGgufInPieces } from "./llama-gguf.js";
import { deviceOf, dtypeOf, OTHER_LOADING, type PretrainedOptions, type QuantizationName, quantizationOf } from "./loading.js";
import { DECODER_TYPES, modelType } from "./model-types.js";
import type { Place } from "./piece.js";

export interface AutoModelOptions {
  /** A device, or "cpu", "cuda" or "auto". Default: ANYMAL_DEVICE, or the CPU. */
  device?: Device | string;
  /** Of activations and dense weights. Default: what the checkpoint suggests. */
  dtype?: "f32" | "bf16";
  /** How the linear layers are held. Default: as they are stored; a checkpoint of bitsandbytes stays quantised. */
  quantization?: QuantizationName | Quantization;
  /** Branch, tag or commit of a model on the hub. */
  revision?: string;
  /** f32 masters that take gradients. Default false. */
  trainable?: boolean;
  signal?: AbortSignal;
  /** Told of what arrives from the hub. */
  onProgress?: ResolveOptions["onProgress"];
  /** No request to the hub: what a name or a checkpoint asks for is on this machine, or E_HUB_OFFLINE. Default false. */
  localFilesOnly?: boolean;
}

const KEYS = ["device", "dtype", "quantization", "revision", "trainable", "signal", "onProgress", "localFilesOnly"];

/** Opens a language model from a folder, a GGUF file or the hub. */
export const AutoModelForCausalLM = {
  /**
   * From a folder in Hugging Face layout, a GGUF file, or by its id on the hub: LLaMA 2 and 3, Mistral, Qwen 2 and 3, OPT, MPT, and what shares
   * their classes. Resolves when the weights are on the device. Rejects with HubError where there is no such model; with E_CONFIG, E_STATE,
   * E_SAFETENSORS or E_GGUF where the files do not hold the model that they claim to; with E_DEVICE, E_DTYPE or E_VALUE on an option that does not
   * fit.
   */
  async fromPretrained(folderOrId: string, options: AutoModelOptions = {}): Promise<CausalDecoder> {
    checkOptions("AutoModelForCausalLM.fromPretrained", options, KEYS, { others: OTHER_LOADING });
    const { device, dtype, quantization, trainable = false, ...where } = options;
    const { signal } = where;
    signal?.throwIfAborted();
    if (typeof folderOrId !== "string")
      throw expected("E_ARGUMENT", "AutoModelForCausalLM", "a folder, or a model of the hub as org/name", typeof folderOrId);
    const loading: PretrainedOptions = { device: await deviceOf(device), trainable };
    const [computed, held] = [dtypeOf(dtype), quantizationOf(quantization)];
    if (computed) loading.dtype = computed;
    if (held) loading.quantization = held;
    const model = await openCausalLM(await resolveModel(folderOrId, where), loading, signal);
    try {
      await model.arrived(); // what fails while the weights are read fails here, not in the first forward
      signal?.throwIfAborted();
    } catch (error) {
      model.dispose();
      throw error;
    }
    return model;
  },
};

/** From what lies on the disk, a folder or a GGUF file, or from a piece of a larger model. The event loop has its turns meanwhile; aborting rejects with the signal's reason. */
export function openCausalLM(place: Place, loading: PretrainedOptions, signal?: AbortSignal): Promise<CausalDecoder> {
  return inTurns(opened(place, loading), { signal });
}

/** One line for each kind that a language model comes as. */
function* opened(path: Place, loading: PretrainedOptions): Pieces<CausalDecoder> {
  if (typeof path !== "string") return yield* inPieces(familyOf, path, loading);
  if (statSync(path, { throwIfNoEntry: false })?.isFile()) return yield* llamaFromGgufInPieces(path, loading);
  const json = readConfig(path);
  const kind = json.model_type;
  if (typeof kind !== "string") throw new ConfigError("model_type", `one of ${DECODER_TYPES.join(", ")}`, kind);
  const known = modelType(json);
  if (known?.kind === "encoder")
    throw new ConfigError("model_type", `one of ${DECODER_TYPES.join(", ")}`, kind, `it is an encoder, ${known.name}: take AutoEncoder`);
  return yield* inPieces(familyOf, path, loading);
}
