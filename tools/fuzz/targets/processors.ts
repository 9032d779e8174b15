// lib/media/auto-processor.ts: what preprocessor_config.json and config.json ask for, and a small input through it.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AudioProcessor } from "../../../lib/media/audio-processor.js";
import { processorOf } from "../../../lib/media/auto-processor.js";
import { ImageProcessor } from "../../../lib/media/image-processor.js";
import { ImuProcessor } from "../../../lib/media/imu-processor.js";
import { SpeechProcessor } from "../../../lib/media/speech-processor.js";
import { VideoProcessor } from "../../../lib/media/video-processor.js";
import type { Random } from "../random.js";
import type { Target } from "../target.js";

const mean = [0.5, 0.5, 0.5];
const size = { height: 8, width: 8 };
const CONFIGS = [
  { image_processor_type: "CLIPImageProcessor", size: { shortest_edge: 8 }, crop_size: size, resample: 3, image_mean: mean, image_std: mean, do_resize: true },
  { image_processor_type: "SiglipImageProcessor", size, resample: 2, rescale_factor: 0.004, do_center_crop: false, do_rescale: true, do_normalize: true },
  { image_processor_type: "VideoMAEImageProcessor", size: { shortest_edge: 8 }, crop_size: 8, num_frames: 2 },
  { feature_extractor_type: "ClapFeatureExtractor", sampling_rate: 8000, feature_size: 8, fft_window_size: 256, hop_length: 80, max_length_s: 1, frequency_min: 0, frequency_max: 4000, truncation: "rand_trunc", padding: "pad" },
  { feature_extractor_type: "WhisperFeatureExtractor", sampling_rate: 4000, feature_size: 8, n_fft: 128, hop_length: 40, chunk_length: 1, padding_value: 0, dither: 0, padding_side: "right" },
  { feature_extractor_type: "ImuProcessor", sampling_rate: 100, window_samples: 20 },
]; // biome-ignore format: one a line
const KEYS = [
  ...new Set(CONFIGS.flatMap((config) => Object.keys(config))),
  "pad_size",
  "do_pad",
  "crop_rounding",
  "vision_config",
  "__proto__",
];

function value(random: Random, depth: number): unknown {
  const numbers = [0, 1, -1, 0.5, 2, 8, 224, 4096, 4097, 48000, 65536, 2 ** 20, 2 ** 24, 2 ** 31, 1e9, 1e15, 1e308, -1e308, 1e-308];
  switch (random.below(depth > 2 ? 3 : 6)) {
    case 0:
      return random.pick([
        null,
        true,
        false,
        "",
        "fusion",
        "repeatpad",
        "ClapFeatureExtractor",
        "ViTImageProcessorFast",
        "constructor",
        "x".repeat(500),
      ]);
    case 1:
    case 2:
      return random.pick(numbers);
    case 3:
      return Array.from({ length: random.below(5) }, () => value(random, depth + 1));
    case 4:
      return Object.fromEntries(
        ["height", "width", "shortest_edge", "longest_edge"].filter(() => random.chance(0.6)).map((key) => [key, value(random, depth + 1)]),
      );
    default:
      return JSON.parse("[".repeat(3000) + "]".repeat(3000));
  }
}

function build(random: Random): Uint8Array {
  const config: Record<string, unknown> = { ...random.pick(CONFIGS) };
  for (let n = 1 + random.below(3); n > 0; --n) config[random.pick(KEYS)] = value(random, 0);
  return new TextEncoder().encode(JSON.stringify(config));
}

async function used(folder: string): Promise<void> {
  const processor = processorOf(folder);
  const picture = { width: 9, height: 5, data: new Uint8Array(135) };
  if (processor instanceof ImageProcessor) await processor.pixelValues([picture]);
  else if (processor instanceof VideoProcessor) await processor.clipValues([picture, picture]);
  else if (processor instanceof SpeechProcessor) await processor.features([{ samples: new Float32Array(800), sampleRate: 8000 }]);
  else if (processor instanceof AudioProcessor) await processor.features([{ samples: new Float32Array(800), sampleRate: 8000 }]);
  else if (processor instanceof ImuProcessor) processor.imuValues([{ samples: new Float32Array(60), sampleRate: processor.samplingRate }]);
}

export const processors: Target = {
  name: "processors",
  seeds: CONFIGS.map((config) => ({ bytes: new TextEncoder().encode(JSON.stringify(config)), fields: [] })),
  build,
  mostSeconds: 20,
  mostBytes: 512 * 2 ** 20,
  async run(bytes, path) {
    const folder = `${path}.model`;
    mkdirSync(folder, { recursive: true });
    try {
      writeFileSync(join(folder, "preprocessor_config.json"), bytes);
      await used(folder);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
};
