// The encoder that a folder's config.json names.
import { ClapAudioModel } from "./clap-audio.js";
import { ClipVisionModel } from "./clip-vision.js";
import { ConfigError, readConfig } from "./config.js";
import type { Encoder, EncoderLoading } from "./encoder.js";
import { Imu2ClipModel } from "./imu2clip.js";
import { ViClipModel } from "./vi-clip.js";

const KINDS: Readonly<Record<string, { fromPretrained(folder: string, loading: EncoderLoading): Encoder }>> = {
  clap: ClapAudioModel,
  clap_audio_model: ClapAudioModel,
  clip: ClipVisionModel,
  clip_vision_model: ClipVisionModel,
  viclip: ViClipModel,
  imu2clip: Imu2ClipModel,
};

export const AutoEncoder = {
  /** From a folder in Hugging Face layout. Frozen, in the dtype of the checkpoint, unless told otherwise. */
  fromPretrained(folder: string, loading: EncoderLoading): Encoder {
    const kind = readConfig(folder).model_type;
    const of = typeof kind === "string" && Object.hasOwn(KINDS, kind) ? KINDS[kind] : undefined;
    if (!of) throw new ConfigError("model_type", `one of ${Object.keys(KINDS).join(", ")}`, kind);
    return of.fromPretrained(folder, loading);
  },
};
