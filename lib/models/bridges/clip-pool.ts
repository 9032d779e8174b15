// A clip as its frames and its places (Video-ChatGPT, arXiv 2306.05424; video_chatgpt/inference.py): the mean over each frame's patches, then the mean over all
// frames of each patch, each row through one linear layer. 100 frames of 256 patches → 100 + 256 rows, where all patches would be 25 600.
import { is } from "../../core/checks.js";
import { expected } from "../../core/errors.js";
import { checkOptions, optionNames } from "../../core/options.js";
import { built, scope } from "../../core/scope.js";
import type { Tensor } from "../../core/tensor.js";
import { Linear } from "../../nn/linear.js";
import { Module } from "../../nn/module.js";
import type { Weights } from "../../nn/weights.js";
import { concat, meanPool, slicePlace } from "../../ops/index.js";
import { type FeatureNorm, type FeatureNormKind, featureNorm } from "./feature-norm.js";
import { AT_MOST, type Bridge, type BridgeAsked, type BridgeComplete, type BridgeKind, COMMON, common, DIM, type Gives } from "./kind.js";

export interface ClipPoolConfig {
  dim: number;
  dimLlm: number;
  /** Rows that stand for frames at least: a shorter clip's are filled up with zeros. A longer one's are not cut. */
  temporal: number;
  normalize?: FeatureNormKind | false | undefined;
  gives?: Gives | undefined;
}

const CONFIG = optionNames<ClipPoolConfig>({ dim: true, dimLlm: true, temporal: true, normalize: true, gives: true });

/** (B,F,S,d) → (B, max(F, temporal) + S, d): each frame's mean, zeros up to `temporal`, and each place's mean. */
export function clipPool(features: Tensor, temporal: number): Tensor {
  return scope(() => {
    const F = features.shape[1] as number;
    const frames = meanPool(features, 2);
    const filled = F < temporal ? slicePlace(frames, 1, 0, temporal) : frames;
    return concat([filled, meanPool(features, 1)], 1);
  });
}

/** Features (B,F,S,d) of F frames, (B,S,d) of a picture, which is a clip of one. Its layer is called as that of the linear bridge. */
export class ClipPoolProjector extends Module implements Bridge {
  input: FeatureNorm | undefined;
  proj: Linear;
  readonly config: ClipPoolConfig;

  constructor(at: Weights, config: ClipPoolConfig) {
    super();
    checkOptions("ClipPoolProjector", config, CONFIG);
    const { dim, dimLlm, normalize } = config;
    this.config = config;
    [this.input, this.proj] = built(() => [featureNorm(at.at("input"), dim, normalize), new Linear(at.at("proj"), dim, dimLlm)]);
  }

  get output(): Linear {
    return this.proj;
  }

  get gives(): Gives {
    return this.config.gives ?? "rows";
  }

  rows(shape: readonly number[]): number {
    const [F, S] = framesAndPlaces(shape);
    return this.gives === "beside" ? 0 : Math.max(F, this.config.temporal) + S;
  }

  forward(features: Tensor): Tensor {
    const { dim, temporal } = this.config;
    return scope(() => {
      const [B = 0, ...shape] = features.shape;
      const [F, S] = framesAndPlaces(shape);
      const x = features.reshape([B, F, S, dim]);
      return this.proj.forward(clipPool(this.input?.forward(x) ?? x, temporal));
    });
  }
}

function framesAndPlaces(shape: readonly number[]): [frames: number, places: number] {
  if (shape.length === 3) return [shape[0] as number, shape[1] as number];
  if (shape.length === 2) return [1, shape[0] as number];
  throw expected("E_SHAPE", "features for clip-pool", "(frames, places, d), or (places, d) of one frame", `(${shape})`);
}

export interface ClipPoolOptions extends BridgeAsked {
  type: "clip-pool";
  /** Rows that stand for frames at least. Default: the clip's frames. */
  temporal?: number;
}
export interface ClipPoolSetup extends ClipPoolOptions, BridgeComplete {
  type: "clip-pool";
  temporal: number;
  normalize: FeatureNormKind | false;
}

export const clipPooling: BridgeKind<ClipPoolOptions, ClipPoolSetup> = {
  title: "the mean of each frame and of each place, then one linear layer",
  options: { temporal: is.upTo(AT_MOST.rows, 1), ...COMMON },
  measured: DIM,
  select: () => ["patch", "all"],
  complete: ({ temporal, ...rest }, dim, frames) => ({
    type: "clip-pool",
    temporal: temporal ?? Math.max(1, frames),
    ...common(rest, dim),
  }),
  build: (at, { type: _, ...setup }, dimLlm) => new ClipPoolProjector(at, { ...setup, dimLlm }),
  describe: ({ temporal }) => `linear on ${temporal} frames' means and those of places`,
};
