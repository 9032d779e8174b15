// From an encoder's features to rows that the language model can read: what every kind of bridge says of itself.
import { is, type Schema } from "../../core/checks.js";
import type { Tensor } from "../../core/tensor.js";
import type { Linear } from "../../nn/linear.js";
import type { Module } from "../../nn/module.js";
import type { Weights } from "../../nn/weights.js";
import { type FeatureNorm, type FeatureNormKind, isStandardize, NORMALIZE } from "./feature-norm.js";
import type { Select } from "./select.js";

/** Where rows go: between the text's, or to those layers of the language model that ask for them. */
export type Gives = "rows" | "beside";

/** What a bridge may be told beside the features. */
export interface Told {
  /** Of each item: the question that it is asked about, in ids of the bridge's own tokenizer. */
  question: readonly ArrayLike<number>[];
}

/** Anything that turns one modality's features into rows. */
export interface Bridge extends Module {
  /** Measured before the first step, where it standardises. */
  readonly input?: FeatureNorm | undefined;
  /** The layer whose scale is the scale of the rows; none where rows stay as wide as the features. */
  readonly output?: Linear | undefined;
  readonly gives: Gives;
  /** What never trains beside what is measured. */
  readonly fixed?: readonly Tensor[] | undefined;
  /** Does it draw numbers in training, as dropout does? Default: no. */
  readonly draws?: boolean | undefined;
  /** Where it reads the question: how many ids there are, and how many of them it reads at most. */
  readonly question?: { readonly vocabulary: number; readonly positions: number } | undefined;
  /** Rows between the text's for one medium with features of this shape: (d), (S,d) or (frames,S,d); 0 beside. Nobody else counts them. */
  rows(shape: readonly number[]): number;
  /** (B,d), (B,S,d) or (B,frames,S,d) → (B,R,C). `told` is for bridges that read the question. */
  forward(features: Tensor, told?: Told): Tensor;
}

/** What all kinds may be asked for. */
export interface BridgeAsked {
  type: string;
  /** Default standardize. false: features go in as they come, as in LLaVA and MiniGPT-4. */
  normalize?: FeatureNormKind | false;
  /** Default rows. */
  gives?: Gives;
}
/** The same, complete: what a checkpoint keeps. `gives` is absent where it is rows. */
export interface BridgeComplete extends BridgeAsked {
  normalize: FeatureNormKind | false;
  /** d of the features. */
  dim: number;
}

/** O: what may be asked for, S: that with all defaults written out. */
export interface BridgeKind<O extends BridgeAsked, S extends O & BridgeComplete> {
  /** In words, for a table. */
  title: string;
  /** Of options beside `type`: recipes, flags and assemble() check against it. */
  options: Schema;
  /** Of what complete() adds to them; a setup in a checkpoint holds both. */
  measured: Schema;
  /** What it can read; the first is the default. One row alone: features are a vector. */
  select(options: O): readonly Select[];
  /** Does it read the question, by a tokenizer of its own? */
  reads?(options: O): boolean;
  /** dim: d of the features. frames: through an image encoder, 0 where the encoder takes the medium as it is. */
  complete(options: O, dim: number, frames: number): S;
  /** What fits key by key and makes no bridge all the same: key, what was wanted. */
  misfit?(setup: S): readonly [key: string, wanted: string] | undefined;
  /** dimLlm: C, the width of the language model's embeddings. */
  build(at: Weights, setup: S, dimLlm: number): Bridge;
  /** In a few words, for people. */
  describe(setup: S): string;
}

/** Options of every kind. */
export const COMMON: Schema = { normalize: NORMALIZE, gives: is.orAbsent(is.oneOf("rows", "beside")) };
/** No model has more; what is above must not cost memory. */
export const AT_MOST = { rows: 65_536, width: 1_048_576, layers: 1024 };
export const DIM: Schema = { dim: is.upTo(AT_MOST.width, 1) };

/** What all kinds complete alike. */
export const common = ({ normalize = "standardize", gives }: BridgeAsked, dim: number) => ({
  normalize,
  dim,
  ...(gives === "beside" && ({ gives } as const)),
});

/** Of one medium's features, all rows. */
export const rowsOf = (shape: readonly number[]): number => shape.slice(0, -1).reduce((a, b) => a * b, 1);

/** Opens or freezes all that trains; what is measured stays frozen. */
export function openBridge(bridge: Bridge, on: boolean): void {
  const fixed = new Set(bridge.fixed);
  const names = new Set([...bridge.namedParameters()].flatMap(([name, tensor]) => (fixed.has(tensor) ? [] : [name])));
  bridge.requiresGrad(on, (name) => names.has(name));
  for (const tensor of fixed) tensor.requiresGrad = false;
  if (isStandardize(bridge.input)) bridge.input.freeze();
}
