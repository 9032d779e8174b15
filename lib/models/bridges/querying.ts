// The Q-Former's body (BLIP-2, arXiv 2301.12597; lavis/models/blip2_models/Qformer.py): rows of queries, of text, or of both, through BERT layers of which every
// n-th lets the queries look at a medium. Names are transformers': with the words' tables inside as InstructBLIP has them, or without as BLIP-2's.
import { expected } from "../../core/errors.js";
import { built, scope } from "../../core/scope.js";
import { Tensor } from "../../core/tensor.js";
import { BertLayer, type BertTold } from "../../nn/bert-layer.js";
import { dropped } from "../../nn/dropped.js";
import { Embedding } from "../../nn/embedding.js";
import { Module } from "../../nn/module.js";
import { LayerNorm } from "../../nn/norm.js";
import type { Weights } from "../../nn/weights.js";
import { type ActivationKind, add, cast, concat } from "../../ops/index.js";

export interface WordsConfig {
  /** Rows of the table of words. */
  vocabulary: number;
  /** … and of that of positions: no text is longer. */
  positions: number;
  /** The id that stands for no word. */
  padding?: number | undefined;
}

export interface QFormerConfig {
  /** d of the medium's rows. */
  dim: number;
  width: number;
  layers: number;
  heads: number;
  /** Width of the middle of the feed-forwards. */
  hidden: number;
  /** Layers 0, every, 2 · every, … look at the medium. */
  every: number;
  activation: ActivationKind;
  eps: number;
  /** Is there a feed-forward for rows of text? */
  text: boolean;
  /** What is dropped in training behind the embeddings, attention and feed-forwards; of the probabilities of attention nothing is. Default 0. */
  dropout?: number | undefined;
  /** Tables of words, inside. */
  words?: WordsConfig | undefined;
}

/** Rows of ids, each as long as it is. */
export type IdRows = readonly ArrayLike<number>[];

/** Words and places, added up; nothing is normalised yet. */
export class QFormerWords extends Module {
  wordEmbeddings: Embedding;
  positionEmbeddings: Embedding;

  constructor(
    at: Weights,
    width: number,
    readonly config: WordsConfig,
  ) {
    super();
    const { vocabulary, positions, padding } = config;
    this.wordEmbeddings = new Embedding(at.at("word_embeddings"), vocabulary, width, { padding });
    this.positionEmbeddings = new Embedding(at.at("position_embeddings"), positions, width);
  }

  /** Rows of ids, filled up on the right to the longest → (B,T,C). Throws E_SHAPE on a row that is longer than the table, E_VALUE on an id beyond it. */
  forward(ids: IdRows): Tensor {
    const { vocabulary, positions, padding = 0 } = this.config;
    const T = longest(ids);
    if (T > positions) throw expected("E_SHAPE", "Q-Former", `a text of at most ${positions} tokens`, T, "shorten it");
    const flat = new Int32Array(ids.length * T).fill(padding);
    for (const [b, row] of ids.entries()) flat.set(row, b * T);
    const wrong = flat.find((id) => !(id >= 0 && id < vocabulary));
    if (wrong !== undefined)
      throw expected(
        "E_VALUE",
        "Q-Former",
        `ids below ${vocabulary}, the rows of its table`,
        wrong,
        "take the tokenizer that it was trained with",
      );
    return scope(() => {
      const { device } = this.wordEmbeddings.weight;
      const places = Tensor.from(
        Int32Array.from({ length: T }, (_, i) => i),
        [T],
        { device },
      );
      return add(this.wordEmbeddings.forward(Tensor.from(flat, [ids.length, T], { device })), this.positionEmbeddings.forward(places));
    });
  }
}

export const longest = (ids: IdRows): number => ids.reduce((most, { length }) => Math.max(most, length), 0);

/** The same with the norm that is over queries and words alike. */
class QFormerEmbeddings extends QFormerWords {
  layernorm: LayerNorm;

  constructor(at: Weights, width: number, config: WordsConfig, eps: number) {
    super(at, width, config);
    this.layernorm = new LayerNorm(at.at("layernorm"), width, eps);
  }
}

/** Rows of queries, of text, or of both, through BERT's layers, of which every n-th lets the queries look at a medium. */
export class QFormer extends Module {
  layernorm: LayerNorm | undefined;
  embeddings: QFormerEmbeddings | undefined;
  layers: BertLayer[];

  constructor(
    at: Weights,
    readonly config: QFormerConfig,
  ) {
    super();
    const { dim, layers, every, width, eps, words } = config;
    [this.layernorm, this.embeddings, this.layers] = built(() => [
      words ? undefined : new LayerNorm(at.at("layernorm"), width, eps),
      words ? new QFormerEmbeddings(at.at("embeddings"), width, words, eps) : undefined,
      Array.from({ length: layers }, (_, i) => {
        const cross = i % every === 0 ? dim : undefined;
        return new BertLayer(at.at("encoder.layer").at(i), { ...config, cross });
      }),
    ]);
  }

  protected override stateName(field: string): string {
    return field === "layers" ? "encoder.layer" : super.stateName(field);
  }

  /** Rows (B,T,C) as they are embedded, the queries first → (B,T,C) of each layer, what the first one reads before them. */
  states(rows: Tensor, told: BertTold): Tensor[] {
    const norm = (this.embeddings ?? this).layernorm as LayerNorm;
    const states = [dropped(this, norm.forward(rows), this.config.dropout ?? 0)];
    for (const layer of this.layers) states.push(layer.forward(states.at(-1) as Tensor, told));
    return states;
  }
  forward(rows: Tensor, told: BertTold): Tensor {
    return scope(() => this.states(rows, told).at(-1) as Tensor);
  }

  /** Queries (B,Q,C) with the words of `text` behind them, and of a batch of rows of unlike length which keys stand for something. */
  withText(queries: Tensor, text: IdRows): { rows: Tensor; range: Tensor | undefined } {
    const { embeddings } = this;
    const [B, Q] = queries.shape as [number, number];
    if (!embeddings || !longest(text)) return { rows: queries, range: undefined };
    const words = embeddings.forward(text);
    const rows = concat([queries, words.dtype === queries.dtype ? words : cast(words, queries.dtype)], 1);
    return { rows, range: keysOf(text, B, Q, queries.device) };
  }
}

/** (B,2) of keys behind `before` others that all rows have. */
export function keysOf(text: IdRows, B: number, before: number, device: Tensor["device"]): Tensor {
  return Tensor.from(Int32Array.from(text.flatMap(({ length }) => [0, before + length])), [B, 2], { device });
}
