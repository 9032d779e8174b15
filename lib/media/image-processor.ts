// Pictures as an encoder's input, as its preprocessor_config.json says: the numbers of the processors in transformers (Pillow backend).
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { native } from "../core/native.js";
import { MediaError, reasonOf } from "./error.js";
import { type ImagePart, loadImage, type Pixels } from "./image.js";
import type { Loading } from "./source.js";

export interface PixelValues {
  /** (N, 3, H, W) */
  data: Float32Array;
  shape: [number, number, number, number];
}

interface Size {
  height: number;
  width: number;
}
type Resize = { shortestEdge: number } | Size;

interface Defaults {
  resize: Resize;
  crop?: Size;
  resample: number;
  mean: number[];
  std: number[];
}
const CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073];
const CLIP_STD = [0.26862954, 0.26130258, 0.27577711];
const HALF = [0.5, 0.5, 0.5];
const [BILINEAR, BICUBIC] = [2, 3];
const square = (side: number): Size => ({ height: side, width: side });
const CLIP: Defaults = { resize: { shortestEdge: 224 }, crop: square(224), resample: BICUBIC, mean: CLIP_MEAN, std: CLIP_STD };
/** What each kind of processor does where its file is silent. */
const KINDS: Readonly<Record<string, Defaults>> = {
  CLIP,
  Bit: CLIP,
  Siglip: { resize: square(224), resample: BICUBIC, mean: HALF, std: HALF },
  ViT: { resize: square(224), resample: BILINEAR, mean: HALF, std: HALF },
  VideoMAE: { resize: { shortestEdge: 224 }, crop: square(224), resample: BILINEAR, mean: HALF, std: HALF },
};

export class ImageProcessor {
  readonly kind: string;
  readonly #resize: Resize | undefined;
  readonly #crop: Size | undefined;
  readonly #resample: number;
  readonly #rescale: number;
  readonly #mean: number[];
  readonly #std: number[];

