// Is the head the embedding? config.json claims it, the file may hold another thing; as in transformers (tie_weights) the file counts: two tables that
// differ are two, and of a tied pair it is enough that either is stored.
import { notice } from "../core/notice.js";
import type { Pieces } from "../core/turns.js";
import { sameTensor, type WeightSource } from "../io/checkpoint.js";
import { renamed } from "../io/views.js";
import type { DecoderConfig } from "./decoder-config.js";

export const HEAD = "lm_head.weight";

interface Stored<C extends DecoderConfig> {
  config: C;
  checkpoint: WeightSource;
}

/** The configuration as the file has it, and a file in which a tied table is found under the name of the embedding. */
export function* asStored<C extends DecoderConfig>(config: C, checkpoint: WeightSource, embedding: string): Pieces<Stored<C>> {
  if (!config.tieWordEmbeddings || !checkpoint.has(HEAD)) return { config, checkpoint };
  if (!checkpoint.has(embedding)) return { config, checkpoint: renamed(checkpoint, (name) => (name === HEAD ? embedding : name)) };
  if (yield* sameTensor(checkpoint, embedding, HEAD)) return { config, checkpoint };
  notice(
    "ANYMAL_NOT_TIED",
    `${checkpoint.path}: config.json ties the head to the embedding, but ${HEAD} and ${embedding} differ, so both are read, as transformers does; set "tie_word_embeddings": false`,
  );
  return { config: { ...config, tieWordEmbeddings: false }, checkpoint };
}
