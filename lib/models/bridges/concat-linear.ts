// Neighbouring patches, one behind the other in a single long row, through one linear layer: a quarter of the rows and nothing thrown away. MiniGPT-4 with
// Llama-2 (arXiv 2304.10592; minigpt4/models/minigpt4.py): four of a row of the picture, 256 patches of 1408 → 64 rows of 5632 → 4096.
import { is } from "../../core/checks.js";
import { expected } from "../../core/errors.js";
import { checkOptions, optionNames } from "../../core/options.js";
import { built, scope } from "../../core/scope.js";
import type { Tensor } from "../../core/tensor.js";
import { Linear } from "../../nn/linear.js";
import { Module } from "../../nn/module.js";
import type { Weights } from "../../nn/weights.js";
import { type FeatureNorm, type FeatureNormKind, featureNorm } from "./feature-norm.js";
import { AT_MOST, type Bridge, type BridgeAsked, type BridgeComplete, type BridgeKind, COMMON, common, DIM, type Gives } from "./kind.js";

export interface ConcatLinearConfig {
  dim: number;
  dimLlm: number;
  /** Patches that make one row. */
  patches: number;
  normalize?: FeatureNormKind | false | undefined;
  gives?: Gives | undefined;
}

const CONFIG = optionNames<ConcatLinearConfig>({ dim: true, dimLlm: true, patches: true, normalize: true, gives: true });

/** Its layer has the published name: llama_proj. */
export class ConcatLinearProjector extends Module implements Bridge {
  input: FeatureNorm | undefined;
  llamaProj: Linear;
  readonly config: ConcatLinearConfig;

  constructor(at: Weights, config: ConcatLinearConfig) {
    super();
    checkOptions("ConcatLinearProjector", config, CONFIG);
    const { dim, dimLlm, patches, normalize } = config;
    this.config = config;
    [this.input, this.llamaProj] = built(() => [
      featureNorm(at.at("input"), dim, normalize),
      new Linear(at.at("llama_proj"), patches * dim, dimLlm),
    ]);
  }

  get output(): Linear {
    return this.llamaProj;
  }

  get gives(): Gives {
    return this.config.gives ?? "rows";
  }

  rows(shape: readonly number[]): number {
    const groups = this.#groups(shape);
    return this.gives === "beside" ? 0 : groups;
  }

  /** (B,S,d), and (B,frames,S,d) frame after frame → (B, S / patches, C). */
  forward(features: Tensor): Tensor {
    const { dim, patches } = this.config;
    return scope(() => {
      const [B = 0, ...shape] = features.shape;
      const x = this.input?.forward(features) ?? features;
      return this.llamaProj.forward(x.reshape([B, this.#groups(shape), patches * dim]));
    });
  }

  /** No group reaches from one frame into the next. */
  #groups(shape: readonly number[]): number {
    const { patches } = this.config;
    const [frames, S] = [shape.length > 2 ? shape[0] : 1, shape.at(-2)] as [number, number];
    if (S % patches)
      throw expected(
        "E_SHAPE",
        "features for concat-linear",
        `a multiple of ${patches} patches`,
        S,
        'set select to "patch", so that no class token is among them, or another number of patches',
      );
    return (frames * S) / patches;
  }
}

export interface ConcatLinearOptions extends BridgeAsked {
  type: "concat-linear";
  /** Neighbours that make one row. Default 4. */
  patches?: number;
}
export interface ConcatLinearSetup extends ConcatLinearOptions, BridgeComplete {
  type: "concat-linear";
  patches: number;
  normalize: FeatureNormKind | false;
}

export const concatLinear: BridgeKind<ConcatLinearOptions, ConcatLinearSetup> = {
  title: "neighbouring patches concatenated, then one linear layer",
  options: { patches: is.upTo(AT_MOST.rows, 1), ...COMMON },
  measured: DIM,
  select: () => ["patch", "all"],
  complete: ({ patches = 4, ...rest }, dim) => ({ type: "concat-linear", patches, ...common(rest, dim) }),
  build: (at, { type: _, ...setup }, dimLlm) => new ConcatLinearProjector(at, { ...setup, dimLlm }),
  describe: ({ patches }) => `linear on ${patches} patches at a time`,
};
