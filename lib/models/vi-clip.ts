// ViCLIP's video tower (InternVid, arXiv 2307.06942): CLIP's blocks, in which the patches of all frames and one class token see each other.
import { expected } from "../core/errors.js";
import { scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { join, Module, matching } from "../nn/module.js";
import { LayerNorm } from "../nn/norm.js";
import { VitStack } from "../nn/vit-stack.js";
import { fanIn, type Weights, zeros } from "../nn/weights.js";
import { type ActivationKind, add, conv2d, gatherRows, linear, meanPool, transposeCopy } from "../ops/index.js";
import { activationKind, activationName, ConfigError, headsOf, type Json, size } from "./config.js";
import { checkForward, type Encoder, type EncoderLoading, type EncoderOptions, type EncoderOutput, onTape } from "./encoder.js";
import { epsOf, layersOf, pictureOf, widthOf } from "./encoder-config.js";
import { classRows, encoderInput, patchRows, tableFor, withClass } from "./patches.js";
import { fromFolder, leftover, prefixOf } from "./tower.js";
import { towerStates } from "./tower-states.js";

export interface ViClipConfig {
  imageSize: number;
  patchSize: number;
  width: number;
  layers: number;
  heads: number;
  intermediateSize: number;
  activation: ActivationKind;
  layerNormEps: number;
  outputDim: number;
  /** The most frames a clip may have. */
  frames: number;
}

/** Throws E_CONFIG on what is not ViCLIP's, or could not be built. */
export function parseViClipConfig(json: Json): ViClipConfig {
  if (json.model_type !== "viclip") throw new ConfigError("model_type", "viclip", json.model_type);
  const width = widthOf(json, "width");
  return {
    ...pictureOf(json),
    width,
    layers: layersOf(json, "layers"),
    heads: headsOf(json, "heads", width),
    intermediateSize: widthOf(json, "intermediate_size", 4 * width),
    activation: activationKind(json, "hidden_act", "quick_gelu"),
    layerNormEps: epsOf(json, "layer_norm_eps", 1e-5),
    outputDim: size(json, "output_dim"),
    frames: widthOf(json, "num_frames", 8),
  };
}

const ANCHOR = "temporal_positional_embedding";

/** The names are the original checkpoint's; the convolution over (1,p,p) is one over each frame. */
export class ViClipModel extends Module implements Encoder {
  classEmbedding: Tensor; // (C)
  positionalEmbedding: Tensor; // (1+P,C)
  temporalPositionalEmbedding: Tensor; // (1,F,C)
  conv: Tensor; // (C,3,1,p,p)
  lnPre: LayerNorm;
  transformer: VitStack;
  lnPost: LayerNorm;
  proj: Tensor; // (C,e), from the right
  readonly config: ViClipConfig;
  readonly kind = "vi-clip";
  readonly modality = "video";
  readonly classTokens = 1;
  readonly leftover: readonly string[];
  readonly #dtype: "f32" | "bf16";

  constructor(at: Weights, config: ViClipConfig) {
    super();
    const { width, patchSize, layerNormEps: eps } = config;
    this.config = config;
    this.#dtype = at.dtype;
    const normal = { normal: width ** -0.5 };
    this.classEmbedding = at.parameter("class_embedding", [width], normal);
    this.positionalEmbedding = at.parameter("positional_embedding", [1 + Math.floor(config.imageSize / patchSize) ** 2, width], normal);
    this.temporalPositionalEmbedding = at.parameter("temporal_positional_embedding", [1, config.frames, width], zeros);
    this.conv = at.parameter("conv1.weight", [width, 3, 1, patchSize, patchSize], fanIn(3 * patchSize ** 2));
    this.lnPre = new LayerNorm(at.at("ln_pre"), width, eps);
    const { layers, heads, activation, intermediateSize: hidden } = config;
    this.transformer = new VitStack(at.at("transformer"), "openai", { width, heads, hidden, activation, eps, layers, fused: true });
    this.lnPost = new LayerNorm(at.at("ln_post"), width, eps);
    this.proj = at.parameter("proj", [width, config.outputDim], normal);
    this.leftover = leftover(at.checkpoint, [[this, at.prefix]], join(at.prefix, "transformer"));
  }

  protected override stateName(field: string): string {
    return field === "conv" ? "conv1.weight" : super.stateName(field);
  }

  /** From a folder of this tower, or of both. Frozen, in the dtype of the checkpoint, unless told otherwise. */
  static fromPretrained(folder: string, loading: EncoderLoading): ViClipModel {
    return fromFolder(
      folder,
      loading,
      (at, json, checkpoint) => new ViClipModel(at.at(prefixOf(checkpoint, ANCHOR) ?? ""), parseViClipConfig(json)),
    );
  }

  get device() {
    return this.classEmbedding.device;
  }
  get dtype(): "f32" | "bf16" {
    return this.#dtype;
  }
  get width(): number {
    return this.config.width;
  }
  get embedDim(): number {
    return this.config.outputDim;
  }

  /** Clips (N,F,3,H,W). After the class token hidden has each patch's F frames in a row, patch after patch. */
  forward(x: Tensor, options: EncoderOptions = {}): EncoderOutput {
    checkForward("ViClipModel", options);
    return scope(() => {
      const clips = encoderInput("ViClipModel", x, "clips (N,F,3,H,W)", [0, 0, 3, 0, 0], this.#dtype);
      const start = this.lnPre.forward(this.#embed(clips));
      const tower = { who: "ViClipModel", stack: this.transformer, classTokens: this.classTokens };
      const { final, ...states } = towerStates(tower, start, options);
      const pooled = onTape(options, "pooled", () => this.lnPost.forward(classRows(final)));
      const embeds = () => linear(pooled, transposeCopy(matching(this.proj, pooled), 0, 1));
      return { ...states, pooled, embeds: onTape(options, "embeds", embeds) };
    });
  }

  #embed(clips: Tensor): Tensor {
    const { width, patchSize, frames } = this.config;
    const [N, F, C, H, W] = clips.shape as [number, number, number, number, number];
    if (F < 1 || F > frames) throw expected("E_SHAPE", "ViClipModel", `1 to ${frames} frames`, F, "set num_frames of the processor");
    const kernel = matching(this.conv, clips).reshape([width, C, patchSize, patchSize]);
    const { rows, grid } = patchRows(conv2d(clips.reshape([N * F, C, H, W]), kernel, undefined, { stride: patchSize }));
    const P = grid[0] * grid[1];
    const tokens = transposeCopy(rows.reshape([N, F, P, width]), 1, 2).reshape([N, P * F, width]);
    const table = tableFor(this.positionalEmbedding, grid);
    const of = (source: Tensor, row: (i: number) => number) =>
      gatherRows(
        source,
        Tensor.from(
          Int32Array.from({ length: P * F }, (_, i) => row(i)),
          [P * F],
          { device: this.device },
        ),
      );
    const where = add(
      of(table, (i) => 1 + Math.floor(i / F)),
      of(this.#times(F), (i) => i % F),
    );
    const cls = add(this.classEmbedding, table.slice(0, 1).reshape([width]));
    return withClass(matching(cls, tokens), add(tokens, matching(where, tokens)));
  }

  /** (F,C); a single frame is at no moment in particular. */
  #times(F: number): Tensor {
    const { width, frames } = this.config;
    const table = this.temporalPositionalEmbedding.reshape([frames, width]);
    return F === 1 ? meanPool(table, 0).reshape([1, width]) : table.slice(0, F);
  }

  configJson(): Json {
    const c = this.config;
    return {
      model_type: "viclip",
      image_size: c.imageSize,
      patch_size: c.patchSize,
      width: c.width,
      layers: c.layers,
      heads: c.heads,
      intermediate_size: c.intermediateSize,
      hidden_act: activationName(c.activation),
      layer_norm_eps: c.layerNormEps,
      output_dim: c.outputDim,
      num_frames: c.frames,
    };
  }
}
