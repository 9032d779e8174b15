// A Q-Former and the linear layer to the language model's width: BLIP-2's bridge (arXiv 2301.12597), InstructBLIP's, which is told the question (arXiv
// 2305.06500), and MiniGPT-4's first one (arXiv 2304.10592).
import { is, type Schema } from "../../core/checks.js";
import { expected } from "../../core/errors.js";
import { checkOptions, optionNames } from "../../core/options.js";
import { built, scope } from "../../core/scope.js";
import { Tensor } from "../../core/tensor.js";
import { Linear } from "../../nn/linear.js";
import { Module, matching } from "../../nn/module.js";
import type { Weights } from "../../nn/weights.js";
import { add, sliceCopy } from "../../ops/index.js";
import { type FeatureNorm, type FeatureNormKind, featureNorm } from "./feature-norm.js";
import {
  AT_MOST,
  type Bridge,
  type BridgeAsked,
  type BridgeComplete,
  type BridgeKind,
  COMMON,
  common,
  DIM,
  type Gives,
  type Told,
} from "./kind.js";
import { ACTIVATIONS, type MlpActivation } from "./mlp.js";
import { QFormer, type QFormerConfig, type WordsConfig } from "./querying.js";

export interface QFormerProjectorConfig extends QFormerConfig {
  dimLlm: number;
  queries: number;
  /** All but the linear layer never trains. */
  frozen?: true | undefined;
  normalize?: FeatureNormKind | false | undefined;
  gives?: Gives | undefined;
}
const CONFIG = optionNames<QFormerProjectorConfig>({
  ...({ dim: true, width: true, layers: true, heads: true, hidden: true, every: true, activation: true, eps: true, text: true } as const),
  ...({ words: true, dimLlm: true, queries: true, frozen: true, dropout: true, normalize: true, gives: true } as const),
});

/** Its parameters have the names of transformers' BLIP-2: query_tokens, qformer and language_projection. */
export class QFormerProjector extends Module implements Bridge {
  input: FeatureNorm | undefined;
  queryTokens: Tensor; // (1,Q,C)
  qformer: QFormer;
  languageProjection: Linear;
  readonly config: QFormerProjectorConfig;

  constructor(at: Weights, config: QFormerProjectorConfig) {
    super();
    checkOptions("QFormerProjector", config, CONFIG);
    const { dimLlm, queries, normalize, gives: _, frozen, dropout, ...rest } = config;
    const body = { ...rest, dropout: frozen ? 0 : dropout };
    this.config = config;
    [this.input, this.queryTokens, this.qformer, this.languageProjection] = built(() => [
      featureNorm(at.at("input"), body.dim, normalize),
      at.parameter("query_tokens", [1, queries, body.width], { normal: 0.02 }),
      new QFormer(at.at("qformer"), body),
      new Linear(at.at("language_projection"), body.width, dimLlm),
    ]);
  }

  get output(): Linear {
    return this.languageProjection;
  }
  get gives(): Gives {
    return this.config.gives ?? "rows";
  }
  get fixed(): readonly Tensor[] {
    return this.config.frozen ? [...(this.input?.parameters() ?? []), this.queryTokens, ...this.qformer.parameters()] : [];
  }
  get draws(): boolean {
    return (this.qformer.config.dropout ?? 0) > 0;
  }
  get question(): WordsConfig | undefined {
    return this.config.words;
  }

  /** Of a clip, those of its frames. */
  rows(shape: readonly number[]): number {
    return this.gives === "beside" ? 0 : framesOf(shape) * this.config.queries;
  }

  /**
   * (B,S,d), and (B,frames,S,d) frame after frame → (B,R,C). Where it reads the question, `told` has that of each item; an empty one leaves the queries
   * alone. Throws E_MODALITY where it is told nothing.
   */
  forward(features: Tensor, told?: Told): Tensor {
    const { queries: Q, dim, words } = this.config;
    if (words && !told?.question)
      throw expected(
        "E_MODALITY",
        "q-former",
        "the question, which this bridge reads beside the medium",
        "none",
        "pass forward(features, { question }), or take one without `vocabulary`",
      );
    return scope(() => {
      const [B = 0, ...shape] = features.shape;
      const frames = framesOf(shape);
      const media = (this.input?.forward(features) ?? features).reshape([B * frames, -1, dim]);
      const text = words ? (told as Told).question.flatMap((row) => new Array<ArrayLike<number>>(frames).fill(row)) : [];
      if (words && text.length !== B * frames)
        throw expected("E_SHAPE", "q-former", `a question for each of ${B} items`, (told as Told).question.length, "pass one for each");
      const { rows, range } = this.qformer.withText(this.#queriesFor(B * frames, features), text);
      const y = this.qformer.forward(rows, { queries: Q, media, seen: { range } });
      const asked = (y.shape[1] as number) > Q ? sliceCopy(y, 1, 0, Q) : y;
      return this.languageProjection.forward(asked).reshape([B, frames * Q, -1]);
    });
  }

  #queriesFor(N: number, { device, dtype }: Tensor): Tensor {
    const { queries: Q, width } = this.config;
    const empty = Tensor.zeros([N, Q, width], { device, dtype });
    return add(empty, matching(this.queryTokens, empty).reshape([Q, width]));
  }
}

const framesOf = (shape: readonly number[]): number => (shape.length > 2 ? (shape[0] as number) : 1);

