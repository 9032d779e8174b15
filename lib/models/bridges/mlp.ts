// Two linear layers around an activation, on each row by itself: LLaVA-1.5's (arXiv 2310.03744, section 3.3), and with a narrow middle LaVIN's.
import { is } from "../../core/checks.js";
import { checkOptions, optionNames } from "../../core/options.js";
import { built, scope } from "../../core/scope.js";
import type { Tensor } from "../../core/tensor.js";
import { Linear } from "../../nn/linear.js";
import { Module } from "../../nn/module.js";
import type { Weights } from "../../nn/weights.js";
import { activation } from "../../ops/index.js";
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
  rowsOf,
} from "./kind.js";
import { SELECTS } from "./select.js";

/** As ops name them: gelu is the erf form. */
export const ACTIVATIONS = ["gelu", "gelu_tanh", "quick_gelu", "silu", "relu"] as const;
export type MlpActivation = (typeof ACTIVATIONS)[number];

export interface MlpProjectorConfig {
  dim: number;
  dimLlm: number;
  /** Width of the middle. Default: dimLlm. */
  hidden?: number | undefined;
  /** Default gelu. */
  activation?: MlpActivation;
  /** Default true. */
  bias?: boolean;
  normalize?: FeatureNormKind | false | undefined;
  gives?: Gives | undefined;
}

const CONFIG = optionNames<MlpProjectorConfig>({
  dim: true,
  dimLlm: true,
  hidden: true,
  activation: true,
  bias: true,
  normalize: true,
  gives: true,
});

/** Its parameters have the names of Hugging Face's LLaVA: linear_1 and linear_2. */
export class MlpProjector extends Module implements Bridge {
  input: FeatureNorm | undefined;
  first: Linear;
  second: Linear;
  readonly config: MlpProjectorConfig;

  constructor(at: Weights, config: MlpProjectorConfig) {
    super();
    checkOptions("MlpProjector", config, CONFIG);
    const { dim, dimLlm, hidden = dimLlm, bias = true, normalize } = config;
    this.config = config;
    [this.input, this.first, this.second] = built(() => [
      featureNorm(at.at("input"), dim, normalize),
      new Linear(at.at(this.stateName("first")), dim, hidden, { bias }),
      new Linear(at.at(this.stateName("second")), hidden, dimLlm, { bias }),
    ]);
  }

  protected override stateName(field: string): string {
    return { first: "linear_1", second: "linear_2" }[field] ?? super.stateName(field);
  }

  get output(): Linear {
    return this.second;
  }

  get gives(): Gives {
    return this.config.gives ?? "rows";
  }

  rows(shape: readonly number[]): number {
    return this.gives === "beside" ? 0 : rowsOf(shape);
  }

  /** (B,R,d), and (B,frames,R,d) frame after frame → (B,R,C). */
  forward(features: Tensor): Tensor {
    return scope(() => {
      const x = features.rank > 3 ? features.reshape([features.shape[0] as number, -1, this.config.dim]) : features;
      return this.second.forward(activation(this.first.forward(this.input?.forward(x) ?? x), this.config.activation ?? "gelu"));
    });
  }
}

export interface MlpOptions extends BridgeAsked {
  type: "mlp";
  /** Width of the middle. Default: the language model's. */
  hidden?: number;
  /** Default gelu. */
  activation?: MlpActivation;
  /** Default true. */
  bias?: boolean;
}
export interface MlpSetup extends MlpOptions, BridgeComplete {
  type: "mlp";
  activation: MlpActivation;
  bias: boolean;
  normalize: FeatureNormKind | false;
}

export const mlp: BridgeKind<MlpOptions, MlpSetup> = {
  title: "two linear layers around an activation, on each of the encoder's rows",
  options: {
    hidden: is.orAbsent(is.upTo(AT_MOST.width, 1)),
    activation: is.oneOf(...ACTIVATIONS),
    bias: is.flag,
    ...COMMON,
  },
  measured: DIM,
  select: () => SELECTS,
  complete: ({ hidden, activation = "gelu", bias = true, ...rest }, dim) => ({
    type: "mlp",
    ...(hidden !== undefined && { hidden }),
    activation,
    bias,
    ...common(rest, dim),
  }),
  build: (at, { type: _, ...setup }, dimLlm) => new MlpProjector(at, { ...setup, dimLlm }),
  describe: ({ hidden, activation }) =>
    `MLP of two layers with ${activation}${hidden === undefined ? "" : `, ${hidden} wide in the middle`}`,
};
