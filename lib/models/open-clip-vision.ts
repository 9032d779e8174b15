// CLIP's image tower under the names of OpenAI's and OpenCLIP's own checkpoints (github.com/mlfoundations/open_clip): the same numbers as
// ClipVisionModel, with q, k and v in one matrix and the projection from the right.
import { existsSync } from "node:fs";
import { join as path } from "node:path";
import { scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { Checkpoint } from "../io/checkpoint.js";
import { join, Module, matching } from "../nn/module.js";
import { LayerNorm } from "../nn/norm.js";
import { VitStack } from "../nn/vit-stack.js";
import { fanIn, type Weights } from "../nn/weights.js";
import { add, conv2d, linear, transposeCopy } from "../ops/index.js";
import { type ClipVisionConfig, clipVisionJson, parseClipVisionConfig, vitBlock } from "./clip-config.js";
import { type Json, readConfig } from "./config.js";
import { checkForward, type Encoder, type EncoderLoading, type EncoderOptions, type EncoderOutput, onTape } from "./encoder.js";
import { parseOpenClipConfig, readOpenClipConfig } from "./open-clip-config.js";
import { classRows, encoderInput, patchRows, tableFor, withClass } from "./patches.js";
import { fromCheckpoint, leftover, prefixOf } from "./tower.js";
import { towerStates } from "./tower-states.js";

class OpenClipVisual extends Module {
  classEmbedding: Tensor; // (C)
  positionalEmbedding: Tensor; // (1+P,C)
  conv: Tensor; // (C,3,p,p)
  lnPre: LayerNorm;
  transformer: VitStack;
  lnPost: LayerNorm;
  proj: Tensor | undefined; // (C,e), from the right

  constructor(at: Weights, c: ClipVisionConfig) {
    super();
    const { hiddenSize: C, patchSize, imageSize, channels, layerNormEps: eps, projectionDim } = c;
    const normal = { normal: C ** -0.5 };
    this.classEmbedding = at.parameter("class_embedding", [C], normal);
    this.positionalEmbedding = at.parameter("positional_embedding", [1 + Math.floor(imageSize / patchSize) ** 2, C], normal);
    this.conv = at.parameter("conv1.weight", [C, channels, patchSize, patchSize], fanIn(channels * patchSize ** 2));
    this.lnPre = new LayerNorm(at.at("ln_pre"), C, eps);
    this.transformer = new VitStack(at.at("transformer"), "openai", { ...vitBlock(c), fused: true });
    this.lnPost = new LayerNorm(at.at("ln_post"), C, eps);
    this.proj = projectionDim === undefined ? undefined : at.parameter("proj", [C, projectionDim], normal);
  }

  protected override stateName(field: string): string {
    return field === "conv" ? "conv1.weight" : super.stateName(field);
  }

  embed(pixels: Tensor, patchSize: number): Tensor {
    const { rows, grid } = patchRows(conv2d(pixels, matching(this.conv, pixels), undefined, { stride: patchSize }));
    const tokens = withClass(matching(this.classEmbedding, rows), rows);
    return this.lnPre.forward(add(tokens, matching(tableFor(this.positionalEmbedding, grid), rows)));
  }
}

const TOWER = "visual";
/** Text towers have positions too, but no convolution. */
const ANCHOR = "conv1.weight";

/**
 * CLIP's image tower out of OpenCLIP's own files: pictures (N,3,H,W) → rows (N,1+S,d) and embeddings (N,e). Construct it through fromPretrained().
 */
export class OpenClipVisionModel extends Module implements Encoder {
  visual: OpenClipVisual;
  readonly config: ClipVisionConfig;
  readonly kind = "clip-vision";
  readonly modality = "image";
  readonly classTokens = 1;
  readonly dtype: "f32" | "bf16";
  readonly leftover: readonly string[];

  /** `prefix`: where the tower's names begin. */
  constructor(at: Weights, config: ClipVisionConfig, prefix = TOWER) {
    super();
    this.config = config;
    this.dtype = at.dtype;
    this.visual = new OpenClipVisual(at.at(prefix), config);
    this.leftover = leftover(at.checkpoint, [[this.visual, prefix]], join(prefix, "transformer"));
  }

  /**
   * From a folder with open_clip_config.json and open_clip_model.safetensors (or model.safetensors), or with a CLIP's config.json and these
   * names. Frozen, in the dtype of the checkpoint (f32 beside open_clip_config.json), unless told otherwise.
   */
  static fromPretrained(folder: string, loading: EncoderLoading): OpenClipVisionModel {
    const own = readOpenClipConfig(folder);
    const json = own ?? readConfig(folder);
    const config = own ? parseOpenClipConfig(own) : parseClipVisionConfig(json);
    using checkpoint = openClipCheckpoint(folder);
    const prefix = prefixOf(checkpoint, ANCHOR) ?? TOWER;
    if (!own && json.architectures === undefined && !checkpoint.has(join(prefix, "proj"))) config.projectionDim = undefined;
    return fromCheckpoint(checkpoint, loading, json, (at) => new OpenClipVisionModel(at, config, prefix));
  }

  /** Are the names of the folder's weights these? */
  static names(folder: string): boolean {
    using checkpoint = openClipCheckpoint(folder);
    return [...checkpoint.names()].some((name) => /(^|\.)visual\.class_embedding$/.test(name));
  }

  get device() {
    return this.visual.classEmbedding.device;
  }
  get width(): number {
    return this.config.hiddenSize;
  }
  get embedDim(): number {
    return this.config.projectionDim ?? this.config.hiddenSize;
  }

  /** As ClipVisionModel: pictures (N,3,H,W) of any size that holds a patch. */
  forward(x: Tensor, options: EncoderOptions = {}): EncoderOutput {
    checkForward("OpenClipVisionModel", options);
    const { visual, config } = this;
    return scope(() => {
      const pixels = encoderInput("OpenClipVisionModel", x, `pixels (N,${config.channels},H,W)`, [0, config.channels, 0, 0], this.dtype);
      const tower = { who: "OpenClipVisionModel", stack: visual.transformer, classTokens: this.classTokens };
      const { final, ...states } = towerStates(tower, visual.embed(pixels, config.patchSize), options);
      const pooled = onTape(options, "pooled", () => visual.lnPost.forward(classRows(final)));
      const { proj } = visual;
      const embeds = () => (proj ? linear(pooled, transposeCopy(matching(proj, pooled), 0, 1)) : pooled.alias());
      return { ...states, pooled, embeds: onTape(options, "embeds", embeds) };
    });
  }

  /** A CLIP's config.json: the folder that saveModel writes is found by its names. */
  configJson(): Json {
    const name = this.visual.proj ? "CLIPVisionModelWithProjection" : "CLIPVisionModel";
    return { architectures: [name], ...clipVisionJson(this.config) };
  }
}

function openClipCheckpoint(folder: string): Checkpoint {
  const own = "open_clip_model.safetensors";
  const standard = ["model.safetensors", "model.safetensors.index.json"].some((name) => existsSync(path(folder, name)));
  return existsSync(path(folder, own)) && !standard ? Checkpoint.openIn(folder, own) : Checkpoint.open(folder);
}
