// What the configurations of all families of language models have in common.
import type { RopeScaling } from "../nn/rope-frequencies.js";

export interface DecoderConfig {
  vocabSize: number;
  /** Of the layers; embeddings may be of another width. */
  hiddenSize: number;
  intermediateSize: number;
  layers: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  /** Positions that the model is good for. */
  maxPositions: number;
  tieWordEmbeddings: boolean;
  bosTokenId: number | undefined;
  eosTokenIds: number[];
  padTokenId: number | undefined;
  /** Of a family whose positions turn queries and keys. */
  ropeScaling?: RopeScaling;
}