  constructor(config: Readonly<Record<string, unknown>> = {}, where = "preprocessor_config.json") {
    const type = String(config.image_processor_type ?? config.feature_extractor_type ?? "CLIPImageProcessor");
    this.kind = type.replace(/(ImageProcessor(Fast|Pil)?|FeatureExtractor)$/, "");
    const defaults = KINDS[this.kind];
    if (!defaults)
      fail(where, `an image_processor_type among ${Object.keys(KINDS).join(", ")}`, type, "use an encoder of one of these kinds");
    const on = (key: string) => config[key] === undefined || config[key] === true;
    const cropped = config.do_center_crop === undefined ? defaults.crop !== undefined : config.do_center_crop === true;
    this.#resize = on("do_resize") ? readResize(config.size, defaults.resize, where) : undefined;
    this.#crop = cropped ? readCrop(config.crop_size, defaults.crop ?? square(224), where) : undefined;
    this.#resample = typeof config.resample === "number" ? config.resample : defaults.resample;
    if (![0, 1, 2, 3, 4, 5].includes(this.#resample)) fail(where, "resample from 0 to 5", String(config.resample), "3 is bicubic");
    this.#rescale = on("do_rescale") ? ((config.rescale_factor as number | undefined) ?? 1 / 255) : 1;
    this.#mean = on("do_normalize") ? readTriple(config.image_mean, defaults.mean, where, "image_mean") : [0, 0, 0];
    this.#std = on("do_normalize") ? readTriple(config.image_std, defaults.std, where, "image_std") : [1, 1, 1];
  }

  /** Reads preprocessor_config.json of a model folder. */
  static fromPretrained(folder: string): ImageProcessor {
    return new ImageProcessor(readPreprocessorConfig(folder), join(folder, "preprocessor_config.json"));
  }

  /** Height and width of what comes out, where they do not depend on the picture. */
  get size(): Size | undefined {
    if (this.#crop) return this.#crop;
    return this.#resize && "height" in this.#resize ? this.#resize : undefined;
  }

  /** Parts to pixel values; all must come out in one size. */
  async process(parts: readonly ImagePart[], loading: Loading = {}): Promise<PixelValues> {
    if (!parts.length) fail("ImageProcessor", "at least one image part", "none", "pass image(…)");
    return this.pixelValues(await Promise.all(parts.map((part) => loadImage(part, loading))));
  }

  async pixelValues(pictures: readonly Pixels[]): Promise<PixelValues> {
    const made = await Promise.all(pictures.map((picture) => this.#one(picture)));
    const [{ height, width }] = made as [Size & { values: Float32Array }];
    const data = new Float32Array(made.length * 3 * height * width);
    for (const [i, one] of made.entries()) {
      if (one.height !== height || one.width !== width)
        fail(
          `picture ${i}`,
          `${height} × ${width} after resizing, as the first`,
          `${one.height} × ${one.width}`,
          "this processor does not crop: pass one size at a time",
        );
      data.set(one.values, i * 3 * height * width);
    }
    return { data, shape: [made.length, 3, height, width] };
  }

  async #one({ data, height, width }: Pixels): Promise<Size & { values: Float32Array }> {
    const resized = resizedSize({ height, width }, this.#resize);
    const out = this.#crop ?? resized;
    const sizes = [height, width, resized.height, resized.width, out.height, out.width] as const;
    const values = await native().media_image(data, ...sizes, this.#resample, this.#rescale, ...this.#mean, ...this.#std);
    return { ...out, values: new Float32Array(values) };
  }
}

function resizedSize(from: Size, resize: Resize | undefined): Size {
  if (!resize) return from;
  if ("height" in resize) return resize;
  const [short, long] = from.width <= from.height ? [from.width, from.height] : [from.height, from.width];
  const edge = resize.shortestEdge;
  const other = Math.trunc((edge * long) / short);
  return from.width <= from.height ? { height: other, width: edge } : { height: edge, width: other };
}

export function readPreprocessorConfig(folder: string): Record<string, unknown> {
  const path = join(folder, "preprocessor_config.json");
  if (!existsSync(path)) fail(folder, "preprocessor_config.json in the folder", "no such file", "copy it from the model's repository");
  return readJsonFile(path);
}

export function readJsonFile(path: string): Record<string, unknown> {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    return fail(path, "JSON", reasonOf(cause), "copy it again from the model's repository");
  }
}

function fail(where: string, expected: string, got: string, remedy: string): never {
  throw new MediaError("E_MEDIA_OPTION", where, expected, got, remedy);
}
const isSide = (value: unknown): value is number => Number.isInteger(value) && (value as number) > 0;

// Older files give one number: the shorter side for a resize, a square for a crop.
function readResize(size: unknown, fallback: Resize, where: string): Resize {
  if (size === undefined) return fallback;
  if (isSide(size)) return "height" in fallback ? square(size) : { shortestEdge: size };
  const { height, width, shortest_edge: shortestEdge, longest_edge: longestEdge } = (size ?? {}) as Record<string, unknown>;
  if (isSide(height) && isSide(width)) return { height, width };
  if (isSide(shortestEdge) && longestEdge === undefined) return { shortestEdge };
  return fail(where, "size with height and width or with shortest_edge", JSON.stringify(size), "see the model's repository");
}
function readCrop(size: unknown, fallback: Size, where: string): Size {
  if (size === undefined) return fallback;
  if (isSide(size)) return square(size);
  const { height, width } = (size ?? {}) as Record<string, unknown>;
  if (isSide(height) && isSide(width)) return { height, width };
  return fail(where, "crop_size with height and width", JSON.stringify(size), "see the model's repository");
}
function readTriple(value: unknown, fallback: number[], where: string, key: string): number[] {
  if (value === undefined) return fallback;
  const triple = typeof value === "number" ? [value, value, value] : value;
  if (Array.isArray(triple) && triple.length === 3 && triple.every((v) => Number.isFinite(v))) return triple;
  return fail(where, `three numbers in ${key}`, JSON.stringify(value), "see the model's repository");
}
