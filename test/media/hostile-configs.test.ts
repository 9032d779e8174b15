// What a stranger's configuration or header may ask for: sizes without end, nesting without end, names that every object has.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { resampled } from "../../lib/media/audio.js";
import { AudioProcessor } from "../../lib/media/audio-processor.js";
import { processorOf } from "../../lib/media/auto-processor.js";
import { MediaError } from "../../lib/media/error.js";
import { image } from "../../lib/media/image.js";
import { ImageProcessor } from "../../lib/media/image-processor.js";
import { imu, loadImuAt } from "../../lib/media/imu.js";
import { ImuProcessor } from "../../lib/media/imu-processor.js";
import { SpeechProcessor } from "../../lib/media/speech-processor.js";
import { loadVideo, video } from "../../lib/media/video.js";
import { VideoProcessor } from "../../lib/media/video-processor.js";
import { rejects, temporaryFolder } from "./media-case.js";

type Config = Record<string, unknown>;
const HUGE = [1e9, 2 ** 31, 1e15, 1e308, Infinity, Number.NaN, -1, 0, null, "1000", [7], {}];
const nested = (depth: number): unknown => JSON.parse("[".repeat(depth) + "]".repeat(depth));

/** The constructor throws an error of a medium, or what it makes is small enough to be used. */
function refused(make: () => unknown): void {
  try {
    make();
  } catch (error) {
    assert.instance(error, MediaError);
    assert.is((error as MediaError).code, "E_MEDIA_OPTION");
    assert.ok((error as MediaError).message.length < 1000);
    return;
  }
  assert.unreachable("taken");
}

test("sizes have ceilings", () => {
  for (const value of HUGE) {
    if (value === null) continue; // as if it were not there
    const imuOf = (config: Config) => () => new ImuProcessor(config);
    refused(imuOf({ window_samples: value }));
    refused(imuOf({ sampling_rate: value }));
    const audioOf = (config: Config) => () => new AudioProcessor(config);
    for (const key of ["max_length_s", "sampling_rate", "feature_size", "fft_window_size", "hop_length"])
      refused(audioOf({ [key]: value }));
    const speechOf = (config: Config) => () => new SpeechProcessor(config);
    for (const key of ["chunk_length", "sampling_rate", "feature_size", "n_fft", "hop_length"]) refused(speechOf({ [key]: value }));
    const imageOf = (config: Config) => () => new ImageProcessor(config);
    refused(imageOf({ size: { height: value, width: 224 } }));
    refused(imageOf({ size: { shortest_edge: value } }));
    refused(imageOf({ crop_size: value }));
    refused(() => new VideoProcessor(new ImageProcessor(), { frames: value as number }));
  }
  // Each beyond one ceiling only: samples, values, and what frames overlap.
  refused(() => new AudioProcessor({ max_length_s: 400 }));
  refused(() => new AudioProcessor({ hop_length: 64, feature_size: 1024, max_length_s: 300 }));
  refused(() => new AudioProcessor({ hop_length: 63, max_length_s: 1 }));
  refused(() => new SpeechProcessor({ chunk_length: 1100 }));
  refused(() => new SpeechProcessor({ hop_length: 25, feature_size: 1024 }));
  refused(() => new SpeechProcessor({ hop_length: 24 }));
  refused(() => new SpeechProcessor({ n_fft: 1 }));
  refused(() => new SpeechProcessor({ padding_value: "0" }));
  refused(() => new SpeechProcessor({ dither: 1e-4 }));
  refused(() => new SpeechProcessor({ padding_side: "left" }));
  refused(() => new SpeechProcessor({ feature_extractor_type: "ClapFeatureExtractor" }));
  // What models have is taken.
  assert.is(new ImuProcessor({ window_samples: 6000, sampling_rate: 1000 }).windowSamples, 6000);
  assert.is(new SpeechProcessor({ chunk_length: 120, hop_length: 80 }).frames, 24_000);
  assert.is(new AudioProcessor({ max_length_s: 120 }).samples, 5_760_000);
  assert.equal(new ImageProcessor({ size: 1024, crop_size: 1024 }).size, { height: 1024, width: 1024 });
});

