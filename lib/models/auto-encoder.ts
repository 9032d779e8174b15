// The encoder that a folder holds, alone or inside of a larger model.
import type { Device } from "../core/device.js";
import { checkOptions } from "../core/options.js";
import { resolveModel } from "../io/hub.js";
import type { Quantization } from "../nn/weights.js";
import { Blip2VisionModel } from "./blip2-vision.js";
import { BLIP2_TOWERS } from "./blip2-vision-config.js";
import { ClapAudioModel } from "./clap-audio.js";
import { ClipVisionModel } from "./clip-vision.js";
import { ConfigError, type Json, readConfig } from "./config.js";
import { Dinov2Model } from "./dinov2.js";
import type { Encoder, EncoderLoading } from "./encoder.js";
import { ImuVitModel } from "./imu-vit.js";
import { Imu2ClipModel } from "./imu2clip.js";
import { deviceOf, dtypeOf, OTHER_LOADING, type QuantizationName, quantizationOf } from "./loading.js";
import { readOpenClipConfig } from "./open-clip-config.js";
import { OpenClipVisionModel } from "./open-clip-vision.js";
import type { Piece } from "./piece.js";
import { Qwen2AudioEncoder } from "./qwen2-audio.js";
import { SiglipVisionModel } from "./siglip-vision.js";
import { isUnwritten } from "./unwritten.js";
import { ViClipModel } from "./vi-clip.js";
import { VideoMaeModel } from "./video-mae.js";
import { WhisperEncoder } from "./whisper.js";

export interface AutoEncoderOptions {
  /** A device, or "cpu", "cuda" or "auto". Default: ANYMAL_DEVICE, or the CPU. */
  device?: Device | string;
  /** Of the activations; default: what the checkpoint suggests. */
  dtype?: "f32" | "bf16";
  /** Branch, tag or commit of a model on the hub. */
  revision?: string;
  /** f32 masters that take gradients. Default false: frozen. */
  trainable?: boolean;
  /** Quantises the linear layers of the blocks while they are loaded; layers outside of them, and convolutions, stay as they are. Default: as stored. */
  quantization?: QuantizationName | Quantization;
  signal?: AbortSignal;
  /** No request to the hub: what a name or a checkpoint asks for is on this machine, or E_HUB_OFFLINE. Default false. */
  localFilesOnly?: boolean;
}

interface Kind {
  fromPretrained(folder: string, loading: EncoderLoading): Encoder;
}

/** CLIP's image tower has two spellings of its names. */
const clip: Kind = {
  fromPretrained: (folder, loading) =>
    !isUnwritten(folder, loading.device) && OpenClipVisionModel.names(folder)
      ? OpenClipVisionModel.fromPretrained(folder, loading)
      : ClipVisionModel.fromPretrained(folder, loading),
};

/** By model_type: of the tower alone, or of the model that pairs it with a text tower. */
const KINDS: Readonly<Record<string, Kind>> = {
  ...Object.fromEntries(BLIP2_TOWERS.map((type): [string, Kind] => [type, Blip2VisionModel])),
  clap: ClapAudioModel,
  clap_audio_model: ClapAudioModel,
  clip,
  clip_vision_model: clip,
  dinov2: Dinov2Model,
  dinov2_with_registers: Dinov2Model,
  imu2clip: Imu2ClipModel,
  imu_vit: ImuVitModel,
  qwen2_audio_encoder: Qwen2AudioEncoder,
  siglip: SiglipVisionModel,
  siglip2: SiglipVisionModel, // says what to take instead
  siglip2_vision_model: SiglipVisionModel,
  siglip_vision_model: SiglipVisionModel,
  viclip: ViClipModel,
  videomae: VideoMaeModel,
  whisper: WhisperEncoder,
};

export const ENCODER_TYPES: readonly string[] = Object.keys(KINDS);

const KEYS = ["device", "dtype", "revision", "trainable", "quantization", "signal", "localFilesOnly"];

/** Opens the encoder of a folder or of the hub, whichever it is. */
export const AutoEncoder = {
  /**
   * From a folder in Hugging Face layout or of OpenCLIP, or by its id on the hub. An encoder inside of a larger model, such as LLaVA's, is found;
   * what else the checkpoint holds stands in `leftover`. Resolves when the weights are on the device. Throws E_CONFIG, E_STATE or E_SAFETENSORS
   * where the folder does not hold the encoder that it claims to, E_DEVICE or E_DTYPE on an option that does not fit.
   */
  async fromPretrained(folderOrId: string, options: AutoEncoderOptions = {}): Promise<Encoder> {
    checkOptions("AutoEncoder.fromPretrained", options, KEYS, { others: OTHER_LOADING });
    const { device, dtype, trainable = false, quantization, ...where } = options;
    const { signal } = where;
    signal?.throwIfAborted();
    const [computed, held] = [dtypeOf(dtype), quantizationOf(quantization)];
    const loading: EncoderLoading = { device: await deviceOf(device), trainable, quantization: held, ...(computed && { dtype: computed }) };
    const folder = await resolveModel(folderOrId, where);
    const encoder = kindOf(folder).fromPretrained(folder, loading);
    try {
      await encoder.arrived(); // what fails while the weights are read fails here, not in the first forward
      signal?.throwIfAborted();
    } catch (error) {
      encoder.dispose();
      throw error;
    }
    return encoder;
  },
};

/** Towers that larger models see through. */
const PIECES: Readonly<Record<string, { fromPretrained(place: Piece, loading: EncoderLoading): Encoder }>> = {
  clip_vision_model: ClipVisionModel,
  qwen2_audio_encoder: Qwen2AudioEncoder,
  siglip_vision_model: SiglipVisionModel,
  ...Object.fromEntries(BLIP2_TOWERS.map((type) => [type, Blip2VisionModel])),
};

/** From a piece of a larger model. Resolves when the weights are on the device. */
export async function openEncoder(piece: Piece, loading: EncoderLoading): Promise<Encoder> {
  const type = piece.config.model_type;
  const open = typeof type === "string" && Object.hasOwn(PIECES, type) ? PIECES[type] : undefined;
  if (!open) throw new ConfigError("vision_config.model_type", `one of ${Object.keys(PIECES).join(", ")}`, type);
  const encoder = open.fromPretrained(piece, loading);
  try {
    await encoder.arrived();
  } catch (error) {
    encoder.dispose();
    throw error;
  }
  return encoder;
}

function kindOf(folder: string): Kind {
  if (readOpenClipConfig(folder)) return OpenClipVisionModel;
  const json = readConfig(folder);
  if (json.model_type === "idefics") return clip;
  const types = [json, json.vision_config, json.audio_config].map((part) => (part as Json | null | undefined)?.model_type);
  for (const type of types) if (typeof type === "string" && Object.hasOwn(KINDS, type)) return KINDS[type] as Kind;
  const elsewhere = json.mm_vision_tower; // LLaVA's own checkpoints name the folder of their tower
  throw new ConfigError(
    "model_type",
    `one of ${Object.keys(KINDS).join(", ")}`,
    json.model_type,
    typeof elsewhere === "string"
      ? `its encoder is another checkpoint: take ${JSON.stringify(elsewhere)}`
      : "take an encoder of one of these kinds",
  );
}
