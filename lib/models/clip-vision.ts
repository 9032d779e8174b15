// CLIP's image tower (arXiv 2103.00020) under the names of Hugging Face: from openai/clip-vit-* to ViT-bigG, with its projection or without.
import { scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { Conv2d } from "../nn/conv.js";
import { Embedding } from "../nn/embedding.js";
import { Linear } from "../nn/linear.js";
import { join, Module, matching } from "../nn/module.js";
import { LayerNorm } from "../nn/norm.js";
import { VitStack } from "../nn/vit-stack.js";
import type { Weights } from "../nn/weights.js";
import { add } from "../ops/index.js";
import { type ClipVisionConfig, clipVisionJson, parseClipVisionConfig, vitBlock } from "./clip-config.js";
import type { Json } from "./config.js";
import { checkForward, type Encoder, type EncoderLoading, type EncoderOptions, type EncoderOutput, onTape } from "./encoder.js";
import { classRows, encoderInput, patchRows, tableFor, withClass } from "./patches.js";
import type { Place } from "./piece.js";
import { fromFolder, leftover, outside, prefixOf } from "./tower.js";
import { towerStates } from "./tower-states.js";

class ClipVisionEmbeddings extends Module {
  classEmbedding: Tensor; // (C)
  patchEmbedding: Conv2d;
  positionEmbedding: Embedding;

  constructor(at: Weights, c: ClipVisionConfig) {
    super();
    const { hiddenSize, patchSize } = c;
    const patch: [number, number] = [patchSize, patchSize];
    this.classEmbedding = at.parameter("class_embedding", [hiddenSize], { normal: hiddenSize ** -0.5 });
    this.patchEmbedding = new Conv2d(at.at("patch_embedding"), c.channels, hiddenSize, patch, { stride: patch, bias: false });
    this.positionEmbedding = new Embedding(at.at("position_embedding"), Math.floor(c.imageSize / patchSize) ** 2 + 1, hiddenSize);
  }

  forward(pixels: Tensor): Tensor {
    const { rows, grid } = patchRows(this.patchEmbedding.forward(pixels));
    return add(withClass(matching(this.classEmbedding, rows), rows), matching(tableFor(this.positionEmbedding.weight, grid), rows));
  }
}

class ClipVisionTransformer extends Module {
  embeddings: ClipVisionEmbeddings;
  preNorm: LayerNorm;
  encoder: VitStack;
  postNorm: LayerNorm;

  constructor(at: Weights, c: ClipVisionConfig) {
    super();
    this.embeddings = new ClipVisionEmbeddings(at.at("embeddings"), c);
    this.preNorm = new LayerNorm(at.at(this.stateName("preNorm")), c.hiddenSize, c.layerNormEps);
    this.encoder = new VitStack(at.at("encoder"), "huggingface", vitBlock(c));
    this.postNorm = new LayerNorm(at.at(this.stateName("postNorm")), c.hiddenSize, c.layerNormEps);
  }

  protected override stateName(field: string): string {
    if (field === "preNorm") return "pre_layrnorm"; // sic: so it is spelled in every checkpoint
    return field === "postNorm" ? "post_layernorm" : super.stateName(field);
  }
}

const TOWER = "vision_model";
const ANCHOR = "embeddings.class_embedding";

/**
 * Pictures (N,3,H,W) → rows (N,1+S,d), the class token first, and embeddings (N,e), which are the class token's where there is no projection.
 * Construct it through fromPretrained().
 */
export class ClipVisionModel extends Module implements Encoder {
  visionModel: ClipVisionTransformer;
  visualProjection: Linear | undefined;
  readonly config: ClipVisionConfig;
  readonly kind = "clip-vision";
  readonly modality = "image";
  readonly classTokens = 1;
  readonly leftover: readonly string[];
  readonly #dtype: "f32" | "bf16";

  /** `prefix`: where the tower's names begin. The projection stands beside it. */
  constructor(at: Weights, config: ClipVisionConfig, prefix = TOWER) {
    super();
    const { hiddenSize, projectionDim } = config;
    this.config = config;
    this.#dtype = at.dtype;
    this.visionModel = new ClipVisionTransformer(at.at(prefix), config);
    const init = { normal: hiddenSize ** -0.5 };
    const beside = projectionOf(prefix);
    this.visualProjection =
      projectionDim === undefined ? undefined : new Linear(at.at(beside), hiddenSize, projectionDim, { bias: false, init });
    const parts: [Module, string][] = [[this.visionModel, prefix]];
    if (this.visualProjection) parts.push([this.visualProjection, beside]);
    this.leftover = leftover(at.checkpoint, parts, join(prefix, "encoder"));
  }

  /** From a folder of this tower, of both, or of a larger model around it. Frozen, in the dtype of the checkpoint, unless told otherwise. */
  static fromPretrained(place: Place, loading: EncoderLoading): ClipVisionModel {
    return fromFolder(place, loading, (at, json, checkpoint) => {
      const config = parseClipVisionConfig(json);
      const prefix = prefixOf(checkpoint, ANCHOR) ?? TOWER;
      const said = json.architectures !== undefined;
      if (!said && !checkpoint.has(join(projectionOf(prefix), "weight"))) config.projectionDim = undefined;
      return new ClipVisionModel(at, config, prefix);
    });
  }

  get device() {
    return this.visionModel.embeddings.classEmbedding.device;
  }
  get dtype(): "f32" | "bf16" {
    return this.#dtype;
  }
  get width(): number {
    return this.config.hiddenSize;
  }
  get embedDim(): number {
    return this.config.projectionDim ?? this.config.hiddenSize;
  }

  /** Pictures (N,3,H,W) of any size that holds a patch; the position table is stretched where it is not the tower's own. */
  forward(x: Tensor, options: EncoderOptions = {}): EncoderOutput {
    checkForward("ClipVisionModel", options);
    const { visionModel, config } = this;
    return scope(() => {
      const pixels = encoderInput("ClipVisionModel", x, `pixels (N,${config.channels},H,W)`, [0, config.channels, 0, 0], this.#dtype);
      const start = visionModel.preNorm.forward(visionModel.embeddings.forward(pixels));
      const tower = { who: "ClipVisionModel", stack: visionModel.encoder, classTokens: this.classTokens };
      const { final, ...states } = towerStates(tower, start, options);
      const pooled = onTape(options, "pooled", () => visionModel.postNorm.forward(classRows(final)));
      const project = (y: Tensor) => this.visualProjection?.forward(y) ?? y.alias();
      const projected = options.projected && onTape(options, "projected", () => project(visionModel.postNorm.forward(final)));
      return { ...states, pooled, embeds: onTape(options, "embeds", () => project(pooled)), ...(projected && { projected }) };
    });
  }

  configJson(): Json {
    const name = this.visualProjection ? "CLIPVisionModelWithProjection" : "CLIPVisionModel";
    return { architectures: [name], ...clipVisionJson(this.config) };
  }
}

/** Beside the tower's own prefix, wherever that is. */
function projectionOf(prefix: string): string {
  return join(outside(prefix, TOWER) ?? "", "visual_projection");
}
