// SigLIP's image tower (arXiv 2303.15343), which SigLIP 2 (2502.14786) keeps at fixed resolutions: no class token; a head whose one learned
// query attends to all patches makes the embedding.
import { scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import type { WeightSource } from "../io/checkpoint.js";
import { Conv2d } from "../nn/conv.js";
import { Embedding } from "../nn/embedding.js";
import { InProjection, projected } from "../nn/in-projection.js";
import { Linear, type LinearLayer } from "../nn/linear.js";
import { Mlp } from "../nn/mlp.js";
import { join, Module, matching } from "../nn/module.js";
import { LayerNorm } from "../nn/norm.js";
import { VitStack } from "../nn/vit-stack.js";
import type { Weights } from "../nn/weights.js";
import { add, attention, meanPool } from "../ops/index.js";
import type { Json } from "./config.js";
import { checkForward, type Encoder, type EncoderLoading, type EncoderOptions, type EncoderOutput, onTape } from "./encoder.js";
import { encoderInput, patchRows, tableFor } from "./patches.js";
import type { Place } from "./piece.js";
import { parseSiglipVisionConfig, type SiglipVisionConfig, siglipVisionJson } from "./siglip-config.js";
import { fromFolder, leftover, prefixOf } from "./tower.js";
import { towerStates } from "./tower-states.js";

class SiglipEmbeddings extends Module {
  patchEmbedding: Conv2d;
  positionEmbedding: Embedding;

  constructor(at: Weights, c: SiglipVisionConfig) {
    super();
    const patch: [number, number] = [c.patchSize, c.patchSize];
    this.patchEmbedding = new Conv2d(at.at("patch_embedding"), c.channels, c.hiddenSize, patch, { stride: patch });
    this.positionEmbedding = new Embedding(at.at("position_embedding"), Math.floor(c.imageSize / c.patchSize) ** 2, c.hiddenSize);
  }

  forward(pixels: Tensor): Tensor {
    const { rows, grid } = patchRows(this.patchEmbedding.forward(pixels));
    return add(rows, matching(tableFor(this.positionEmbedding.weight, grid, { classRows: 0 }), rows));
  }
}

/** torch's MultiheadAttention: rows of q, k and v in one matrix. */
class PoolingAttention extends Module {
  inProj: LinearLayer;
  outProj: Linear;

  constructor(
    at: Weights,
    readonly width: number,
    readonly heads: number,
  ) {
    super();
    this.inProj = new InProjection(at, width, { normal: width ** -0.5 });
    this.outProj = new Linear(at.at("out_proj"), width, width);
  }

  /** query (N,1,C) over tokens (N,S,C) → (N,1,C). */
  forward(query: Tensor, tokens: Tensor): Tensor {
    const { width, heads, inProj } = this;
    const [N, S] = tokens.shape as [number, number];
    const [q] = projected(inProj, query, [0]) as [Tensor];
    const [k, v] = projected(inProj, tokens, [1, 2]) as [Tensor, Tensor];
    const split = (y: Tensor, rows: number) => y.reshape([N, rows, heads, width / heads]);
    const y = attention(split(q, 1), split(k, S), split(v, S));
    return this.outProj.forward(y.reshape([N, 1, width]));
  }
}

class PoolingHead extends Module {
  probe: Tensor; // (1,1,C)
  attention: PoolingAttention;
  layernorm: LayerNorm;
  mlp: Mlp;

  constructor(at: Weights, c: SiglipVisionConfig) {
    super();
    this.probe = at.parameter("probe", [1, 1, c.hiddenSize], { normal: 1 });
    this.attention = new PoolingAttention(at.at("attention"), c.hiddenSize, c.heads);
    this.layernorm = new LayerNorm(at.at("layernorm"), c.hiddenSize, c.layerNormEps);
    this.mlp = new Mlp(at.at("mlp"), c.hiddenSize, c.intermediateSize, c.activation);
  }

  /** (N,S,C) → (N,C). */
  forward(tokens: Tensor): Tensor {
    const [N, , C] = tokens.shape as [number, number, number];
    const { device, dtype } = tokens;
    const probe = add(Tensor.zeros([N, 1, C], { device, dtype }), matching(this.probe, tokens).reshape([C]));
    const seen = this.attention.forward(probe, tokens);
    return add(seen, this.mlp.forward(this.layernorm.forward(seen))).reshape([N, C]);
  }
}

class SiglipVisionTransformer extends Module {
  embeddings: SiglipEmbeddings;
  encoder: VitStack;
  postLayernorm: LayerNorm;
  head: PoolingHead | undefined;

  constructor(at: Weights, c: SiglipVisionConfig) {
    super();
    const { hiddenSize: width, intermediateSize: hidden, heads, activation, layerNormEps: eps, layers } = c;
    this.embeddings = new SiglipEmbeddings(at.at("embeddings"), c);
    this.encoder = new VitStack(at.at("encoder"), "huggingface", { width, hidden, heads, activation, eps, layers });
    this.postLayernorm = new LayerNorm(at.at("post_layernorm"), width, eps);
    this.head = c.head ? new PoolingHead(at.at("head"), c) : undefined;
  }
}

/** The bias tells it from CLIP's, which has none. */
const ANCHOR = "embeddings.patch_embedding.bias";

/** Pictures (N,3,H,W) → rows (N,S,d), without a class token, and embeddings (N,d) of its attention pooling. Construct it through fromPretrained(). */
export class SiglipVisionModel extends Module implements Encoder {
  visionModel: SiglipVisionTransformer;
  readonly config: SiglipVisionConfig;
  readonly kind = "siglip-vision";
  readonly modality = "image";
  readonly classTokens = 0;
  readonly dtype: "f32" | "bf16";
  readonly leftover: readonly string[];

  /** `prefix`: where the tower's names begin, if not at vision_model. */
  constructor(at: Weights, config: SiglipVisionConfig, prefix = "vision_model") {
    super();
    this.config = config;
    this.dtype = at.dtype;
    this.visionModel = new SiglipVisionTransformer(at.at(prefix), config);
    this.leftover = leftover(at.checkpoint, [[this.visionModel, prefix]], join(prefix, "encoder"));
  }

  /** From a folder of this tower, of a whole SigLIP, or of a larger model around it. Frozen, in the dtype of the checkpoint, unless told otherwise. */
  static fromPretrained(place: Place, loading: EncoderLoading): SiglipVisionModel {
    return fromFolder(place, loading, (at, json, checkpoint) => {
      const prefix = prefixOf(checkpoint, ANCHOR) ?? "vision_model";
      return new SiglipVisionModel(at, withStoredHead(parseSiglipVisionConfig(json), json, checkpoint, prefix), prefix);
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
   * Pictures (N,3,H,W) of any size that holds a patch. hidden -1 is after the final norm, as transformers' last_hidden_state. Both pooled and embeds
   * are what the head makes (pooler_output); without one they are the mean over the patches.
   */
  forward(x: Tensor, options: EncoderOptions = {}): EncoderOutput {
    checkForward("SiglipVisionModel", options);
    const { visionModel, config } = this;
    return scope(() => {
      const pixels = encoderInput("SiglipVisionModel", x, `pixels (N,${config.channels},H,W)`, [0, config.channels, 0, 0], this.dtype);
      const { encoder: stack, postLayernorm: norm, embeddings, head } = visionModel;
      const tower = { who: "SiglipVisionModel", stack, classTokens: this.classTokens, norm };
      const { final, ...states } = towerStates(tower, embeddings.forward(pixels), options);
      const pooled = onTape(options, "pooled", () => head?.forward(final) ?? meanPool(final, 1));
      return { ...states, pooled, embeds: pooled.alias() };
    });
  }

  configJson(): Json {
    return siglipVisionJson(this.config);
  }
}

/** Larger models do not say whether their tower has a head: the checkpoint does. */
function withStoredHead(config: SiglipVisionConfig, json: Json, checkpoint: WeightSource, prefix: string): SiglipVisionConfig {
  if (config.head || (json.vision_config as Json | undefined)?.vision_use_head === false) return config;
  return { ...config, head: checkpoint.has(join(prefix, "head.probe")) };
}