test("a value that nobody knows is refused, and not taken for another", () => {
  const unknown = ["evil", "", "constructor", 3.5, ["half_even"], {}, true];
  for (const value of unknown) {
    for (const key of ["truncation", "padding", "feature_extractor_type"]) refused(() => new AudioProcessor({ [key]: value }));
    refused(() => new ImuProcessor({ feature_extractor_type: value }));
    for (const key of ["crop_rounding", "resample", "do_resize", "do_normalize", "do_rescale", "do_center_crop"])
      if (!(key.startsWith("do_") && value === true)) refused(() => new ImageProcessor({ [key]: value }));
    if (value !== "") refused(() => new ImageProcessor({ image_processor_type: value }));
  }
  using folder = temporaryFolder();
  const openClip = (preprocess: Config) => {
    writeFileSync(folder.file("open_clip_config.json"), JSON.stringify({ model_cfg: {}, preprocess_cfg: preprocess }));
    return processorOf(folder.path);
  };
  for (const value of unknown) for (const key of ["interpolation", "resize_mode", "mode"]) refused(() => openClip({ [key]: value }));
  for (const interpolation of ["bicubic", "bilinear", "random", null]) openClip({ interpolation, mode: "RGB", resize_mode: "squash" });
});

test("a picture that would become larger than any encoder takes", async () => {
  const thin = image({ width: 3000, height: 1, data: new Uint8Array(9000) });
  const processor = new ImageProcessor({ size: { shortest_edge: 4096 }, do_center_crop: false });
  await rejects(processor.process([thin]), "E_MEDIA_LIMIT", /pixels after resizing/);
  // A crop costs what it shows, as far as places can be counted.
  const cropped = new ImageProcessor({ size: { shortest_edge: 4096 } });
  assert.equal((await cropped.process([thin, thin])).shape, [2, 3, 224, 224]);
  const thinner = image({ width: 300_000, height: 1, data: new Uint8Array(900_000) });
  await rejects(cropped.process([thinner]), "E_MEDIA_LIMIT", /pixels after resizing/);
});

test("100 000 brackets anywhere in a configuration", () => {
  const deep = nested(100_000);
  for (const key of ["size", "crop_size", "image_mean", "image_std", "resample", "do_resize", "rescale_factor", "image_processor_type"])
    refused(() => new ImageProcessor({ [key]: deep }));
  for (const key of ["feature_extractor_type", "max_length_s", "truncation", "padding", "sampling_rate"])
    refused(() => new AudioProcessor({ [key]: deep }));
  for (const key of ["sampling_rate", "window_samples"]) refused(() => new ImuProcessor({ [key]: deep }));
  using folder = temporaryFolder();
  const brackets = "[".repeat(100_000) + "]".repeat(100_000);
  for (const [name, text] of [
    ["preprocessor_config.json", `{"image_processor_type": ${brackets}}`],
    ["preprocessor_config.json", brackets],
    ["open_clip_config.json", `{"preprocess_cfg": {"mode": 1, "resize_mode": ${brackets}}}`],
    ["open_clip_config.json", `{"preprocess_cfg": {"size": [1, ${brackets}]}}`],
    ["processor_config.json", `{"feature_extractor_type": ${brackets}}`],
    ["config.json", `{"model_type": ${brackets}}`],
    ["config.json", '{"model_type": "imu2clip", "window_samples": 1e308}'],
    ["preprocessor_config.json", "{".repeat(1 << 20)],
  ] as const) {
    const path = join(folder.path, `${Math.random()}`);
    mkdirSync(path);
    writeFileSync(join(path, name), text);
    refused(() => processorOf(path));
  }
  mkdirSync(join(folder.path, "a", "preprocessor_config.json"), { recursive: true });
  refused(() => processorOf(join(folder.path, "a")));
});

test("a Y4M whose colours are called as what every object has", async () => {
  for (const name of ["constructor", "__proto__", "toString", "hasOwnProperty", "valueOf"]) {
    const file = Buffer.from(`YUV4MPEG2 W4 H2 C${name}\nFRAME\n${"a".repeat(12)}`);
    await rejects(loadVideo(video(file), 1), "E_MEDIA_FORMAT", /8-bit colours/);
  }
});

test("a recording at a rate that makes more samples than there is memory for", async () => {
  const recording = Buffer.from(`time,ax,ay,az,gx,gy,gz\n${[0, 0.5, 1, 1.5].map((t) => `${t},0,0,9.8,0,0,0`).join("\n")}\n`);
  await rejects(loadImuAt(imu(recording, { time: "s", maxGap: 9 }), 1e9), "E_MEDIA_LIMIT", /samples/);
});

test("a sound that would take more memory at another rate than there is", async () => {
  await rejects(resampled({ samples: new Float32Array(600_000), sampleRate: 1 }, 48_000), "E_MEDIA_LIMIT", /at 48000 Hz/);
});

test.run();
