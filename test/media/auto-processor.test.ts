// Which processor a model's folder gets.
import { writeFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { AudioProcessor } from "../../lib/media/audio-processor.js";
import { AutoProcessor } from "../../lib/media/auto-processor.js";
import { ImageProcessor } from "../../lib/media/image-processor.js";
import { ImuProcessor } from "../../lib/media/imu-processor.js";
import type { MediaPart, MediaProcessor } from "../../lib/media/part.js";
import { SpeechProcessor } from "../../lib/media/speech-processor.js";
import { VideoProcessor } from "../../lib/media/video-processor.js";
import { caseFolder } from "../case.js";
import { rejects, temporaryFolder } from "./media-case.js";

/** `files` by name, in a folder of their own. */
async function fromFolder(files: Record<string, unknown>): Promise<MediaProcessor<MediaPart>> {
  using folder = temporaryFolder();
  for (const [name, json] of Object.entries(files)) writeFileSync(folder.file(name), JSON.stringify(json));
  return await AutoProcessor.fromPretrained(folder.path);
}
async function fromFiles(preprocessor: unknown, config?: unknown): Promise<MediaProcessor<MediaPart>> {
  return fromFolder({
    ...(preprocessor ? { "preprocessor_config.json": preprocessor } : {}),
    ...(config ? { "config.json": config } : {}),
  });
}

test("by the processor's name", async () => {
  for (const name of ["CLIPImageProcessor", "CLIPImageProcessorFast", "SiglipImageProcessor", "BitImageProcessor", "ViTImageProcessor"])
    assert.instance(await fromFiles({ image_processor_type: name }), ImageProcessor, name);
  assert.instance(await fromFiles({ feature_extractor_type: "CLIPFeatureExtractor" }), ImageProcessor);
  assert.instance(await fromFiles({ feature_extractor_type: "ClapFeatureExtractor" }), AudioProcessor);
  assert.instance(await fromFiles({ feature_extractor_type: "WhisperFeatureExtractor" }), SpeechProcessor);
  assert.instance(await fromFiles({ chunk_length: 30 }, { model_type: "whisper" }), SpeechProcessor);
  assert.instance(await fromFiles({ image_processor_type: "VideoMAEImageProcessor" }, { num_frames: 8 }), VideoProcessor);
  assert.instance(await fromFiles({ image_processor_type: "CLIPImageProcessor" }, { model_type: "viclip", num_frames: 8 }), VideoProcessor);
  assert.instance(await fromFiles({ image_processor_type: "CLIPImageProcessor" }, { model_type: "clip" }), ImageProcessor);
  const imu = await fromFiles({ feature_extractor_type: "ImuProcessor", sampling_rate: 200, window_samples: 400 });
  assert.ok(imu instanceof ImuProcessor && imu.windowSamples === 400);
});

test("IMU2CLIP without a processor: by its config.json", async () => {
  const imu = await fromFiles(undefined, { model_type: "imu2clip", window_samples: 500, sampling_rate: 100 });
  assert.ok(imu instanceof ImuProcessor && imu.windowSamples === 500 && imu.samplingRate === 100);
  const own = await fromFiles(
    { feature_extractor_type: "ImuProcessor", window_samples: 300 },
    { model_type: "imu2clip", window_samples: 500 },
  );
  assert.ok(own instanceof ImuProcessor && own.windowSamples === 300);
});

test("the golden cases", async () => {
  assert.instance(await AutoProcessor.fromPretrained(caseFolder("clip-vision")), ImageProcessor);
  assert.instance(await AutoProcessor.fromPretrained(caseFolder("clap")), AudioProcessor);
  assert.instance(await AutoProcessor.fromPretrained(caseFolder("imu2clip")), ImuProcessor);
  assert.instance(await AutoProcessor.fromPretrained(caseFolder("whisper-encoder")), SpeechProcessor);
});

test("other files that say it: a whole processor's, a video processor's, OpenCLIP's", async () => {
  const clip = { image_processor_type: "CLIPImageProcessorFast", size: { shortest_edge: 30 }, crop_size: { height: 28, width: 28 } };
  const whole = await fromFolder({ "processor_config.json": { processor_class: "CLIPProcessor", image_processor: clip } });
  assert.ok(whole instanceof ImageProcessor && whole.size?.height === 28);
  const clap = await fromFolder({
    "processor_config.json": { feature_extractor: { feature_extractor_type: "ClapFeatureExtractor", max_length_s: 3 } },
  });
  assert.ok(clap instanceof AudioProcessor && clap.samples === 144_000);
  const video = { video_processor_type: "VideoMAEVideoProcessor", size: { shortest_edge: 9 }, crop_size: 8, num_frames: 4 };
  const clips = await fromFolder({ "video_preprocessor_config.json": video });
  assert.ok(clips instanceof VideoProcessor && clips.frames === 4 && clips.imageProcessor.size?.width === 8);
  const first = await fromFolder({
    "preprocessor_config.json": clip,
    "processor_config.json": { image_processor: { ...clip, crop_size: 7 } },
  });
  assert.ok(first instanceof ImageProcessor && first.size?.height === 28);
  const openClip = await AutoProcessor.fromPretrained(caseFolder("open-clip"));
  assert.ok(openClip instanceof ImageProcessor && openClip.size?.width === openClip.size?.height);
  assert.instance(await AutoProcessor.fromPretrained(caseFolder("videomae")), VideoProcessor);
});

test("an unknown processor, a folder without one", async () => {
  const refused = (f: () => Promise<unknown>, ...words: RegExp[]) => rejects(f(), "E_MEDIA_OPTION", ...words);
  await refused(() => fromFiles({ feature_extractor_type: "Wav2Vec2FeatureExtractor" }), /Wav2Vec2FeatureExtractor/);
  await refused(() => fromFiles({ image_processor_type: "DonutImageProcessor" }), /DonutImageProcessor/);
  await refused(() => fromFiles(undefined, { model_type: "clip" }), /no such file/);
});

test.run();
