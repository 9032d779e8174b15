// Both towers of CLIP and the temperature between them, in one folder as Hugging Face's CLIPModel keeps them.
import { built } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { Checkpoint } from "../io/checkpoint.js";
import { Module } from "../nn/module.js";
import { Weights } from "../nn/weights.js";
import { type ClipConfig, clipJson, parseClipConfig } from "./clip-config.js";
import { ClipTextModel } from "./clip-text.js";
import { ClipVisionModel } from "./clip-vision.js";
import { type Json, readConfig, storedDType } from "./config.js";
import { checkLoading, type EncoderLoading } from "./encoder.js";

/** Pictures and texts embedded side by side: `vision`, `text`, and the temperature between them. */
export class ClipModel extends Module {
  vision: ClipVisionModel;
  text: ClipTextModel;
  logitScale: Tensor; // (), ln of what cosines are multiplied by
  readonly config: ClipConfig;

  constructor(at: Weights, config: ClipConfig) {
    super();
    this.config = config;
    this.vision = new ClipVisionModel(at, config.vision);
    this.text = new ClipTextModel(at, config.text);
    this.logitScale = at.parameter("logit_scale", [], { fill: config.logitScaleInit });
    at.finish((name) => name.endsWith(".position_ids"));
  }

  static fromPretrained(folder: string, loading: EncoderLoading): ClipModel {
    checkLoading(loading);
    const { device, dtype, trainable = false, quantization } = loading;
    const json = readConfig(folder);
    using checkpoint = Checkpoint.open(folder);
    const at = Weights.from(checkpoint, { device, dtype: dtype ?? storedDType(json), trainable, quantization });
    return built(() => new ClipModel(at, parseClipConfig(json)));
  }

  protected override stateName(field: string): string {
    return field === "vision" || field === "text" ? "" : super.stateName(field); // the towers' names stand side by side
  }

  configJson(): Json {
    return clipJson(this.config);
  }
}
