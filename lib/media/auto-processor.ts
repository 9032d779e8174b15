// The processor an encoder's folder asks for.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { checkOptions } from "../core/options.js";
import { resolveModel } from "../io/hub.js";
import { AudioProcessor } from "./audio-processor.js";
import { MediaError } from "./error.js";
import { ImageProcessor } from "./image-processor.js";
import { ImuProcessor } from "./imu-processor.js";
import type { MediaPart, MediaProcessor } from "./part.js";
import { PROCESSOR_FILES, preprocessorConfig, readJsonFile, typeOf } from "./preprocessor-config.js";
import { SpeechProcessor } from "./speech-processor.js";
import { VideoProcessor } from "./video-processor.js";

export interface AutoProcessorOptions {
  /** Branch, tag or commit of a model on the hub. */
  revision?: string;
  signal?: AbortSignal;
  /** No request to the hub: what a name or a checkpoint asks for is on this machine, or E_HUB_OFFLINE. Default false. */
  localFilesOnly?: boolean;
}

/** Of the kind of media that the folder's encoder takes, which instanceof tells; any of them makes parts of that kind the encoder's input. */
export type Processor = (ImageProcessor | VideoProcessor | AudioProcessor | SpeechProcessor | ImuProcessor) & MediaProcessor<MediaPart>;

const IMU_MODELS = ["imu2clip", "imu_vit"];
const VIDEO_MODELS = ["viclip", "videomae"];

/** Opens the processor of an encoder's folder: an ImageProcessor, VideoProcessor, AudioProcessor, SpeechProcessor or ImuProcessor. */
export class AutoProcessor {
  private constructor() {}

  /**
   * From a folder, or by a model's id on the hub, of which only the processor's files are fetched. By preprocessor_config.json or what stands in its
   * place (processor_config.json, open_clip_config.json), and where that names none by config.json's model_type. A CLIP makes pictures: for its
   * frames as a video take VideoProcessor.fromPretrained(folder, { frames }). Throws E_MEDIA_OPTION on a processor that is not known.
   */
  static async fromPretrained(folderOrId: string, options: AutoProcessorOptions = {}): Promise<Processor> {
    checkOptions("AutoProcessor.fromPretrained", options, ["revision", "signal", "localFilesOnly"]);
    return processorOf(await resolveModel(folderOrId, { ...options, files: (name) => PROCESSOR_FILES.includes(name) }));
  }
}

/** The same for a folder that is there. */
export function processorOf(folder: string): Processor {
  const path = join(folder, "config.json");
  const model = existsSync(path) ? readJsonFile(path).model_type : "";
  // IMU2CLIP came without a processor; its rate and window may stand in config.json.
  if (IMU_MODELS.some((name) => name === model)) return ImuProcessor.fromPretrained(folder);
  const { config, where } = preprocessorConfig(folder);
  const type = typeOf(config);
  if (type === "ImuProcessor") return ImuProcessor.fromPretrained(folder);
  if (type === "ClapFeatureExtractor") return AudioProcessor.fromPretrained(folder);
  if (type === "WhisperFeatureExtractor" || (type === "" && model === "whisper")) return SpeechProcessor.fromPretrained(folder);
  if (/video/i.test(type) || VIDEO_MODELS.some((name) => name === model)) return VideoProcessor.fromPretrained(folder);
  if (/ImageProcessor(Fast|Pil)?$|^(CLIP|Siglip|ViT|Bit)FeatureExtractor$|^$/.test(type)) return ImageProcessor.fromPretrained(folder);
  throw new MediaError(
    "E_MEDIA_OPTION",
    where,
    "a processor of pictures, videos, CLAP's or Whisper's sounds, or IMU2CLIP's recordings",
    type,
    "use an encoder of one of these kinds",
  );
}
