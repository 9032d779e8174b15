// BERT's layer (arXiv 1810.04805), each norm behind its sum, as the Q-Former has it (BLIP-2, arXiv 2301.12597, section 3.1): rows of queries and of text attend
// to each other through one attention; between that and the feed-forward the queries alone look at a medium, and either kind has a feed-forward of its own.
import { scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { type ActivationKind, activation, add, attention, concat, sliceCopy } from "../ops/index.js";
import { dropped } from "./dropped.js";
import { type LinearLayer, storedLinear } from "./linear.js";
import { Module } from "./module.js";
import { LayerNorm } from "./norm.js";
import type { Weights } from "./weights.js";

export interface BertLayerConfig {
  width: number;
  heads: number;
  /** Width of the middle of the feed-forwards. */
  hidden: number;
  activation: ActivationKind;
  eps: number;
  /** d of the medium's rows, where this layer's queries look at it. */
  cross?: number | undefined;
  /** Is there a feed-forward for rows of text? */
  text: boolean;
  /** What of the outputs of attention and feed-forward is dropped in training. Default 0. */
  dropout?: number | undefined;
}

/** Which keys a row sees; all of them without either. */
export interface Seen {
  /** (B,2) i32: keys [start, end). */
  range?: Tensor | undefined;
  /** (1|B,1,T,S) f32: 0, or -∞ where not. */
  bias?: Tensor | undefined;
}

/** What a layer is told beside its rows. */
export interface BertTold {
  /** How many of the rows, the first ones, are queries. */
  queries: number;
  /** Of queries and text among themselves. */
  seen?: Seen | undefined;
  /** (B,S,d) */
  media?: Tensor | undefined;
  /** Of the medium's rows by the queries. */
  mediaSeen?: Seen | undefined;
}

const STD = 0.02;
const dense = (at: Weights, from: number, to: number): LinearLayer => storedLinear(at, from, to, { init: { normal: STD } });

class Projections extends Module {
  query: LinearLayer;
  key: LinearLayer;
  value: LinearLayer;

  constructor(at: Weights, width: number, from: number) {
    super();
    this.query = dense(at.at("query"), width, width);
    this.key = dense(at.at("key"), from, width);
    this.value = dense(at.at("value"), from, width);
  }
}

/** norm(dropout(dense(y)) + x) */
class Output extends Module {
  dense: LinearLayer;
  norm: LayerNorm;
  readonly dropout: number;

  constructor(at: Weights, from: number, { width, eps, dropout = 0 }: Pick<BertLayerConfig, "width" | "eps" | "dropout">) {
    super();
    this.dropout = dropout;
    this.dense = dense(at.at("dense"), from, width);
    this.norm = new LayerNorm(at.at("LayerNorm"), width, eps);
  }
  protected override stateName(field: string): string {
    return field === "norm" ? "LayerNorm" : super.stateName(field);
  }
  forward(y: Tensor, x: Tensor): Tensor {
    return this.norm.forward(add(dropped(this, this.dense.forward(y), this.dropout), x));
  }
}

class Intermediate extends Module {
  dense: LinearLayer;

  constructor(
    at: Weights,
    width: number,
    hidden: number,
    readonly kind: ActivationKind,
  ) {
    super();
    this.dense = dense(at.at("dense"), width, hidden);
  }
  forward(x: Tensor): Tensor {
    return activation(this.dense.forward(x), this.kind);
  }
}

/** Attention to the rows themselves, or to those of a medium, with its output and norm. */
export class BertAttention extends Module {
  attention: Projections;
  output: Output;

  constructor(
    at: Weights,
    readonly heads: number,
    config: Pick<BertLayerConfig, "width" | "eps" | "dropout">,
    from = config.width,
  ) {
    super();
    this.attention = new Projections(at.at("attention"), config.width, from);
    this.output = new Output(at.at("output"), config.width, config);
  }

  /** x (B,T,C), from (B,S,d) → (B,T,C). */
  forward(x: Tensor, from: Tensor, { range, bias }: Seen = {}): Tensor {
    const { query, key, value } = this.attention;
    const [B, T, C] = x.shape as [number, number, number];
    const split = (y: Tensor) => y.reshape([B, -1, this.heads, C / this.heads]);
    const y = attention(split(query.forward(x)), split(key.forward(from)), split(value.forward(from)), { range, bias });
    return this.output.forward(y.reshape([B, T, C]), x);
  }
}

export class BertLayer extends Module {
  attention: BertAttention;
  crossattention: BertAttention | undefined;
  intermediate: Intermediate | undefined;
  output: Output | undefined;
  intermediateQuery: Intermediate;
  outputQuery: Output;

  constructor(at: Weights, config: BertLayerConfig) {
    super();
    const { width, heads, hidden, activation: kind, cross, text } = config;
    const intermediate = (name: string) => new Intermediate(at.at(name), width, hidden, kind);
    const output = (name: string) => new Output(at.at(name), hidden, config);
    this.attention = new BertAttention(at.at("attention"), heads, config);
    this.crossattention = cross === undefined ? undefined : new BertAttention(at.at("crossattention"), heads, config, cross);
    this.intermediate = text ? intermediate("intermediate") : undefined;
    this.output = text ? output("output") : undefined;
    this.intermediateQuery = intermediate("intermediate_query");
    this.outputQuery = output("output_query");
  }

  /** (B,T,C) → (B,T,C), the queries first. */
  forward(x: Tensor, { queries: Q, seen, media, mediaSeen }: BertTold): Tensor {
    return scope(() => {
      const T = x.shape[1] as number;
      const y = this.attention.forward(x, x, seen);
      if (!Q) return this.#text(y);
      let asked = Q < T ? sliceCopy(y, 1, 0, Q) : y;
      if (this.crossattention && media) asked = this.crossattention.forward(asked, media, mediaSeen);
      const told = this.outputQuery.forward(this.intermediateQuery.forward(asked), asked);
      return Q < T ? concat([told, this.#text(sliceCopy(y, 1, Q, T - Q))], 1) : told;
    });
  }

  #text(y: Tensor): Tensor {
    const { intermediate, output } = this as { intermediate: Intermediate; output: Output };
    return output.forward(intermediate.forward(y), y);
  }
}
