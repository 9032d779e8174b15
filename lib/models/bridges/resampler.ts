// A perceiver resampler at the encoder's width and a linear layer to the language model's: AnyMAL's for pictures and video.
import { is } from "../../core/checks.js";
import { expected } from "../../core/errors.js";
import { checkOptions } from "../../core/options.js";
import { built, scope } from "../../core/scope.js";
import type { Tensor } from "../../core/tensor.js";
import { Linear } from "../../nn/linear.js";
import { Module } from "../../nn/module.js";
import type { Weights } from "../../nn/weights.js";
import { type FeatureNorm, type FeatureNormKind, featureNorm } from "./feature-norm.js";
import { AT_MOST, type Bridge, type BridgeAsked, type BridgeComplete, type BridgeKind, COMMON, common, DIM, type Gives } from "./kind.js";
import { Resampler, type ResamplerConfig, type ResamplerForm } from "./perceiver.js";
import { SELECTS } from "./select.js";

export interface ResamplerProjectorOptions {
  normalize?: FeatureNormKind | false | undefined;
  /** beside: rows stay as wide as the features, for layers that bring their own way in (Flamingo); there is no linear layer. */
  gives?: Gives | undefined;
}

/** A Resampler and the linear layer to the language model's width: (B,S,d) → (B,R,C). */
export class ResamplerProjector extends Module implements Bridge {
  input: FeatureNorm | undefined;
  resampler: Resampler;
  linear: Linear | undefined;
  readonly gives: Gives;

  constructor(at: Weights, config: ResamplerConfig, dimLlm: number, options: ResamplerProjectorOptions = {}) {
    super();
    checkOptions("ResamplerProjector", options, ["normalize", "gives"]);
    const { normalize, gives = "rows" } = options;
    this.gives = gives;
    [this.input, this.resampler, this.linear] = built(() => [
      featureNorm(at.at("input"), config.dim, normalize),
      new Resampler(at.at("resampler"), config),
      gives === "rows" ? new Linear(at.at("linear"), config.dim, dimLlm) : undefined,
    ]);
  }

  get output(): Linear | undefined {
    return this.linear;
  }

  rows(): number {
    return this.gives === "beside" ? 0 : this.resampler.config.latents;
  }

  /** (B,frames,cells,d) or (B,cells,d) → (B,R,C), beside: (B,R,d). */
  forward(features: Tensor): Tensor {
    return scope(() => {
      const rows = this.resampler.forward(this.input?.forward(features) ?? features);
      return this.linear?.forward(rows) ?? rows;
    });
  }
}

export interface ResamplerOptions extends BridgeAsked {
  type: "resampler";
  layers: number;
  /** Latents, which are the rows that the language model sees. */
  tokens: number;
  /** Default: heads of 64, or 8, 4, 2 or 1 of them where the encoder's width is no multiple of 64. */
  heads?: number;
  /** Width of a head. Default: what the heads share the width in; OpenFlamingo has 8 of 64 on features of 1024. */
  dimHead?: number;
  /** LayerNorm on each head of queries and keys (Idefics). Default false. */
  headNorm?: boolean;
  form?: ResamplerForm;
}
export interface ResamplerSetup extends ResamplerOptions, BridgeComplete {
  type: "resampler";
  form: ResamplerForm;
  heads: number;
  /** Of the table that tells frames apart. */
  frames: number;
  normalize: FeatureNormKind | false;
}

const headsFor = (dim: number): number => (dim % 64 === 0 ? dim / 64 : ([8, 4, 2].find((n) => dim % n === 0) ?? 1));

export const resampler: BridgeKind<ResamplerOptions, ResamplerSetup> = {
  title: "a perceiver resampler to a fixed number of rows, then one linear layer",
  options: {
    form: is.oneOf("flamingo", "openflamingo", "idefics"),
    layers: is.upTo(AT_MOST.layers, 1),
    tokens: is.upTo(AT_MOST.rows, 1),
    heads: is.upTo(AT_MOST.rows, 1),
    dimHead: is.orAbsent(is.upTo(AT_MOST.width, 1)),
    headNorm: is.orAbsent(is.flag),
    ...COMMON,
  },
  measured: { ...DIM, frames: is.upTo(AT_MOST.rows) },
  select: () => SELECTS,
  complete({ layers, tokens, form = "flamingo", heads, dimHead, headNorm, ...rest }, dim, frames) {
    if (heads !== undefined && dimHead === undefined && dim % heads)
      throw expected(
        "E_MODALITY",
        "projector.heads",
        `a divisor of the features' width ${dim}`,
        heads,
        `try ${headsFor(dim)}, leave it out, or say how wide a head is: dimHead`,
      );
    const own = { ...(dimHead !== undefined && { dimHead }), ...(headNorm && { headNorm }) };
    return { type: "resampler", form, layers, tokens, heads: heads ?? headsFor(dim), ...own, frames, ...common(rest, dim) };
  },
  misfit: ({ dim, heads, dimHead }) => (dimHead === undefined && dim % heads ? ["heads", `to divide its dim ${dim}`] : undefined),
  build(at, { form, layers, tokens, heads, dimHead = 0, headNorm = false, dim, frames, normalize, gives }, dimLlm) {
    // Beside features of unit variance a table must be of their size to be seen.
    const spread = normalize ? { latentStd: 1, tableStd: 1 } : {};
    const config = { form, dim, depth: layers, heads, dimHead: dimHead || dim / heads, latents: tokens, headNorm, frames, ...spread };
    return new ResamplerProjector(at, config, dimLlm, { normalize, gives });
  },
  describe: ({ layers, tokens }) => `resampler of ${layers} layers to ${tokens} tokens`,
};
