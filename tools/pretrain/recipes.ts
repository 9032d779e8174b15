// Sizes and steps of everything in models/tiny, and what each must reach before it is frozen.
import { join } from "node:path";
import type { Device } from "../../lib/index.js";
import { Tensor, Weights } from "../../lib/index.js";
import { saveModel } from "../../lib/io/model-folder.js";
import { AudioProcessor } from "../../lib/media/audio-processor.js";
import { ImageProcessor } from "../../lib/media/image-processor.js";
import { ImuProcessor } from "../../lib/media/imu-processor.js";
import type { MediaProcessor } from "../../lib/media/part.js";
import { ClapAudioModel } from "../../lib/models/clap-audio.js";
import { parseClapAudioConfig } from "../../lib/models/clap-config.js";
import { ClipModel } from "../../lib/models/clip.js";
import { parseClipConfig, parseClipTextConfig } from "../../lib/models/clip-config.js";
import { ClipTextModel } from "../../lib/models/clip-text.js";
import type { Encoder } from "../../lib/models/encoder.js";
import { Imu2ClipModel, parseImu2ClipConfig } from "../../lib/models/imu2clip.js";
import { constant, type Schedule } from "../../lib/train/schedule.js";
import type { Encodable } from "./groups.js";
import type { Phase } from "./language.js";

type Json = Record<string, unknown>;

export interface LanguageRecipe {
  steps: number;
  batch: number;
  learningRate: number;
  phases: readonly Phase[];
}

/** Two towers while they train, and how they become a folder. */
export interface Towers {
  encoder: Encoder;
  text: ClipTextModel;
  logitScale: Tensor;
  save(folder: string): Promise<void>;
  dispose(): void;
}
export interface EncoderRecipe {
  name: string;
  modality: Encodable;
  steps: number;
  batch: number;
  learningRate: number;
  weightDecay: number;
  /** Default: cosine. */
  schedule?: Schedule;
  /** Where it is given, it stays. One that falls while training, as CLIP's does, ends in learning the few combinations of this world by heart. */
  temperature?: number;
  /** Pictures: how many things, from which step on. */
  things?: (step: number) => readonly number[];
  preprocessor: Json;
  processor: MediaProcessor<never>;
  fresh(device: Device, vocabSize: number, seed: number): Towers;
  load(folder: string, device: Device): Pick<Towers, "encoder" | "text" | "dispose">;
}

const WIDTH = 96;
const textConfig = (vocabSize: number): Json => ({
  model_type: "clip_text_model",
  projection_dim: WIDTH,
  hidden_size: WIDTH,
  intermediate_size: 4 * WIDTH,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  vocab_size: vocabSize + 1,
  max_position_embeddings: 64,
  eos_token_id: vocabSize,
  hidden_act: "quick_gelu",
});
const CLIP_PREPROCESSOR: Json = {
  image_processor_type: "CLIPImageProcessor",
  size: { shortest_edge: 64 },
  crop_size: { height: 64, width: 64 },
  resample: 3,
};
const CLAP_PREPROCESSOR: Json = {
  feature_extractor_type: "ClapFeatureExtractor",
  sampling_rate: 16000,
  fft_window_size: 1024,
  hop_length: 128,
  feature_size: 64,
  frequency_min: 50,
  frequency_max: 8000,
  max_length_s: 2,
  truncation: "rand_trunc",
  padding: "repeatpad",
};
const IMU_PREPROCESSOR: Json = { feature_extractor_type: "ImuProcessor", sampling_rate: 200, window_samples: 1000 };

/** One thing first; repeating texts word by word makes two readable. */
export const LANGUAGE: LanguageRecipe = {
  steps: 4500,
  batch: 32,
  learningRate: 2e-3,
  phases: [
    { until: 400, image: 0.5, things: [1], plain: 0.7, repeat: 0.25 },
    { until: 2500, image: 0.65, things: [1, 2, 2], plain: 0.7, repeat: 0.25 },
    { until: Number.POSITIVE_INFINITY, image: 0.6, things: [1, 2, 2], plain: 0.5, repeat: 0.1 },
  ],
};

const temperature = (device: Device): Tensor => Tensor.from([Math.log(1 / 0.07)], [1], { device, requiresGrad: true });

