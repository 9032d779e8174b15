// A small world for tests of the whole: a random LLaMA with a real tokenizer, random encoders in folders of their own, coloured squares and shakes.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { AssembleOptions } from "../../lib/anymal/options.js";
import type { Row } from "../../lib/data/row.js";
import { saveModel } from "../../lib/io/model-folder.js";
import { type ImagePart, image } from "../../lib/media/image.js";
import { type ImuPart, imu } from "../../lib/media/imu.js";
import { type VideoPart, video } from "../../lib/media/video.js";
import { parseClipVisionConfig } from "../../lib/models/clip-config.js";
import { ClipVisionModel } from "../../lib/models/clip-vision.js";
import { Imu2ClipModel, parseImu2ClipConfig } from "../../lib/models/imu2clip.js";
import { Weights } from "../../lib/nn/weights.js";
import { caseFolder, copyFolder, here } from "../case.js";

const CLIP = {
  model_type: "clip_vision_model",
  architectures: ["CLIPVisionModelWithProjection"],
  hidden_size: 16,
  intermediate_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  image_size: 16,
  patch_size: 8,
  projection_dim: 16,
};
const IMU = {
  model_type: "imu2clip",
  window_samples: 150,
  sampling_rate: 50,
  channels: 6,
  width: 8,
  hidden: 12,
  projection_dim: 48,
  batch_first_quirk: false,
};
const SQUARES = { image_processor_type: "CLIPImageProcessor", size: { shortest_edge: 16 }, crop_size: 16 };

export interface Toy {
  folder: string;
  llm: string;
  clip: string;
  imu: string;
  options(more?: Partial<AssembleOptions>): AssembleOptions;
  path(name: string): string;
  remove(): void;
}

export async function toy(): Promise<Toy> {
  const folder = mkdtempSync(join(tmpdir(), "anymal-toy-"));
  const path = (name: string) => join(folder, name);
  copyFolder(caseFolder("llama2"), path("llm"), (file) => !/expected|bf16|sharded/.test(basename(file)));
  using clip = new ClipVisionModel(Weights.fresh({ device: here, trainable: false, seed: 1 }), parseClipVisionConfig(CLIP));
  await saveModel(path("clip"), clip, clip.configJson());
  writeFileSync(join(path("clip"), "preprocessor_config.json"), JSON.stringify(SQUARES));
  using motion = new Imu2ClipModel(Weights.fresh({ device: here, trainable: false, seed: 2 }), parseImu2ClipConfig(IMU));
  await saveModel(path("imu"), motion, motion.configJson());
  const [llm, clipFolder, imuFolder] = [path("llm"), path("clip"), path("imu")];
  return {
    folder,
    llm,
    clip: clipFolder,
    imu: imuFolder,
    path,
    options: (more = {}) => ({
      llm,
      device: here,
      modalities: {
        image: { encoder: clipFolder, projector: { type: "resampler", layers: 1, tokens: 4 } },
        video: { encoder: clipFolder, frames: 2, projector: { type: "resampler", layers: 1, tokens: 3 } },
        imu: { encoder: imuFolder, projector: { type: "linear", mode: "pooled", tokens: 2 } },
      },
      ...more,
    }),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** A copy of a folder with a tokenizer, without its chat template: a prompt is its plain text. */
export function withoutTemplate(from: string, to: string): string {
  copyFolder(from, to, (file) => basename(file) !== "chat_template.jinja");
  const path = join(to, "tokenizer_config.json");
  const { chat_template: _, ...config } = JSON.parse(readFileSync(path, "utf8"));
  writeFileSync(path, JSON.stringify(config));
  return to;
}

const COLORS = { red: [220, 30, 30], green: [30, 200, 40], blue: [30, 40, 220], white: [240, 240, 240] } as const;
export type Color = keyof typeof COLORS;
export const colors = Object.keys(COLORS) as Color[];

const pixels = (color: Color) => {
  const data = new Uint8Array(16 * 16 * 3);
  for (let i = 0; i < data.length; ++i) data[i] = COLORS[color][i % 3] as number;
  return { data, width: 16, height: 16 };
};
export const square = (color: Color): ImagePart => image(pixels(color));
export const blink = (from: Color, to: Color): VideoPart => video({ frames: [pixels(from), pixels(to)], fps: 2 });
export const shake = (speed: number): ImuPart =>
  imu({ samples: Float32Array.from({ length: 6 * 150 }, (_, i) => Math.sin(((i % 150) * speed) / 8) * 4), sampleRate: 50 });

/** Which colour, as captions. */
export const captions = (times = 1): Row[] =>
  Array.from({ length: times * colors.length }, (_, i) => {
    const color = colors[i % colors.length] as Color;
    return {
      where: `captions:${i + 1}`,
      turns: [
        { role: "user", content: ["see ", square(color)] },
        { role: "assistant", content: [color] },
      ],
    };
  });
