// How a language model of any family is read from its files.
import type { Pieces } from "../core/turns.js";
import { Checkpoint, type WeightSource } from "../io/checkpoint.js";
import { Weights } from "../nn/weights.js";
import type { CausalDecoder } from "./causal-decoder.js";
import { type Json, readConfig, storedDType } from "./config.js";
import { decoderOf } from "./decoder.js";
import type { DecoderConfig } from "./decoder-config.js";
import { tellDense } from "./llama-checkpoint.js";
import { generationEnds, int8Threshold } from "./llama-config.js";
import { asStored } from "./llama-ties.js";
import type { PretrainedOptions } from "./loading.js";
import { isWhole } from "./model-types.js";
import type { Place } from "./piece.js";
import { isUnwritten, storedQuantization } from "./unwritten.js";

/** What a family says of its files. */
export interface DecoderFamily<C extends DecoderConfig, M extends CausalDecoder<C>> {
  /** Of config.json. Throws E_CONFIG on what could not be built. */
  parse(json: Json): C;
  /** What the table is called. */
  embedding: string;
  /** The file under the names of the family's class, where it has others. */
  named?(checkpoint: WeightSource): WeightSource;
  /** What the file says where config.json does not. */
  fitted?(config: C, checkpoint: WeightSource): C;
  /** Throws E_CONFIG where a size differs, E_STATE where weights are missing. */
  check(config: C, checkpoint: WeightSource): void;
  /** When it fails, or is abandoned, nothing of it is left. */
  built(at: Weights, config: C): Pieces<M>;
}

/** From a folder in Hugging Face layout, or a piece of a larger model, a layer at a time. `familyOf` says of the language model's own configuration what it is. */
export function* inPieces<C extends DecoderConfig, M extends CausalDecoder<C>>(
  familyOf: (json: Json) => DecoderFamily<C, M>,
  place: Place,
  { device, dtype, trainable = false, quantization }: PretrainedOptions,
): Pieces<M> {
  if (typeof place === "string") {
    const json = readConfig(place);
    const ends = generationEnds(place);
    if (isUnwritten(place, device)) {
      const family = familyOf(json);
      const config = family.parse({ ...json, ...(ends.length && { eos_token_id: ends }) });
      const form = quantization ?? storedQuantization(json);
      return yield* family.built(Weights.fresh({ device, dtype: dtype ?? storedDType(json), trainable, quantization: form }), config);
    }
    using file = Checkpoint.open(place);
    const piece = isWhole(json) ? decoderOf(file, json) : { source: file, config: json };
    const config = { ...piece.config, ...(ends.length && { eos_token_id: ends }) };
    return yield* inPieces(
      familyOf,
      { ...piece, config },
      { device, trainable, ...(dtype && { dtype }), ...(quantization && { quantization }) },
    );
  }
  const json = place.config;
  const family = familyOf(json);
  const parsed = family.parse(json);
  const source = family.named?.(place.source) ?? place.source;
  const { config, checkpoint } = yield* asStored(family.fitted?.(parsed, source) ?? parsed, source, family.embedding);
  family.check(config, checkpoint);
  const threshold = int8Threshold(json);
  tellDense(json, checkpoint);
  const at = Weights.from(checkpoint, { device, dtype: dtype ?? storedDType(json), trainable, quantization, int8Threshold: threshold });
  return yield* family.built(at, config);
}