/** A tower of its own and its captions' tower, in a folder and in `text` inside it. */
function pair(encoder: Encoder, text: ClipTextModel, device: Device): Towers {
  const logitScale = temperature(device);
  return {
    encoder,
    text,
    logitScale,
    save: async (folder) => {
      await saveModel(folder, encoder, encoder.configJson(), { dtype: "bf16" });
      await saveModel(join(folder, "text"), text, text.configJson(), { dtype: "bf16" });
    },
    dispose: () => {
      encoder.dispose();
      text.dispose();
      logitScale.dispose();
    },
  };
}
function loaded(encoder: Encoder, text: ClipTextModel): Pick<Towers, "encoder" | "text" | "dispose"> {
  return {
    encoder,
    text,
    dispose: () => {
      encoder.dispose();
      text.dispose();
    },
  };
}
const freshText = (device: Device, vocabSize: number, seed: number): ClipTextModel =>
  new ClipTextModel(Weights.fresh({ device, trainable: true, seed: seed + 1 }), parseClipTextConfig(textConfig(vocabSize)));

export const ENCODERS: readonly EncoderRecipe[] = [
  {
    name: "clip",
    modality: "image",
    steps: 4500,
    batch: 64,
    learningRate: 1e-3,
    weightDecay: 0.05,
    things: (step) => (step < 1000 ? [1] : [1, 2, 2]),
    preprocessor: CLIP_PREPROCESSOR,
    processor: new ImageProcessor(CLIP_PREPROCESSOR),
    fresh: (device, vocabSize, seed) => {
      const config = {
        model_type: "clip",
        projection_dim: WIDTH,
        vision_config: {
          hidden_size: WIDTH,
          intermediate_size: 4 * WIDTH,
          num_hidden_layers: 4,
          num_attention_heads: 4,
          image_size: 64,
          patch_size: 8,
          hidden_act: "quick_gelu",
        },
        text_config: textConfig(vocabSize),
      };
      const model = new ClipModel(Weights.fresh({ device, trainable: true, seed }), parseClipConfig(config));
      return {
        encoder: model.vision,
        text: model.text,
        logitScale: model.logitScale,
        save: (folder) => saveModel(folder, model, model.configJson(), { dtype: "bf16" }),
        dispose: () => model.dispose(),
      };
    },
    load: (folder, device) => {
      const model = ClipModel.fromPretrained(folder, { device, dtype: "f32" });
      return { encoder: model.vision, text: model.text, dispose: () => model.dispose() };
    },
  },
  {
    name: "clap",
    modality: "audio",
    steps: 4500,
    batch: 64,
    learningRate: 1.5e-3,
    weightDecay: 0.05,
    temperature: 0.07,
    preprocessor: CLAP_PREPROCESSOR,
    processor: new AudioProcessor(CLAP_PREPROCESSOR),
    fresh: (device, vocabSize, seed) => {
      const config = {
        model_type: "clap_audio_model",
        spec_size: 128,
        num_mel_bins: 64,
        patch_size: 16,
        patch_stride: [16, 16],
        patch_embeds_hidden_size: WIDTH,
        depths: [4],
        num_attention_heads: [4],
        window_size: 8,
        enable_fusion: false,
        hidden_dropout_prob: 0.1,
        projection_dim: WIDTH,
      };
      const encoder = new ClapAudioModel(Weights.fresh({ device, trainable: true, seed }), parseClapAudioConfig(config));
      return pair(encoder, freshText(device, vocabSize, seed), device);
    },
    load: (folder, device) =>
      loaded(
        ClapAudioModel.fromPretrained(folder, { device, dtype: "f32" }),
        ClipTextModel.fromPretrained(join(folder, "text"), { device, dtype: "f32" }),
      ),
  },
  {
    name: "imu2clip",
    modality: "imu",
    steps: 800,
    batch: 96,
    learningRate: 2e-3,
    weightDecay: 0.02,
    schedule: constant({ warmupSteps: 100 }),
    temperature: 0.1,
    preprocessor: IMU_PREPROCESSOR,
    processor: new ImuProcessor(IMU_PREPROCESSOR),
    fresh: (device, vocabSize, seed) => {
      const config = { model_type: "imu2clip", width: 32, hidden: WIDTH, projection_dim: WIDTH };
      const encoder = new Imu2ClipModel(Weights.fresh({ device, trainable: true, seed }), parseImu2ClipConfig(config));
      return pair(encoder, freshText(device, vocabSize, seed), device);
    },
    load: (folder, device) =>
      loaded(
        Imu2ClipModel.fromPretrained(folder, { device, dtype: "f32" }),
        ClipTextModel.fromPretrained(join(folder, "text"), { device, dtype: "f32" }),
      ),
  },
];

/** Exact answers from text alone, in NF4, per kind of question; the true caption nearest, per attribute, on held-out combinations. */
export const GATES = { language: 0.99, encoder: 0.95 };
