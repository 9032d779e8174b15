// BLIP-2's first stage (arXiv 2301.12597, section 3.2; lavis/models/blip2_models/blip2_qformer.py): a Q-Former learns from pairs of a medium and its caption which of
// the medium's rows tell what text speaks of. One set of weights, three losses: queries and text apart (contrastive), all seeing all (matching), text after text
// with the queries before it (language). Names are transformers' Blip2ForImageTextRetrieval's, and LAVIS' of the head that writes.
import { noGrad } from "../core/autograd.js";
import { expected } from "../core/errors.js";
import { built, scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { Linear } from "../nn/linear.js";
import { describe, Module, matching, StateError } from "../nn/module.js";
import { LayerNorm } from "../nn/norm.js";
import type { Weights } from "../nn/weights.js";
import { activation, add, concat, copy, gatherRows, l2Normalize, linear, meanPool, sliceCopy } from "../ops/index.js";
import { type Chosen, contrastive, matched, type StageOneLosses, written } from "./blip2-losses.js";
import { type FeatureNorm, featureNorm } from "./bridges/feature-norm.js";
import type { QFormerProjector } from "./bridges/q-former.js";
import { type IdRows, keysOf, longest, QFormer, type QFormerConfig, QFormerWords, type WordsConfig } from "./bridges/querying.js";

export interface Blip2StageOneConfig extends Omit<QFormerConfig, "words" | "text"> {
  queries: number;
  words: WordsConfig;
  /** Width in which media and captions are compared. Default 256. */
  embedDim?: number;
  /** Over the features: LAVIS' ln_vision. transformers' tower has it inside. Default false. */
  normalize?: "layernorm" | false;
}

/** Pair i is medium i and caption i. */
export interface Pairs {
  /** (B,S,d) */
  features: Tensor;
  /** In ids of the Q-Former's tokenizer, each with what it puts around a text: [CLS] … [SEP]. */
  captions: IdRows;
  /** The id that begins a text that is to be written, in the place of the first: [DEC]. */
  begin: number;
}

/** The head that writes: what is behind it are the words' own rows. */
class Writing extends Module {
  dense: Linear;
  norm: LayerNorm;
  bias: Tensor; // (V)

  constructor(at: Weights, width: number, vocabulary: number, eps: number) {
    super();
    this.dense = new Linear(at.at("transform.dense"), width, width, { init: { normal: 0.02 } });
    this.norm = new LayerNorm(at.at("transform.LayerNorm"), width, eps);
    this.bias = at.parameter("bias", [vocabulary], { fill: 0 });
  }
  protected override stateName(field: string): string {
    return { dense: "transform.dense", norm: "transform.LayerNorm" }[field] ?? super.stateName(field);
  }
  forward(x: Tensor): Tensor {
    return this.norm.forward(activation(this.dense.forward(x), "gelu"));
  }
}

/** A Q-Former in its first stage: what it learns from pairs of media and captions, and how it compares, matches and writes. represent() trains it. */
export class Blip2StageOne extends Module {
  input: FeatureNorm | undefined;
  queryTokens: Tensor; // (1,Q,C)
  embeddings: QFormerWords;
  qformer: QFormer;
  visionProjection: Linear;
  textProjection: Linear;
  itmHead: Linear;
  writing: Writing;
  /** (1): what cosines are divided by. */
  temp: Tensor;

  constructor(
    at: Weights,
    readonly config: Blip2StageOneConfig,
  ) {
    super();
    const { queries, words, embedDim = 256, normalize = false, width, dim, eps, ...body } = config;
    [
      this.input,
      this.queryTokens,
      this.embeddings,
      this.qformer,
      this.visionProjection,
      this.textProjection,
      this.itmHead,
      this.writing,
      this.temp,
    ] = built(() => [
      featureNorm(at.at("input"), dim, normalize),
      at.parameter("query_tokens", [1, queries, width], { normal: 0.02 }),
      new QFormerWords(at.at("embeddings"), width, words),
      new QFormer(at.at("qformer"), { ...body, width, dim, eps, text: true }),
      new Linear(at.at("vision_projection"), width, embedDim),
      new Linear(at.at("text_projection"), width, embedDim),
      new Linear(at.at("itm_head"), width, 2),
      new Writing(at.at("cls.predictions"), width, words.vocabulary, eps),
      at.parameter("temp", [1], { fill: 0.07 }),
    ]);
  }

  protected override stateName(field: string): string {
    return field === "writing" ? "cls.predictions" : super.stateName(field);
  }
  get device() {
    return this.queryTokens.device;
  }

  /** (B,Q,E) of unit length: what the queries make of the media. */
  look(features: Tensor): Tensor {
    const rows = this.#queries(features.shape[0] as number);
    const seen = this.qformer.forward(rows, { queries: this.config.queries, media: this.#media(features) });
    return l2Normalize(this.visionProjection.forward(seen));
  }
  /** (B,E) of unit length: captions by their first token. */
  read(captions: IdRows): Tensor {
    const seen = { range: keysOf(captions, captions.length, 0, this.device) };
    const states = this.qformer.forward(this.embeddings.forward(captions), { queries: 0, seen });
    const [B, , C] = states.shape as [number, number, number];
    return l2Normalize(this.textProjection.forward(sliceCopy(states, 1, 0, 1).reshape([B, C])));
  }
  /** (B,2): does the caption fit the medium? The second number says so; the mean over the queries. */
  match(features: Tensor, captions: IdRows): Tensor {
    const { queries: Q } = this.config;
    const [N] = features.shape as [number];
    const rows = concat([this.#queries(N), this.embeddings.forward(captions)], 1);
    const seen = { range: keysOf(captions, N, Q, this.device) };
    const states = this.qformer.forward(rows, { queries: Q, media: this.#media(features), seen });
    return meanPool(this.itmHead.forward(sliceCopy(states, 1, 0, Q)), 1);
  }
  /** (B,T,C) of captions that are being written: what the head makes logits of with the words' rows. */
  write(features: Tensor, captions: IdRows): Tensor {
    const { queries: Q } = this.config;
    const [N] = features.shape as [number];
    const T = longest(captions);
    const rows = concat([this.#queries(N), this.embeddings.forward(captions)], 1);
    const seen = { range: keysOf(captions, N, Q, this.device), bias: writingBias(Q, T, this.device) };
    const states = this.qformer.forward(rows, { queries: Q, media: this.#media(features), seen });
    return this.writing.forward(sliceCopy(states, 1, Q, T));
  }

  /** Of a batch, on the host: cosines of all pairs, media by captions, each that of the query that fits best, and the temperature. */
  async compare({ features, captions }: Pairs): Promise<Chosen> {
    const [media, texts] = noGrad(() => scope(() => [this.look(features), this.read(captions)])) as [Tensor, Tensor];
    const [B, Q, E] = media.shape as [number, number, number];
    const all = noGrad(() => scope(() => linear(media.reshape([B * Q, E]), texts)));
    try {
      const [cosines, temp] = (await Promise.all([all.data(), this.temp.data()])) as [Float32Array, Float32Array];
      const best = new Int32Array(B * B);
      for (let i = 0; i < B; ++i)
        for (let j = 0; j < B; ++j) {
          let at = i * Q * B + j;
          for (let q = 1; q < Q; ++q) if ((cosines[(i * Q + q) * B + j] as number) > (cosines[at] as number)) at = (i * Q + q) * B + j;
          best[i * B + j] = at;
        }
      return { best, similarity: Float32Array.from(best, (at) => cosines[at] as number), temp: temp[0] as number };
    } finally {
      for (const tensor of [media, texts, all]) tensor.dispose();
    }
  }

  /**
   * The three losses (1) of pairs, whose sum is the stage's. `chosen` is what compare() said of them under the same weights; `others` the wrong medium of each
   * caption and the wrong caption of each medium. Throws E_SHAPE where they are not of one batch.
   */
  losses({ features, captions, begin }: Pairs, chosen: Chosen, others: Others): StageOneLosses {
    const B = checked(features, captions, others);
    const smoothing = 0.1;
    const contrast = scope(() => contrastive(this.look(features), this.read(captions), this.temp, chosen, smoothing));
    const matching = scope(() => {
      const rows = features.reshape([B, -1]);
      const order = Int32Array.from([...range(B), ...others.media, ...range(B)]);
      const media = gatherRows(rows, Tensor.from(order, [3 * B], { device: this.device })).reshape([3 * B, ...features.shape.slice(1)]);
      const texts = [...captions, ...captions, ...others.captions.map((i) => captions[i] as ArrayLike<number>)];
      return matched(this.match(media, texts), B);
    });
    const language = scope(() => {
      const told = captions.map((row) => Int32Array.from(row, (id, t) => (t ? id : begin)));
      const { weight } = this.embeddings.wordEmbeddings;
      const states = this.write(features, told);
      return written(states, captions, { weight: castLike(weight, states), bias: this.writing.bias }, smoothing);
    });
    return { contrastive: contrast, matching, language };
  }

  /**
   * Puts what was learned into a bridge of the same sizes, where the second stage begins; its layer to the language model stays as it is. Throws E_STATE where
   * the bridge is of other sizes.
   */
  handOver(bridge: QFormerProjector): void {
    const place = (name: string) =>
      bridge.question
        ? name.replace(/^qformer\.layernorm/, "qformer.embeddings.layernorm").replace(/^embeddings\./, "qformer.embeddings.")
        : name;
    const wanted = new Set(
      Array.from(bridge.namedParameters(), ([name]) => name).filter((name) => !name.startsWith("language_projection.")),
    );
    const own = [...this.namedParameters()].map(([name, tensor]) => [place(name), tensor] as const);
    const missing = [...wanted].filter((name) => !own.some(([other]) => other === name));
    // What reads and writes text alone has no place in a bridge that is told nothing.
    const left = own
      .map(([name]) => name)
      .filter((name) => /^(input|query_tokens|qformer)\b/.test(name) && !wanted.has(name) && !TEXT.test(name));
    if (missing.length || left.length) throw new StateError("a bridge of the sizes of the first stage's Q-Former", describe(missing, left));
    const copies = noGrad(() => own.filter(([name]) => wanted.has(name)).map(([name, tensor]) => [name, copy(tensor)] as const));
    bridge.loadState(new Map(copies), { strict: false });
    for (const [, tensor] of copies) tensor.dispose();
  }

  #queries(N: number): Tensor {
    const { queries: Q, width } = this.config;
    const empty = Tensor.zeros([N, Q, width], { device: this.device });
    return add(empty, this.queryTokens.reshape([Q, width]));
  }
  #media(features: Tensor): Tensor {
    return this.input?.forward(features) ?? features;
  }
}

const TEXT = /^qformer\.encoder\.layer\.\d+\.(intermediate|output)\./;
const castLike = (weight: Tensor, x: Tensor): Tensor => matching(weight, x);

export interface Others {
  /** Of each caption a medium that is not its own. */
  media: readonly number[];
  /** Of each medium a caption that is not its own. */
  captions: readonly number[];
}

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

function checked(features: Tensor, captions: IdRows, { media, captions: texts }: Others): number {
  const [B = 0] = features.shape;
  const one = "one batch";
  if (captions.length !== B) throw expected("E_SHAPE", "Blip2StageOne.losses", `a caption for each of ${B} media`, captions.length);
  const short = captions.findIndex(({ length }) => length < 2);
  if (short >= 0)
    throw expected(
      "E_SHAPE",
      "Blip2StageOne.losses",
      "captions of at least two tokens",
      `${captions[short]?.length} in caption ${short}`,
      "leave it out",
    );
  const fits = (all: readonly number[]) => all.length === B && all.every((other, i) => other !== i && other >= 0 && other < B);
  if (!fits(media) || !fits(texts))
    throw expected("E_SHAPE", "Blip2StageOne.losses", `of each another of ${one}`, `[${media}] and [${texts}]`);
  return B;
}

/** (1,1,Q+T,Q+T): queries see queries; text sees these and the text so far. */
function writingBias(Q: number, T: number, device: Tensor["device"]): Tensor {
  const S = Q + T;
  const bias = new Float32Array(S * S).fill(-Infinity);
  for (let t = 0; t < S; ++t) bias.fill(0, t * S, t * S + Math.max(Q, t + 1));
  return Tensor.from(bias, [1, 1, S, S], { device });
}
