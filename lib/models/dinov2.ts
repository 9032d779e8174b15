// DINOv2 (arXiv 2304.07193) under the names of Hugging Face, from S to g (SwiGLU), with registers (2309.16588) or without.
import { scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { Conv2d } from "../nn/conv.js";
import { join, Module, matching } from "../nn/module.js";
import { LayerNorm } from "../nn/norm.js";
import { VitStack } from "../nn/vit-stack.js";
import type { Weights } from "../nn/weights.js";
import { add, concat } from "../ops/index.js";
import type { Json } from "./config.js";
import { type Dinov2Config, dinov2Json, feedForwardWidth, parseDinov2Config } from "./dinov2-config.js";
import { checkForward, type Encoder, type EncoderLoading, type EncoderOptions, type EncoderOutput, onTape } from "./encoder.js";
import { classRows, encoderInput, patchRows, tableFor } from "./patches.js";
import { fromFolder, leftover, prefixOf } from "./tower.js";
import { towerStates } from "./tower-states.js";

const normal = { normal: 0.02 };

class Dinov2Embeddings extends Module {
  clsToken: Tensor; // (1,1,C)
  positionEmbeddings: Tensor; // (1,1+P,C)
  registerTokens: Tensor | undefined; // (1,R,C)
  projection: Conv2d;
  readonly #registers: number | undefined;

  constructor(at: Weights, c: Dinov2Config) {
    super();
    const { hiddenSize: C, imageSize, patchSize, registers } = c;
    const patch: [number, number] = [patchSize, patchSize];
    this.#registers = registers;
    this.clsToken = at.parameter("cls_token", [1, 1, C], normal);
    this.positionEmbeddings = at.parameter("position_embeddings", [1, 1 + Math.floor(imageSize / patchSize) ** 2, C], normal);
    this.registerTokens = registers ? at.parameter("register_tokens", [1, registers, C], normal) : undefined;
    this.projection = new Conv2d(at.at(this.stateName("projection")), c.channels, C, patch, { stride: patch });
  }

  protected override stateName(field: string): string {
    return field === "projection" ? "patch_embeddings.projection" : super.stateName(field);
  }

  /** (N,3,H,W) → (N,1+R+P,C). Registers have no position. */
  forward(pixels: Tensor): Tensor {
    const { rows, grid } = patchRows(this.projection.forward(pixels));
    const [N, , C] = rows.shape as [number, number, number];
    const antialias = this.#registers !== undefined; // so differ the two classes of transformers
    const table = tableFor(this.positionEmbeddings.reshape([-1, C]), grid, { antialias });
    const repeated = (tokens: Tensor) => {
      const [n, like] = [tokens.size / C, matching(tokens, rows).reshape([tokens.size / C, C])];
      return add(Tensor.zeros([N, n, C], { device: rows.device, dtype: rows.dtype }), like);
    };
    const cls = repeated(add(matching(this.clsToken, rows).reshape([1, C]), matching(table.slice(0, 1), rows)));
    const places = add(rows, matching(table.slice(1, table.shape[0]! - 1), rows));
    return concat(this.registerTokens ? [cls, repeated(this.registerTokens), places] : [cls, places], 1);
  }
}

const ANCHOR = "embeddings.cls_token";

/** Pictures (N,3,H,W) → rows (N,1+registers+S,d), the class token first. Construct it through fromPretrained(). */
export class Dinov2Model extends Module implements Encoder {
  embeddings: Dinov2Embeddings;
  encoder: VitStack;
  layernorm: LayerNorm;
  readonly config: Dinov2Config;
  readonly kind = "dinov2";
  readonly modality = "image";
  readonly classTokens: number;
  readonly dtype: "f32" | "bf16";
  readonly leftover: readonly string[];

  /** The names begin where `at` stands. */
  constructor(at: Weights, config: Dinov2Config) {
    super();
    const { hiddenSize: width, heads, activation, layerNormEps: eps, layers, qkvBias, swiGlu } = config;
    this.config = config;
    this.dtype = at.dtype;
    this.classTokens = 1 + (config.registers ?? 0);
    this.embeddings = new Dinov2Embeddings(at.at("embeddings"), config);
    const block = { width, hidden: feedForwardWidth(config), heads, activation, eps, layers, qkvBias, layerScale: true, gated: swiGlu };
    this.encoder = new VitStack(at.at("encoder"), "dinov2", block);
    this.layernorm = new LayerNorm(at.at("layernorm"), width, eps);
    this.leftover = leftover(at.checkpoint, [[this, at.prefix]], join(at.prefix, "encoder"));
  }

  /** From a folder of this model, or of a larger one around it. Frozen, in the dtype of the checkpoint, unless told otherwise. */
  static fromPretrained(folder: string, loading: EncoderLoading): Dinov2Model {
    return fromFolder(
      folder,
      loading,
      (at, json, checkpoint) => new Dinov2Model(at.at(prefixOf(checkpoint, ANCHOR) ?? ""), parseDinov2Config(json)),
    );
  }

  get device() {
    return this.layernorm.weight.device;
  }
  get width(): number {
    return this.config.hiddenSize;
  }
  get embedDim(): number {
    return this.config.hiddenSize;
  }

  /**
   * Pictures (N,3,H,W) of any size that holds a patch; the position table is stretched to it. hidden: the class token, the registers, the patches;
   * -1 is after the final norm, as transformers' last_hidden_state. pooled and embeds are the class token after that norm.
   */
  forward(x: Tensor, options: EncoderOptions = {}): EncoderOutput {
    checkForward("Dinov2Model", options);
    const { channels } = this.config;
    return scope(() => {
      const pixels = encoderInput("Dinov2Model", x, `pixels (N,${channels},H,W)`, [0, channels, 0, 0], this.dtype);
      const tower = { who: "Dinov2Model", stack: this.encoder, classTokens: this.classTokens, norm: this.layernorm };
      const { final, ...states } = towerStates(tower, this.embeddings.forward(pixels), options);
      const pooled = onTape(options, "pooled", () => classRows(final));
      return { ...states, pooled, embeds: pooled.alias() };
    });
  }

  configJson(): Json {
    return dinov2Json(this.config);
  }
}
