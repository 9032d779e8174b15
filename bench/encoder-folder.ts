// A CLIP picture encoder of random weights in a folder as published ones lie: what encoding costs does not depend on what was learned.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Device } from "../lib/index.js";
import { saveModel } from "../lib/io/model-folder.js";
import { parseClipVisionConfig } from "../lib/models/clip-config.js";
import { ClipVisionModel } from "../lib/models/clip-vision.js";
import { Weights } from "../lib/nn/weights.js";

export interface EncoderShape {
  width: number;
  layers: number;
  heads: number;
  /** Of its pictures, in pixels; patches are 16 wide. */
  side: number;
}

export async function randomEncoder(folder: string, device: Device, { width, layers, heads, side }: EncoderShape): Promise<void> {
  const config = {
    model_type: "clip_vision_model",
    architectures: ["CLIPVisionModelWithProjection"],
    ...{ hidden_size: width, intermediate_size: 4 * width, num_hidden_layers: layers, num_attention_heads: heads, image_size: side },
    patch_size: 16,
    projection_dim: 64,
  };
  using vision = new ClipVisionModel(Weights.fresh({ device, trainable: false, seed: 1 }), parseClipVisionConfig(config));
  await saveModel(folder, vision, vision.configJson());
  const processor = { image_processor_type: "CLIPImageProcessor", size: side, crop_size: side };
  await writeFile(join(folder, "preprocessor_config.json"), JSON.stringify(processor));
}
