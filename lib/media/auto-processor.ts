// The processor an encoder's folder asks for.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { AudioProcessor } from "./audio-processor.js";
import { MediaError } from "./error.js";
import { ImageProcessor, readJsonFile, readPreprocessorConfig } from "./image-processor.js";
import { ImuProcessor } from "./imu-processor.js";
import { VideoProcessor } from "./video-processor.js";

const VIDEO_MODELS = ["viclip", "videomae"];

export class AutoProcessor {
  private constructor() {}

  /**
   * By preprocessor_config.json, and where that names none by config.json's model_type. A CLIP makes pictures: for its frames as a video
   * take VideoProcessor.fromPretrained(folder, { frames }).
   */
  static fromPretrained(folder: string): ImageProcessor | VideoProcessor | AudioProcessor | ImuProcessor {
    const path = join(folder, "config.json");
    const model = existsSync(path) ? String(readJsonFile(path).model_type) : "";
    // IMU2CLIP came without a processor; its rate and window may stand in config.json.
    if (model === "imu2clip") return ImuProcessor.fromPretrained(folder);
    const config = readPreprocessorConfig(folder);
    const type = String(config.feature_extractor_type ?? config.image_processor_type ?? config.video_processor_type ?? "");
    if (type === "ImuProcessor") return ImuProcessor.fromPretrained(folder);
    if (type === "ClapFeatureExtractor") return AudioProcessor.fromPretrained(folder);
    if (/video/i.test(type) || VIDEO_MODELS.includes(model)) return VideoProcessor.fromPretrained(folder);
    if (/ImageProcessor(Fast|Pil)?$|^(CLIP|Siglip|ViT|Bit)FeatureExtractor$|^$/.test(type)) return ImageProcessor.fromPretrained(folder);
    throw new MediaError(
      "E_MEDIA_OPTION",
      join(folder, "preprocessor_config.json"),
      "a processor of pictures, videos, CLAP's sounds or IMU2CLIP's recordings",
      type,
      "use an encoder of one of these kinds",
    );
  }
}
