// What a prompt may hold beside text, and what an encoder is given for it.
import type { BuiltIn, KINDS, Kind, OwnPart } from "./kinds/index.js";
import type { Loading } from "./source.js";

type PartOf<K> = K extends Kind<infer P> ? P : never;

export type MediaPart = PartOf<(typeof KINDS)[BuiltIn]> | OwnPart;
/** A kind of media by its name: one that is here from the start, or of the user's own. */
export type Modality = BuiltIn | (string & {});

/** A batch as an encoder takes it. */
export interface EncoderInput {
  data: Float32Array;
  shape: number[];
  /** CLAP with fusion: which clips are longer than one window. */
  isLonger?: boolean[];
  /** Sounds in chunks of one length: of each chunk, the frames before its padding. */
  heard?: number[];
  /** … and how many of the leading size are each medium's. */
  chunks?: number[];
}

/** Files to an encoder's input, as the encoder's preprocessor_config.json says. */
export interface MediaProcessor<P extends MediaPart> {
  process(parts: readonly P[], loading?: Loading): Promise<EncoderInput>;
}
