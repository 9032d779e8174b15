// Is the head the embedding? config.json claims it, the file may hold another thing; as in transformers (tie_weights) the file counts: two tables that
// differ are two, and of a tied pair it is enough that either is stored.
import { notice } from "../core/notice.js";
import type { Pieces } from "../core/turns.js";
import { sameTensor, type WeightSource } from "../io/checkpoint.js";
import { renamed } from "../io/views.js";
import type { LlamaConfig } from "./llama-config.js";

export const EMBEDDING = "model.embed_tokens.weight";
export const HEAD = "lm_head.weight";

interface Stored {
  config: LlamaConfig;
  checkpoint: WeightSource;
}

/** The configuration as the file has it, and a file in which a tied table is found as the embedding. */
export function* asStored(config: LlamaConfig, checkpoint: WeightSource): Pieces<Stored> {
  if (!config.tieWordEmbeddings || !checkpoint.has(HEAD)) return { config, checkpoint };
  if (!checkpoint.has(EMBEDDING)) return { config, checkpoint: renamed(checkpoint, (name) => (name === HEAD ? EMBEDDING : name)) };
  if (yield* sameTensor(checkpoint, EMBEDDING, HEAD)) return { config, checkpoint };
  notice(
    "ANYMAL_NOT_TIED",
    `${checkpoint.path}: config.json ties the head to the embedding, but ${HEAD} and ${EMBEDDING} differ, so both are read, as transformers does; set "tie_word_embeddings": false`,
  );
  return { config: { ...config, tieWordEmbeddings: false }, checkpoint };
}
