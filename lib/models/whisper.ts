// Whisper's encoder (arXiv 2212.04356): speech in 30 s chunks to a row for every 20 ms. Padding is not hidden from its blocks: it was trained so.
import type { Tensor } from "../core/tensor.js";
import type { Json } from "./config.js";
import type { EncoderLoading } from "./encoder.js";
import type { Place } from "./piece.js";
import { parseWhisperConfig, speechJson } from "./speech-config.js";
import { SpeechTower, speechPrefix } from "./speech-tower.js";
import { fromFolder } from "./tower.js";

/** Log-mel chunks (N,bins,frames) → rows (N,frames/2,d). Construct it through fromPretrained(). */
export class WhisperEncoder extends SpeechTower {
  readonly kind = "whisper";
  protected readonly hides = false;

  /** From a folder of a whole Whisper, or of its encoder. Frozen, in the dtype of the checkpoint, unless told otherwise. */
  static fromPretrained(place: Place, loading: EncoderLoading): WhisperEncoder {
    return fromFolder(
      place,
      loading,
      (at, json, checkpoint) => new WhisperEncoder(at.at(speechPrefix(checkpoint)), parseWhisperConfig(json)),
    );
  }

  protected final(x: Tensor): Tensor {
    return this.layerNorm.forward(x);
  }
  protected finalRows(rows: number): number {
    return rows;
  }

  configJson(): Json {
    return { architectures: ["WhisperEncoder"], model_type: "whisper", ...speechJson(this.config) };
  }
}
