// VideoMAE's encoder (arXiv 2203.12602) under the names of Hugging Face: tubes of two frames as tokens, positions as fixed waves.
import { expected } from "../core/errors.js";
import { keep, scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { join, Module, matching } from "../nn/module.js";
import { LayerNorm } from "../nn/norm.js";
import { VitStack } from "../nn/vit-stack.js";
import { fanIn, type Weights } from "../nn/weights.js";
import { add, conv2d, gatherRows, meanPool, transposeCopy } from "../ops/index.js";
import type { Json } from "./config.js";
import { checkForward, type Encoder, type EncoderLoading, type EncoderOptions, type EncoderOutput, onTape } from "./encoder.js";
import { encoderInput, patchRows } from "./patches.js";
import { fromFolder, leftover, prefixOf } from "./tower.js";
import { towerStates } from "./tower-states.js";
import { parseVideoMaeConfig, tokensOf, type VideoMaeConfig, videoMaeJson } from "./video-mae-config.js";

export interface VideoMaeOptions extends EncoderOptions {
  /** (N,S): tokens that are taken away before the blocks, in pre-training; as many in each clip. */
  masked?: readonly ArrayLike<boolean | number>[];
}

class TubeEmbeddings extends Module {
  weight: Tensor; // (C,3,t,p,p)
  bias: Tensor; // (C)
  readonly #config: VideoMaeConfig;
  #positions: Tensor | undefined; // (S,C) f32, made when first needed

  constructor(at: Weights, c: VideoMaeConfig) {
    super();
    this.#config = c;
    const { hiddenSize: C, channels, tubeletSize, patchSize } = c;
    const init = fanIn(channels * tubeletSize * patchSize ** 2);
    this.weight = at.parameter(this.stateName("weight"), [C, channels, tubeletSize, patchSize, patchSize], init);
    this.bias = at.parameter(this.stateName("bias"), [C], init);
  }

  protected override stateName(field: string): string {
    return `patch_embeddings.projection.${field}`;
  }

  /** (N,F,3,H,W) → (N,S,C), moment after moment. The convolution over (t,p,p) is one over the t frames of a tube as channels. */
  forward(clips: Tensor): Tensor {
    const { hiddenSize: C, channels, tubeletSize: t, patchSize: p } = this.#config;
    const [N, F, , H, W] = clips.shape as [number, number, number, number, number];
    const kernel = transposeCopy(matching(this.weight, clips).reshape([C, channels, t, p * p]), 1, 2).reshape([C, t * channels, p, p]);
    const tubes = clips.reshape([(N * F) / t, t * channels, H, W]);
    const { rows } = patchRows(conv2d(tubes, kernel, matching(this.bias, clips), { stride: p }));
    const tokens = rows.reshape([N, -1, C]);
    const S = tokensOf(this.#config);
    this.#positions ??= keep(Tensor.from(sinusoids(S, C), [S, C], { device: tokens.device }));
    return add(tokens, matching(this.#positions, tokens));
  }

  override dispose(): void {
    super.dispose();
    this.#positions?.dispose();
    this.#positions = undefined;
  }
}

/** (S,C): sin at even places and cos at odd ones, of position / 10000^(2⌊c/2⌋/C). */
function sinusoids(S: number, C: number): Float32Array {
  const table = new Float32Array(S * C);
  for (let c = 0; c < C; ++c) {
    const turn = 10000 ** ((2 * Math.floor(c / 2)) / C);
    const wave = c % 2 ? Math.cos : Math.sin;
    for (let s = 0; s < S; ++s) table[s * C + c] = wave(s / turn);
  }
  return table;
}

/** A convolution over time too: no picture tower has one. */
const ANCHOR = "embeddings.patch_embeddings.projection.weight";

/** Clips (N,F,3,H,W) → rows (N,S,d), one for each tube of frames and pixels. Construct it through fromPretrained(). */
export class VideoMaeModel extends Module implements Encoder {
  embeddings: TubeEmbeddings;
  encoder: VitStack;
  layernorm: LayerNorm | undefined;
  readonly config: VideoMaeConfig;
  readonly kind = "video-mae";
  readonly modality = "video";
  readonly classTokens = 0;
  readonly dtype: "f32" | "bf16";
  readonly leftover: readonly string[];

  /** The names begin where `at` stands. */
  constructor(at: Weights, config: VideoMaeConfig) {
    super();
    const { hiddenSize: width, intermediateSize: hidden, heads, activation, layerNormEps: eps, layers } = config;
    this.config = config;
    this.dtype = at.dtype;
    this.embeddings = new TubeEmbeddings(at.at("embeddings"), config);
    const qkvBias = config.qvBias ? ("qv" as const) : false;
    this.encoder = new VitStack(at.at("encoder"), "videomae", { width, hidden, heads, activation, eps, layers, qkvBias });
    this.layernorm = config.meanPooling ? undefined : new LayerNorm(at.at("layernorm"), width, eps);
    this.leftover = leftover(at.checkpoint, [[this, at.prefix]], join(at.prefix, "encoder"));
  }

  /** From a folder of this model, or of one with a decoder or a classifier on top. Frozen, in the dtype of the checkpoint, unless told otherwise. */
  static fromPretrained(folder: string, loading: EncoderLoading): VideoMaeModel {
    return fromFolder(
      folder,
      loading,
      (at, json, checkpoint) => new VideoMaeModel(at.at(prefixOf(checkpoint, ANCHOR) ?? ""), parseVideoMaeConfig(json)),
    );
  }

  get device() {
    return this.embeddings.bias.device;
  }
  get width(): number {
    return this.config.hiddenSize;
  }
  get embedDim(): number {
    return this.config.hiddenSize;
  }

  /**
   * Clips (N,F,3,H,W) of the number of frames and the size that the model was made for: its positions fit no other. hidden -1 is transformers'
   * last_hidden_state. pooled and embeds are its mean over the tokens, of which none is a class token.
   */
  forward(x: Tensor, options: VideoMaeOptions = {}): EncoderOutput {
    checkForward("VideoMaeModel", options, ["masked"]);
    const { masked } = options;
    const { channels, frames, imageSize: side } = this.config;
    return scope(() => {
      const shape = [0, frames, channels, side, side];
      const clips = encoderInput("VideoMaeModel", x, `clips (N,${shape.slice(1).join(",")})`, shape, this.dtype);
      const tokens = this.embeddings.forward(clips);
      const tower = { who: "VideoMaeModel", stack: this.encoder, classTokens: this.classTokens, norm: this.layernorm };
      const { final, ...states } = towerStates(tower, masked ? visible(tokens, masked) : tokens, options);
      const pooled = onTape(options, "pooled", () => meanPool(final, 1));
      return { ...states, pooled, embeds: pooled.alias() };
    });
  }

  configJson(): Json {
    return videoMaeJson(this.config);
  }
}

/** (N,S,C) without the masked tokens. */
function visible(tokens: Tensor, masked: readonly ArrayLike<boolean | number>[]): Tensor {
  const [N, S, C] = tokens.shape as [number, number, number];
  const rows = masked.map((row, n) => Array.from({ length: S }, (_, s) => (row[s] ? -1 : n * S + s)).filter((at) => at >= 0));
  const left = rows[0]?.length ?? 0;
  if (rows.length !== N || !left || masked.some((row, n) => row.length !== S || rows[n]?.length !== left))
    throw expected(
      "E_SHAPE",
      "VideoMaeModel: masked",
      `${N} rows of ${S}, each leaving as many tokens`,
      `${masked.length} rows that leave ${rows.map(({ length }) => length)}`,
    );
  const index = Tensor.from(Int32Array.from(rows.flat()), [N * left], { device: tokens.device });
  return gatherRows(tokens.reshape([N * S, C]), index).reshape([N, left, C]);
}