export interface QFormerOptions extends BridgeAsked {
  type: "q-former";
  /** Learned queries, which are the rows that the language model sees. Default 32. */
  queries?: number;
  /** Default 12. */
  layers?: number;
  /** Default 768. */
  width?: number;
  /** Default: heads of 64, or 8, 4, 2 or 1 of them where the width is no multiple of 64. */
  heads?: number;
  /** Width of the middle of the feed-forwards. Default: four times the width. */
  hidden?: number;
  /** Layers 0, every, … look at the medium. Default 2. */
  every?: number;
  /** Default gelu. */
  activation?: MlpActivation;
  /** Of its norms. Default 1e-12. */
  eps?: number;
  /** Queries and Q-Former stay as they are, and the linear layer alone trains (MiniGPT-4). */
  frozen?: true;
  /**
   * What is dropped while it trains, behind the embeddings, attention and feed-forwards. Default 0.1, as in BERT and the papers; nothing where it is frozen. Of
   * the probabilities of attention nothing is dropped.
   */
  dropout?: number;
  /** A feed-forward for rows of text too. Default: where it reads the question. */
  text?: boolean;
  /** It reads the question (InstructBLIP), in ids of a tokenizer of its own: rows of the table of its words. */
  vocabulary?: number;
  /** The most that it reads of a question. Default 512. */
  positions?: number;
  /** The id that stands for no word. */
  padding?: number;
}
type Defaulted = "queries" | "layers" | "width" | "heads" | "hidden" | "every" | "activation" | "eps" | "text";
export interface QFormerSetup
  extends BridgeComplete,
    Omit<QFormerOptions, Defaulted | "normalize">,
    Required<Pick<QFormerOptions, Defaulted>> {
  type: "q-former";
}

const headsFor = (width: number): number => (width % 64 === 0 ? width / 64 : ([8, 4, 2].find((n) => width % n === 0) ?? 1));
const size = (most: number) => is.upTo(most, 1);

const OPTIONS: Schema = {
  ...{ queries: size(AT_MOST.rows), layers: size(AT_MOST.layers), width: size(AT_MOST.width), heads: size(AT_MOST.width) },
  ...{ hidden: size(AT_MOST.width), every: size(AT_MOST.layers), activation: is.oneOf(...ACTIVATIONS), eps: is.number(0, 1) },
  text: is.flag,
  frozen: is.orAbsent({ wanted: "true, or left out", fits: (value) => value === true }),
  ...{
    vocabulary: is.orAbsent(size(AT_MOST.width)),
    dropout: is.orAbsent(is.number(0, 1)),
    positions: is.orAbsent(size(AT_MOST.width)),
    padding: is.orAbsent(is.upTo(AT_MOST.width)),
  },
  ...COMMON,
};

/** BERT's; of a setup that does not say it, too. */
export const DROPOUT = 0.1;

/** What fits key by key and makes no Q-Former. */
function misfit({ width, heads, text, vocabulary, positions, padding }: QFormerSetup): readonly [keyof QFormerSetup, string] | undefined {
  if (width % heads) return ["heads", `to divide its width ${width}`];
  if (vocabulary === undefined && (positions !== undefined || padding !== undefined))
    return [positions === undefined ? "padding" : "positions", "to be absent where there is no vocabulary"];
  if (vocabulary !== undefined && !text) return ["text", "to be true where it reads the question"];
  return padding !== undefined && padding >= (vocabulary ?? 0) ? ["padding", `to be below its vocabulary ${vocabulary}`] : undefined;
}

export const qFormer: BridgeKind<QFormerOptions, QFormerSetup> = {
  title: "a Q-Former: learned queries that look at the medium from BERT's layers, then one linear layer",
  options: OPTIONS,
  measured: DIM,
  // BLIP-2's queries look at the class token too.
  select: () => ["all", "patch", "class", "pooled", "embeds"],
  reads: ({ vocabulary }) => vocabulary !== undefined,
  complete({ queries = 32, layers = 12, width = 768, every = 2, activation = "gelu", eps = 1e-12, ...rest }, dim) {
    const { heads = headsFor(width), hidden = 4 * width, vocabulary, positions, padding, text = vocabulary !== undefined } = rest;
    const { frozen, dropout } = rest;
    const words = vocabulary === undefined ? { positions, padding } : { vocabulary, positions: positions ?? 512, padding };
    const said = Object.fromEntries(Object.entries(words).filter(([, value]) => value !== undefined));
    const setup: QFormerSetup = {
      type: "q-former",
      queries,
      layers,
      width,
      heads,
      hidden,
      every,
      activation,
      eps,
      text,
      ...said,
      ...(frozen && ({ frozen } as const)),
      ...(dropout !== undefined && { dropout }),
      ...common(rest, dim),
    };
    const wrong = misfit(setup);
    if (wrong) {
      const [key, wanted] = wrong;
      throw expected("E_MODALITY", `projector.${key}`, `${key} ${wanted}`, String(setup[key]), "correct it, or leave it out");
    }
    return setup;
  },
  misfit,
  build(at, { type: _, vocabulary, positions = 512, padding, dropout = DROPOUT, ...setup }, dimLlm) {
    const words = vocabulary !== undefined && { words: { vocabulary, positions, padding } };
    return new QFormerProjector(at, { ...setup, ...words, dropout, dimLlm });
  },
  describe: ({ layers, queries, vocabulary }) =>
    `Q-Former of ${layers} layers with ${queries} queries${vocabulary === undefined ? "" : ", which reads the question"}`,
};
