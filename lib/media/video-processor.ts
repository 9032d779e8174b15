// Videos as an encoder's input: frames picked evenly, each made into pixel values as preprocessor_config.json says for one picture.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { shown } from "../core/checks.js";
import { checkOptions } from "../core/options.js";
import { checkParts } from "./check-parts.js";
import { FRAME_PICKS, type FramePicks } from "./clip.js";
import { MediaError } from "./error.js";
import type { Pixels } from "./image.js";
import { ImageProcessor, type PixelValues } from "./image-processor.js";
import type { EncoderInput, MediaProcessor } from "./part.js";
import { preprocessorConfig, readJsonFile } from "./preprocessor-config.js";
import { checkLoading, type Loading } from "./source.js";
import { framesMade, type VideoPart } from "./video.js";

export interface VideoProcessorOptions {
  /** How many frames stand for a clip. */
  frames: number;
  /** Which ones. Default middles: of equal spans of its time; between: of equal spans between the first and the last frame, by number (Video-ChatGPT). */
  picks?: FramePicks | undefined;
}

/** A hundred times what encoders of clips take. */
const MOST_FRAMES = 4096;

/** Videos in, `frames` pictures of each as the encoder takes them out: (N,frames,3,H,W). */
export class VideoProcessor implements MediaProcessor<VideoPart> {
  readonly frames: number;
  readonly picks: FramePicks;

  constructor(
    readonly imageProcessor: ImageProcessor,
    options: VideoProcessorOptions,
  ) {
    checkOptions("VideoProcessor", options, ["frames", "picks"]);
    const { frames, picks = "middles" } = options;
    if (!(Number.isInteger(frames) && frames > 0 && frames <= MOST_FRAMES))
      fail("VideoProcessor", `frames from 1 to ${MOST_FRAMES}`, shown(frames), "8 is usual");
    if (!FRAME_PICKS.includes(picks))
      fail("VideoProcessor", `picks of ${FRAME_PICKS.join(" or ")}`, shown(picks), "leave it out for middles");
    this.frames = frames;
    this.picks = picks;
  }

  /** Reads preprocessor_config.json of a model folder; the number of frames (num_frames) may also stand in its config.json. */
  static fromPretrained(folder: string, options: Partial<VideoProcessorOptions> = {}): VideoProcessor {
    checkOptions("VideoProcessor.fromPretrained", options, ["frames", "picks"]);
    const { config, where } = preprocessorConfig(folder);
    const frames = options.frames ?? framesOf(config) ?? framesOf(modelConfig(folder));
    if (frames === undefined)
      fail(folder, "num_frames in preprocessor_config.json or config.json", "none", "pass the option frames, for instance 8");
    return new VideoProcessor(new ImageProcessor(config, where), { frames, picks: options.picks });
  }

  /** (N, frames, 3, H, W) */
  async process(parts: readonly VideoPart[], loading: Loading = {}): Promise<EncoderInput> {
    checkLoading("VideoProcessor.process", loading);
    checkParts("VideoProcessor", "video", parts);
    const clips: Float32Array[] = [];
    let size: number[] = [];
    // One after the other: a clip's pictures take far more memory than its pixel values.
    for (const [i, part] of parts.entries()) {
      const clip = joined(await framesMade(part, this, loading, (picture) => this.imageProcessor.pixelValues([picture])));
      loading.signal?.throwIfAborted();
      const [height, width] = clip.shape.slice(-2);
      if (i && (height !== size[2] || width !== size[3]))
        fail(`video ${i}`, `${size[2]} × ${size[3]} after resizing`, `${height} × ${width}`, "this processor does not crop: pass one size");
      size = clip.shape;
      clips.push(clip.data);
    }
    const data = new Float32Array(clips.length * clips[0]!.length);
    for (const [i, clip] of clips.entries()) data.set(clip, i * clip.length);
    return { data, shape: [clips.length, ...size] };
  }

  /** Frames already picked: (F, 3, H, W). A picture that stands there several times is made once. */
  async clipValues(frames: readonly Pixels[]): Promise<EncoderInput> {
    const distinct = [...new Set(frames)];
    const { data, shape } = await this.imageProcessor.pixelValues(distinct);
    if (distinct.length === frames.length) return { data, shape };
    const one = data.length / distinct.length;
    const all = new Float32Array(frames.length * one);
    for (const [i, frame] of frames.entries()) {
      const at = distinct.indexOf(frame) * one;
      all.set(data.subarray(at, at + one), i * one);
    }
    return { data: all, shape: [frames.length, ...shape.slice(1)] };
  }
}

/** (F, 3, H, W) of frames that were made one by one. */
function joined(made: readonly PixelValues[]): EncoderInput {
  const [first] = made as [PixelValues];
  const data = new Float32Array(made.length * first.data.length);
  for (const [i, { data: values, shape }] of made.entries()) {
    if (shape[2] !== first.shape[2] || shape[3] !== first.shape[3])
      fail(
        `picture ${i}`,
        `${first.shape[2]} × ${first.shape[3]} after resizing, as the first`,
        `${shape[2]} × ${shape[3]}`,
        "this processor does not crop: pass one size at a time",
      );
    data.set(values, i * first.data.length);
  }
  return { data, shape: [made.length, ...first.shape.slice(1)] };
}

/** VideoMAE and ViCLIP write num_frames, some towers keep it one level down. */
function framesOf(config: Record<string, unknown>): number | undefined {
  const inner = (config.vision_config ?? {}) as Record<string, unknown>;
  const frames = config.num_frames ?? inner.num_frames;
  return frames as number | undefined; // looked at where it is used
}

function modelConfig(folder: string): Record<string, unknown> {
  const path = join(folder, "config.json");
  return existsSync(path) ? readJsonFile(path) : {};
}

function fail(where: string, expected: string, got: string, remedy: string): never {
  throw new MediaError("E_MEDIA_OPTION", where, expected, got, remedy);
}
