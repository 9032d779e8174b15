// config.json of Whisper's encoder (arXiv 2212.04356) and of Qwen2-Audio's (2407.10759), which is one with a pooling behind its blocks. Missing keys have
// transformers' defaults.
import type { ActivationKind } from "../ops/index.js";
import { activationKind, activationName, headsOf, type Json } from "./config.js";
import { checkKeys } from "./config-keys.js";
import { layersOf, widthOf } from "./encoder-config.js";
import { ENCODER_KEYS } from "./encoder-keys.js";
import { type TowerKind, towerConfig } from "./tower.js";

export interface SpeechConfig {
  melBins: number;
  /** Places in the table of positions: a chunk has twice as many frames. */
  positions: number;
  hiddenSize: number;
  intermediateSize: number;
  layers: number;
  heads: number;
  /** Of the blocks; behind the convolutions it is GELU whatever this says. */
  activation: ActivationKind;
}

const WHISPER: TowerKind = { alone: ["whisper"], section: "audio_config" };
const QWEN2_AUDIO: TowerKind = { alone: ["qwen2_audio_encoder"], whole: "qwen2_audio", section: "audio_config" };

/** Of a WhisperForConditionalGeneration, a WhisperModel or its encoder alone: they share one configuration. */
export function parseWhisperConfig(json: Json): SpeechConfig {
  const { own } = towerConfig(json, WHISPER);
  checkKeys(own, "Whisper", ENCODER_KEYS.whisper);
  return parsed(own, { mels: 80, width: 384, hidden: 1536, layers: 4, heads: 6 });
}

/** Of a Qwen2AudioForConditionalGeneration, or its encoder alone. */
export function parseQwen2AudioConfig(json: Json): SpeechConfig {
  const { own } = towerConfig(json, QWEN2_AUDIO);
  checkKeys(own, "Qwen2-Audio", ENCODER_KEYS.whisper);
  return parsed(own, { mels: 128, width: 1280, hidden: 5120, layers: 32, heads: 20 });
}

function parsed(c: Json, usual: Readonly<Record<"mels" | "width" | "hidden" | "layers" | "heads", number>>): SpeechConfig {
  const hiddenSize = widthOf(c, "d_model", usual.width);
  return {
    melBins: widthOf(c, "num_mel_bins", usual.mels),
    positions: widthOf(c, "max_source_positions", 1500),
    hiddenSize,
    intermediateSize: widthOf(c, "encoder_ffn_dim", usual.hidden),
    layers: layersOf(c, "encoder_layers", usual.layers),
    heads: headsOf(c, "encoder_attention_heads", hiddenSize, usual.heads),
    activation: activationKind(c, "activation_function", "gelu"),
  };
}

/** What both write of themselves. */
export function speechJson(c: SpeechConfig): Json {
  return {
    num_mel_bins: c.melBins,
    max_source_positions: c.positions,
    d_model: c.hiddenSize,
    encoder_ffn_dim: c.intermediateSize,
    encoder_layers: c.layers,
    encoder_attention_heads: c.heads,
    activation_function: activationName(c.activation),
  };
}
