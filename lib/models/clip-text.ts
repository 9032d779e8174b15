// CLIP's text tower (arXiv 2103.00020) under the names of Hugging Face: a causal transformer whose state at the end-of-text token is the text.
import { expected } from "../core/errors.js";
import { built, scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { Checkpoint } from "../io/checkpoint.js";
import { Embedding } from "../nn/embedding.js";
import { Linear } from "../nn/linear.js";
import { Module, matching } from "../nn/module.js";
import { LayerNorm } from "../nn/norm.js";
import { VitStack } from "../nn/vit-stack.js";
import { Weights } from "../nn/weights.js";
import { add, gatherRows } from "../ops/index.js";
import { type ClipTextConfig, clipTextJson, parseClipTextConfig, vitBlock } from "./clip-config.js";
import { type Json, readConfig, storedDType } from "./config.js";
import { checkLoading, type EncoderLoading } from "./encoder.js";

export interface ClipTextOutput {
  /** (N,T,d): after the final norm. Rows that were shorter than T go on with states that mean nothing. */
  hidden: Tensor;
  /** (N,d): the state at the end-of-text token. */
  pooled: Tensor;
  /** (N,e): after the projection, not normalised. */
  embeds: Tensor;
}

class ClipTextEmbeddings extends Module {
  tokenEmbedding: Embedding;
  positionEmbedding: Embedding;

  constructor(at: Weights, c: ClipTextConfig) {
    super();
    this.tokenEmbedding = new Embedding(at.at("token_embedding"), c.vocabSize, c.hiddenSize);
    this.positionEmbedding = new Embedding(at.at("position_embedding"), c.maxPositions, c.hiddenSize, { std: 0.01 });
  }

  forward(ids: Tensor): Tensor {
    const tokens = this.tokenEmbedding.forward(ids);
    return add(tokens, matching(this.positionEmbedding.weight.slice(0, ids.shape[1] as number), tokens));
  }
}

class ClipTextTransformer extends Module {
  embeddings: ClipTextEmbeddings;
  encoder: VitStack;
  finalLayerNorm: LayerNorm;

  constructor(at: Weights, c: ClipTextConfig) {
    super();
    this.embeddings = new ClipTextEmbeddings(at.at("embeddings"), c);
    this.encoder = new VitStack(at.at("encoder"), "huggingface", { ...vitBlock(c), causal: true });
    this.finalLayerNorm = new LayerNorm(at.at("final_layer_norm"), c.hiddenSize, c.layerNormEps);
  }
}

/** Weights of a CLIPModel that are not the text tower's. */
const OTHERS = /(^|\.)(vision_model|visual_projection|logit_scale|position_ids)(\.|$)/;

/** What OpenAI's configurations give as the id of the end-of-text token, which it is not. */
const HIGHEST_ID = 2;

/** Rows of ids → states (N,T,d) and embeddings (N,e). Construct it through fromPretrained(). */
export class ClipTextModel extends Module {
  textModel: ClipTextTransformer;
  textProjection: Linear;
  readonly config: ClipTextConfig;
  readonly #dtype: "f32" | "bf16";

  constructor(at: Weights, config: ClipTextConfig) {
    super();
    const { hiddenSize, projectionDim } = config;
    this.config = config;
    this.#dtype = at.dtype;
    this.textModel = new ClipTextTransformer(at.at("text_model"), config);
    this.textProjection = new Linear(at.at("text_projection"), hiddenSize, projectionDim, {
      bias: false,
      init: { normal: hiddenSize ** -0.5 },
    });
    at.finish((name) => OTHERS.test(name));
  }

  /** From a folder in Hugging Face layout, of this tower or of both. Frozen, in the dtype of the checkpoint, unless told otherwise. */
  static fromPretrained(folder: string, loading: EncoderLoading): ClipTextModel {
    checkLoading(loading);
    const { device, dtype, trainable = false, quantization } = loading;
    const json = readConfig(folder);
    using checkpoint = Checkpoint.open(folder);
    const at = Weights.from(checkpoint, { device, dtype: dtype ?? storedDType(json), trainable, quantization });
    return built(() => new ClipTextModel(at, parseClipTextConfig(json)));
  }

  get device() {
    return this.textModel.finalLayerNorm.weight.device;
  }
  get dtype(): "f32" | "bf16" {
    return this.#dtype;
  }
  get width(): number {
    return this.config.hiddenSize;
  }
  get embedDim(): number {
    return this.config.projectionDim;
  }

  /** One row of ids per text, each with its end-of-text token; rows may differ in length, since nothing looks to the right. */
  forward(ids: readonly ArrayLike<number>[]): ClipTextOutput {
    return scope(() => {
      const { textModel, device } = this;
      const T = ids.reduce((most, row) => Math.max(most, row.length), 0);
      if (!T || T > this.config.maxPositions)
        throw expected("E_SHAPE", "ClipTextModel", `rows of 1 to ${this.config.maxPositions} ids`, `${T}`, "cut the texts");
      const flat = new Int32Array(ids.length * T);
      for (const [n, row] of ids.entries()) flat.set(row, n * T);
      const start = textModel.embeddings.forward(Tensor.from(flat, [ids.length, T], { device }));
      const hidden = textModel.finalLayerNorm.forward(textModel.encoder.forward(start).last);
      const places = Int32Array.from(ids, (row, n) => n * T + this.#end(row, n));
      const pooled = gatherRows(hidden.reshape([ids.length * T, this.width]), Tensor.from(places, [ids.length], { device }));
      return { hidden, pooled, embeds: this.textProjection.forward(pooled) };
    });
  }

  #end(row: ArrayLike<number>, n: number): number {
    const { eosTokenId } = this.config;
    const all = Array.from(row);
    const end = all.indexOf(eosTokenId === HIGHEST_ID ? all.reduce((a, b) => Math.max(a, b), 0) : eosTokenId);
    if (end < 0)
      throw expected(
        "E_VALUE",
        `ClipTextModel: row ${n}`,
        `the end-of-text token ${eosTokenId} in it`,
        `[${all}]`,
        "append it to each text",
      );
    return end;
  }

  configJson(): Json {
    return { architectures: ["CLIPTextModelWithProjection"], ...clipTextJson(this.config) };
  }
}
