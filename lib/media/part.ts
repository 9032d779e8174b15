// What a prompt may hold beside text, and what an encoder is given for it.
import type { AudioPart } from "./audio.js";
import type { ImagePart } from "./image.js";
import type { ImuPart } from "./imu.js";
import type { Loading } from "./source.js";
import type { VideoPart } from "./video.js";

export type MediaPart = ImagePart | VideoPart | AudioPart | ImuPart;
export type Modality = MediaPart["modality"];

/** A batch as an encoder takes it. */
export interface EncoderInput {
  data: Float32Array;
  shape: number[];
  /** CLAP with fusion: which clips are longer than one window. */
  isLonger?: boolean[];
}

/** Files to an encoder's input, as the encoder's preprocessor_config.json says. */
export interface MediaProcessor<P extends MediaPart> {
  process(parts: readonly P[], loading?: Loading): Promise<EncoderInput>;
}
