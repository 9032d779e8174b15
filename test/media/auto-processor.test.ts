// Which processor a model's folder gets.
import { writeFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { AudioProcessor } from "../../lib/media/audio-processor.js";
import { AutoProcessor } from "../../lib/media/auto-processor.js";
import { ImageProcessor } from "../../lib/media/image-processor.js";
import { ImuProcessor } from "../../lib/media/imu-processor.js";
import type { MediaPart, MediaProcessor } from "../../lib/media/part.js";
import { VideoProcessor } from "../../lib/media/video-processor.js";
import { caseFolder } from "../case.js";
import { rejects, temporaryFolder } from "./media-case.js";

function fromFiles(preprocessor: unknown, config?: unknown): MediaProcessor<MediaPart> {
  using folder = temporaryFolder();
  if (preprocessor) writeFileSync(folder.file("preprocessor_config.json"), JSON.stringify(preprocessor));
  if (config) writeFileSync(folder.file("config.json"), JSON.stringify(config));
  return AutoProcessor.fromPretrained(folder.path);
}

test("by the processor's name", () => {
  for (const name of ["CLIPImageProcessor", "CLIPImageProcessorFast", "SiglipImageProcessor", "BitImageProcessor", "ViTImageProcessor"])
    assert.instance(fromFiles({ image_processor_type: name }), ImageProcessor, name);
  assert.instance(fromFiles({ feature_extractor_type: "CLIPFeatureExtractor" }), ImageProcessor);
  assert.instance(fromFiles({ feature_extractor_type: "ClapFeatureExtractor" }), AudioProcessor);
  assert.instance(fromFiles({ image_processor_type: "VideoMAEImageProcessor" }, { num_frames: 8 }), VideoProcessor);
  assert.instance(fromFiles({ image_processor_type: "CLIPImageProcessor" }, { model_type: "viclip", num_frames: 8 }), VideoProcessor);
  assert.instance(fromFiles({ image_processor_type: "CLIPImageProcessor" }, { model_type: "clip" }), ImageProcessor);
  const imu = fromFiles({ feature_extractor_type: "ImuProcessor", sampling_rate: 200, window_samples: 400 });
  assert.ok(imu instanceof ImuProcessor && imu.windowSamples === 400);
});

test("IMU2CLIP without a processor: by its config.json", () => {
  const imu = fromFiles(undefined, { model_type: "imu2clip", window_samples: 500, sampling_rate: 100 });
  assert.ok(imu instanceof ImuProcessor && imu.windowSamples === 500 && imu.samplingRate === 100);
  const own = fromFiles({ feature_extractor_type: "ImuProcessor", window_samples: 300 }, { model_type: "imu2clip", window_samples: 500 });
  assert.ok(own instanceof ImuProcessor && own.windowSamples === 300);
});

test("the golden cases", () => {
  assert.instance(AutoProcessor.fromPretrained(caseFolder("clip-vision")), ImageProcessor);
  assert.instance(AutoProcessor.fromPretrained(caseFolder("clap")), AudioProcessor);
  assert.instance(AutoProcessor.fromPretrained(caseFolder("imu2clip")), ImuProcessor);
});

test("an unknown processor, a folder without one", async () => {
  const refused = (f: () => unknown, ...words: RegExp[]) => rejects((async () => f())(), "E_MEDIA_OPTION", ...words);
  await refused(() => fromFiles({ feature_extractor_type: "WhisperFeatureExtractor" }), /WhisperFeatureExtractor/);
  await refused(() => fromFiles({ image_processor_type: "DonutImageProcessor" }), /DonutImageProcessor/);
  await refused(() => fromFiles(undefined, { model_type: "clip" }), /no such file/);
});

test.run();
