// Qwen2-Audio's encoder (arXiv 2407.10759): Whisper's, with padding hidden from attention and rows averaged by pairs, one for every 40 ms.
import type { Tensor } from "../core/tensor.js";
import { meanPool, sliceCopy } from "../ops/index.js";
import type { Json } from "./config.js";
import type { EncoderLoading } from "./encoder.js";
import type { Place } from "./piece.js";
import { parseQwen2AudioConfig, speechJson } from "./speech-config.js";
import { SpeechTower, speechPrefix } from "./speech-tower.js";
import { fromFolder } from "./tower.js";

/** Log-mel chunks (N,bins,frames) → rows (N,frames/4,d). Construct it through fromPretrained(). */
export class Qwen2AudioEncoder extends SpeechTower {
  readonly kind = "qwen2-audio";
  protected readonly hides = true;

  /** From a folder of a whole Qwen2-Audio, or of its encoder. Frozen, in the dtype of the checkpoint, unless told otherwise. */
  static fromPretrained(place: Place, loading: EncoderLoading): Qwen2AudioEncoder {
    return fromFolder(
      place,
      loading,
      (at, json, checkpoint) => new Qwen2AudioEncoder(at.at(speechPrefix(checkpoint)), parseQwen2AudioConfig(json)),
    );
  }

  /** A row that is left over has no pair, and goes; one that is all there is stays. */
  protected final(x: Tensor): Tensor {
    const [N, S, C] = x.shape as [number, number, number];
    if (S === 1) return this.layerNorm.forward(x);
    const pairs = this.finalRows(S);
    const even = S === 2 * pairs ? x : sliceCopy(x, 1, 0, 2 * pairs);
    return this.layerNorm.forward(meanPool(even.reshape([N * pairs, 2, C]), 1).reshape([N, pairs, C]));
  }
  protected finalRows(rows: number): number {
    return Math.max(1, Math.floor(rows / 2));
  }

  configJson(): Json {
    return { architectures: ["Qwen2AudioEncoder"], model_type: "qwen2_audio_encoder", ...speechJson(this.config) };
  }
}
