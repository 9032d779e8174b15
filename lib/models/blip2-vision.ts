// The image tower of BLIP-2 (arXiv 2301.12597), InstructBLIP and MiniGPT-4: EVA-CLIP's ViT-g without its last block, and a norm over all its rows, which LAVIS calls
// ln_vision. Names are those of transformers' Blip2VisionModel.
import { scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { Conv2d } from "../nn/conv.js";
import { EvaStack } from "../nn/eva-block.js";
import { join, Module, matching } from "../nn/module.js";
import { LayerNorm } from "../nn/norm.js";
import type { Weights } from "../nn/weights.js";
import { add } from "../ops/index.js";
import { type Blip2VisionConfig, blip2VisionJson, parseBlip2VisionConfig } from "./blip2-vision-config.js";
import type { Json } from "./config.js";
import { checkForward, type Encoder, type EncoderLoading, type EncoderOptions, type EncoderOutput, onTape } from "./encoder.js";
import { classRows, encoderInput, patchRows, tableFor, withClass } from "./patches.js";
import type { Place } from "./piece.js";
import { fromFolder, leftover, prefixOf } from "./tower.js";
import { towerStates } from "./tower-states.js";

const CHANNELS = 3;

class Blip2VisionEmbeddings extends Module {
  classEmbedding: Tensor; // (1,1,C)
  positionEmbedding: Tensor; // (1,1+S,C)
  patchEmbedding: Conv2d;

  constructor(at: Weights, { hiddenSize: C, patchSize, imageSize }: Blip2VisionConfig) {
    super();
    const patch: [number, number] = [patchSize, patchSize];
    const init = { normal: C ** -0.5 };
    this.classEmbedding = at.parameter("class_embedding", [1, 1, C], init);
    this.positionEmbedding = at.parameter("position_embedding", [1, Math.floor(imageSize / patchSize) ** 2 + 1, C], init);
    this.patchEmbedding = new Conv2d(at.at("patch_embedding"), CHANNELS, C, patch, { stride: patch });
  }

  forward(pixels: Tensor): Tensor {
    const { rows, grid } = patchRows(this.patchEmbedding.forward(pixels));
    const [, S, C] = this.positionEmbedding.shape as [number, number, number];
    const tokens = withClass(matching(this.classEmbedding, rows).reshape([C]), rows);
    return add(tokens, matching(tableFor(this.positionEmbedding.reshape([S, C]), grid), rows));
  }
}

class Blip2VisionTransformer extends Module {
  embeddings: Blip2VisionEmbeddings;
  encoder: EvaStack;
  postLayernorm: LayerNorm;

  constructor(at: Weights, c: Blip2VisionConfig) {
    super();
    const { hiddenSize: width, intermediateSize: hidden, heads, activation, layerNormEps: eps, layers, qkvBias } = c;
    this.embeddings = new Blip2VisionEmbeddings(at.at("embeddings"), c);
    this.encoder = new EvaStack(at.at("encoder"), { width, hidden, heads, activation, eps, layers, qkvBias });
    this.postLayernorm = new LayerNorm(at.at("post_layernorm"), width, eps);
  }
}

const TOWER = "vision_model";
const ANCHOR = "embeddings.class_embedding";

/** Pictures (N,3,H,W) → rows (N,1+S,d), the class token first, after the norm over all of them. Construct it through fromPretrained(). */
export class Blip2VisionModel extends Module implements Encoder {
  visionModel: Blip2VisionTransformer;
  readonly config: Blip2VisionConfig;
  readonly kind = "blip2-vision";
  readonly modality = "image";
  readonly classTokens = 1;
  readonly dtype: "f32" | "bf16";
  readonly leftover: readonly string[];

  /** `prefix`: where the tower's names begin, if not at vision_model. */
  constructor(at: Weights, config: Blip2VisionConfig, prefix = TOWER) {
    super();
    this.config = config;
    this.dtype = at.dtype;
    this.visionModel = new Blip2VisionTransformer(at.at(prefix), config);
    this.leftover = leftover(at.checkpoint, [[this.visionModel, prefix]], join(prefix, "encoder"));
  }

  /** From a folder of this tower, or of a BLIP-2 or InstructBLIP around it. Frozen, in the dtype of the checkpoint, unless told otherwise. */
  static fromPretrained(place: Place, loading: EncoderLoading): Blip2VisionModel {
    return fromFolder(place, loading, (at, json, checkpoint) => {
      const prefix = prefixOf(checkpoint, ANCHOR) ?? TOWER;
      return new Blip2VisionModel(at, parseBlip2VisionConfig(json), prefix);
    });
  }

  get device() {
    return this.visionModel.postLayernorm.weight.device;
  }
  get width(): number {
    return this.config.hiddenSize;
  }
  get embedDim(): number {
    return this.config.hiddenSize;
  }

  /**
   * Pictures (N,3,H,W) of any size that holds a patch. hidden -1 is after the norm over all rows, as transformers' last_hidden_state; pooled is the class
   * token's row of it, through that norm once more, as there.
   */
  forward(x: Tensor, options: EncoderOptions = {}): EncoderOutput {
    checkForward("Blip2VisionModel", options);
    const { embeddings, encoder: stack, postLayernorm: norm } = this.visionModel;
    return scope(() => {
      const pixels = encoderInput("Blip2VisionModel", x, `pixels (N,${CHANNELS},H,W)`, [0, CHANNELS, 0, 0], this.dtype);
      const tower = { who: "Blip2VisionModel", stack, classTokens: this.classTokens, norm };
      const { final, ...states } = towerStates(tower, embeddings.forward(pixels), options);
      const pooled = onTape(options, "pooled", () => norm.forward(classRows(final)));
      return { ...states, pooled, embeds: pooled.alias() };
    });
  }

  configJson(): Json {
    return blip2VisionJson(this.config);
  }
}
