// One linear layer: AnyMAL says "Linear (1), 32 tokens" of audio and IMU and leaves open which, so both readings are here. In the second it is LLaVA's too, and
// with a norm behind it LLaMA-Adapter V2's.
import { is } from "../../core/checks.js";
import { checkOptions, optionNames } from "../../core/options.js";
import { built, scope } from "../../core/scope.js";
import type { Tensor } from "../../core/tensor.js";
import { Linear } from "../../nn/linear.js";
import { Module } from "../../nn/module.js";
import { LayerNorm } from "../../nn/norm.js";
import type { Weights } from "../../nn/weights.js";
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

export interface LinearProjectorConfig {
  /** pooled: (B,d) → R rows at once. per_token: (B,R,d) → a row per encoder token. */
  mode: "pooled" | "per_token";
  dim: number;
  dimLlm: number;
  tokens: number;
  normalize?: FeatureNormKind | false | undefined;
  /** LayerNorm over each row that it gives. Default false. */
  norm?: boolean | undefined;
  gives?: Gives | undefined;
}

const CONFIG = optionNames<LinearProjectorConfig>({
  ...{ mode: true, dim: true, dimLlm: true, tokens: true, normalize: true, norm: true, gives: true },
});

/** Features (B,S,d) through one linear layer: (B,S,C) row by row, or (B,tokens,C) from one row. */
export class LinearProjector extends Module implements Bridge {
  input: FeatureNorm | undefined;
  proj: Linear;
  norm: LayerNorm | undefined;
  readonly config: LinearProjectorConfig;

  constructor(at: Weights, config: LinearProjectorConfig) {
    super();
    checkOptions("LinearProjector", config, CONFIG);
    const { mode, dim, dimLlm, tokens, normalize, norm } = config;
    this.config = config;
    [this.input, this.proj, this.norm] = built(() => [
      featureNorm(at.at("input"), dim, normalize),
      new Linear(at.at("proj"), dim, mode === "pooled" ? tokens * dimLlm : dimLlm),
      norm ? new LayerNorm(at.at("norm"), dimLlm) : undefined,
    ]);
  }

  get output(): Linear | undefined {
    return this.norm ? undefined : this.proj;
  }

  get gives(): Gives {
    return this.config.gives ?? "rows";
  }

  rows(shape: readonly number[]): number {
    if (this.gives === "beside") return 0;
    return this.config.mode === "pooled" ? this.config.tokens : rowsOf(shape);
  }

  /** (B,d) or (B,R,d), and (B,frames,R,d) frame after frame → (B,R,C). */
  forward(features: Tensor): Tensor {
    const { mode, dim, dimLlm, tokens } = this.config;
    return scope(() => {
      const B = features.shape[0] as number;
      const x = mode === "per_token" && features.rank > 3 ? features.reshape([B, -1, dim]) : features;
      const rows = this.proj.forward(this.input?.forward(x) ?? x);
      const each = mode === "pooled" ? rows.reshape([B, tokens, dimLlm]) : rows;
      return this.norm?.forward(each) ?? each;
    });
  }
}

export interface LinearOptions extends BridgeAsked {
  type: "linear";
  /** pooled: one row becomes `tokens` rows. per_token: a row per row of the encoder. Default per_token. */
  mode?: "pooled" | "per_token";
  /** For pooled. Default 32. */
  tokens?: number;
  /** LayerNorm over each row that it gives. Default false. */
  norm?: boolean;
}
export interface LinearSetup extends LinearOptions, BridgeComplete {
  type: "linear";
  mode: "pooled" | "per_token";
  tokens: number;
  normalize: FeatureNormKind | false;
}

export const linear: BridgeKind<LinearOptions, LinearSetup> = {
  title: "one linear layer, on each of the encoder's rows or on one pooled row",
  options: { mode: is.oneOf("pooled", "per_token"), tokens: is.upTo(AT_MOST.rows, 1), norm: is.orAbsent(is.flag), ...COMMON },
  measured: DIM,
  select: ({ mode }) => (mode === "pooled" ? ["pooled", "embeds"] : SELECTS),
  complete: ({ mode = "per_token", tokens = 32, norm, ...rest }, dim) => ({
    ...{ type: "linear", mode, tokens },
    ...(norm && { norm }),
    ...common(rest, dim),
  }),
  build: (at, { type: _, ...setup }, dimLlm) => new LinearProjector(at, { ...setup, dimLlm }),
  describe: ({ mode, tokens, norm }) => `linear${mode === "pooled" ? ` to ${tokens} tokens` : ""}${norm ? " and a norm" : ""}`,
};
