// Pictures as an encoder's input, as its preprocessor_config.json says: the numbers of the processors in transformers (Pillow backend).
import { shown } from "../core/checks.js";
import { native } from "../core/native.js";
import { checkOptions } from "../core/options.js";
import { checkParts } from "./check-parts.js";
import { MediaError } from "./error.js";
import { fewAtOnce } from "./few.js";
import { checkPixels, type ImagePart, loadWith, type Pixels } from "./image.js";
import { nearest } from "./nearest.js";
import { type PreprocessorConfig, preprocessorConfig, typeOf } from "./preprocessor-config.js";
import { checkLoading, type Loading } from "./source.js";

export interface PixelValues {
  /** (N, 3, H, W) */
  data: Float32Array;
  shape: [number, number, number, number];
}

interface Size {
  height: number;
  width: number;
}
/** Pixel values of one picture. */
type One = Size & { values: Float32Array };
type Resize = { shortestEdge: number } | Size;

/** A picture within the limits takes 300 MB before it is resized. */
const AT_ONCE = 1;

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
const [NEAREST, BILINEAR, BICUBIC] = [0, 2, 3];
const square = (side: number): Size => ({ height: side, width: side });
const CLIP: Defaults = { resize: { shortestEdge: 224 }, crop: square(224), resample: BICUBIC, mean: CLIP_MEAN, std: CLIP_STD };
/** What each kind of processor does where its file is silent. */
const KINDS: Readonly<Record<string, Defaults>> = {
  CLIP,
  Bit: CLIP,
  Llava: CLIP,
  Blip: { resize: square(384), resample: BICUBIC, mean: CLIP_MEAN, std: CLIP_STD },
  Idefics: { resize: square(224), resample: BICUBIC, mean: CLIP_MEAN, std: CLIP_STD },
  Siglip: { resize: square(224), resample: BICUBIC, mean: HALF, std: HALF },
  DeiT: { resize: square(256), crop: square(224), resample: BICUBIC, mean: HALF, std: HALF },
  ViT: { resize: square(224), resample: BILINEAR, mean: HALF, std: HALF },
  VideoMAE: { resize: { shortestEdge: 224 }, crop: square(224), resample: BILINEAR, mean: HALF, std: HALF },
};

/**
 * Under every name (…Fast, …Pil, …FeatureExtractor) the numbers of Pillow. torchvision's, which Fast stands for, differ from them by one or two of
 * 255 levels in 0.4 % of the values.
 */
export class ImageProcessor {
  readonly kind: string;
  /** What fills a picture up to a square, before anything else. */
  readonly #pad: readonly number[] | undefined;
  readonly #resize: Resize | undefined;
  readonly #crop: Size | undefined;
  /** Where a crop cannot be in the middle: half a pixel to the even side, instead of down. */
  readonly #halfEven: boolean;
  readonly #resample: number;
  readonly #rescale: number;
  readonly #mean: number[];
  readonly #std: number[];

  constructor(config: Readonly<Record<string, unknown>> = {}, where = "preprocessor_config.json") {
    const type = typeOf(config) || "CLIPImageProcessor";
    this.kind = type.replace(/(ImageProcessor|VideoProcessor)(Fast|Pil)?$|FeatureExtractor$/, "");
    const defaults = (Object.hasOwn(KINDS, this.kind) ? KINDS[this.kind] : undefined) ?? refuse(where, type);
    const on = (key: string, fallback = true) => readFlag(config[key], fallback, where, key);
    const pads = on("do_pad", false);
    if (pads && config.pad_size) fail(where, "do_pad false", "padding to pad_size", HINT);
    this.#resize = on("do_resize")
      ? readResize((this.kind === "Idefics" ? config.image_size : undefined) ?? config.size ?? undefined, defaults.resize, where)
      : undefined;
    const cropped = on("do_center_crop", defaults.crop !== undefined);
    this.#crop = cropped ? readCrop(config.crop_size ?? undefined, defaults.crop ?? square(224), where) : undefined;
    const rounding = config.crop_rounding ?? "down";
    if (rounding !== "half_even" && rounding !== "down") fail(where, "crop_rounding half_even or down", shown(rounding), "leave it out");
    this.#halfEven = rounding === "half_even";
    this.#resample = readNumber(config.resample, defaults.resample, where, "resample");
    if (![0, 1, 2, 3, 4, 5].includes(this.#resample)) fail(where, "resample from 0 to 5", shown(config.resample), "3 is bicubic");
    this.#rescale = on("do_rescale") ? readNumber(config.rescale_factor, 1 / 255, where, "rescale_factor") : 1;
    this.#mean = on("do_normalize") ? readTriple(config.image_mean, defaults.mean, where, "image_mean") : [0, 0, 0];
    this.#std = on("do_normalize") ? readTriple(config.image_std, defaults.std, where, "image_std") : [1, 1, 1];
    this.#pad =
      pads && this.kind === "Llava"
        ? readTriple(config.image_mean, defaults.mean, where, "image_mean").map((v) => Math.trunc(v * 255))
        : undefined;
    if (this.#std.some((v) => v <= 0)) fail(where, "image_std above 0", shown(config.image_std), HINT);
  }

  /** `pad`: to a square first, as LLaVA-1.5's own code does. Reads preprocessor_config.json of a model folder, or what stands in its place (processor_config.json, open_clip_config.json). */
  static fromPretrained(folder: string, options: { pad?: boolean } = {}): ImageProcessor {
    checkOptions("ImageProcessor.fromPretrained", options, ["pad"]);
    const { config, where } = preprocessorConfig(folder);
    return new ImageProcessor(options.pad ? { ...config, image_processor_type: "LlavaImageProcessor", do_pad: true } : config, where);
  }
  static from({ config, where }: PreprocessorConfig): ImageProcessor {
    return new ImageProcessor(config, where);
  }

  /** Height and width of what comes out, where they do not depend on the picture. */
  get size(): Size | undefined {
    if (this.#crop) return this.#crop;
    return this.#resize && "height" in this.#resize ? this.#resize : undefined;
  }

  /** Parts to pixel values; all must come out in one size. */
  async process(parts: readonly ImagePart[], loading: Loading = {}): Promise<PixelValues> {
    checkLoading("ImageProcessor.process", loading);
    checkParts("ImageProcessor", "image", parts);
    return joined(await fewAtOnce(parts, AT_ONCE, async (part) => this.#one(await loadWith(part, { grey16: "clip" }, loading))));
  }

  async pixelValues(pictures: readonly Pixels[]): Promise<PixelValues> {
    return joined(await fewAtOnce(pictures, AT_ONCE, (picture) => this.#one(picture)));
  }

  async #one(given: Pixels): Promise<One> {
    const picture = this.#pad ? squared(checkPixels(given), this.#pad) : checkPixels(given);
    const resized = resizedSize(picture, this.#resize);
    const out = this.#crop ?? resized;
    const extra = { height: this.#shift(resized.height, out.height), width: this.#shift(resized.width, out.width) };
    const made = { height: out.height + extra.height, width: out.width + extra.width };
    if (made.height * made.width > MOST_AREA || Math.max(resized.height, resized.width) > LONGEST_SIDE)
      throw new MediaError(
        "E_MEDIA_LIMIT",
        "picture",
        `at most ${MOST_AREA} pixels after resizing`,
        `${resized.height} × ${resized.width}`,
        "shrink or cut it first, or take a processor that resizes",
      );
    const near = this.#resample === NEAREST ? nearest(picture, resized, made) : undefined;
    const { data, height, width } = near ?? picture;
    const to = near ?? resized;
    const sizes = [height, width, to.height, to.width, made.height, made.width] as const;
    const values = await native().media_image(data, ...sizes, this.#resample, this.#rescale, ...this.#mean, ...this.#std);
    return { ...out, values: withoutFirst(new Float32Array(values), made, extra) };
  }

  /** 1 where the middle lies between two pixels and the even one is the later: a crop one larger begins at the same pixel, and its first row goes. */
  #shift(resized: number, crop: number): number {
    return this.#halfEven && resized > crop && (resized - crop) % 4 === 3 ? 1 : 0;
  }
}

function joined(made: readonly One[]): PixelValues {
  const [{ height, width }] = made as [One];
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

/** In the middle of a square of one colour; where that cannot be, half a pixel up and to the left. */
function squared(picture: Pixels, colour: readonly number[]): Pixels {
  const { data, width, height } = picture;
  const side = Math.max(width, height);
  if (width === height) return picture;
  if (side * side > MOST_AREA)
    throw new MediaError("E_MEDIA_LIMIT", "picture", `at most ${MOST_AREA} pixels as a square`, `${side} × ${side}`, "shrink it first");
  const [left, top] = [Math.floor((side - width) / 2), Math.floor((side - height) / 2)];
  const square = new Uint8Array(side * side * 3);
  for (let i = 0; i < square.length; ++i) square[i] = colour[i % 3] as number;
  for (let row = 0; row < height; ++row) square.set(data.subarray(row * width * 3, (row + 1) * width * 3), ((row + top) * side + left) * 3);
  return { data: square, width: side, height: side };
}

/** (3,H,W) without the first `extra` rows and columns. */
function withoutFirst(values: Float32Array, { height, width }: Size, extra: Size): Float32Array {
  if (!extra.height && !extra.width) return values;
  const [H, W] = [height - extra.height, width - extra.width];
  const kept = new Float32Array(3 * H * W);
  for (let row = 0; row < 3 * H; ++row) {
    const at = (Math.floor(row / H) * height + extra.height + (row % H)) * width + extra.width;
    kept.set(values.subarray(at, at + W), row * W);
  }
  return kept;
}

function resizedSize(from: Size, resize: Resize | undefined): Size {
  if (!resize) return { height: from.height, width: from.width };
  if ("height" in resize) return resize;
  const [short, long] = from.width <= from.height ? [from.width, from.height] : [from.height, from.width];
  const edge = resize.shortestEdge;
  const other = Math.trunc((edge * long) / short);
  return from.width <= from.height ? { height: other, width: edge } : { height: edge, width: other };
}

const HINT = "see the model's repository";

function refuse(where: string, type: string): never {
  const naflex = type.startsWith("Siglip2");
  return fail(
    where,
    `an image_processor_type among ${Object.keys(KINDS).join(", ")}`,
    type,
    naflex
      ? "NaFlex takes pictures of any shape, which is not read here: take a SigLIP 2 of one resolution"
      : "use an encoder of one of these kinds",
  );
}

function fail(where: string, expected: string, got: string, remedy: string): never {
  throw new MediaError("E_MEDIA_OPTION", where, expected, got, remedy);
}
/** Of a picture that is made; encoders take 1024 at most. */
const MOST_SIDE = 2 ** 12;
const MOST_AREA = MOST_SIDE ** 2;
/** After resizing, of which a crop may show a little: places are integers of 32 bits. */
const LONGEST_SIDE = 2 ** 30;
const isSide = (value: unknown): value is number => Number.isInteger(value) && (value as number) > 0 && (value as number) <= MOST_SIDE;

function readFlag(value: unknown, fallback: boolean, where: string, key: string): boolean {
  const flag = value ?? fallback;
  return typeof flag === "boolean" ? flag : fail(where, `${key} to be true or false`, shown(value), HINT);
}
function readNumber(value: unknown, fallback: number, where: string, key: string): number {
  const number = value ?? fallback;
  return typeof number === "number" && Number.isFinite(number) ? number : fail(where, `${key} to be a number`, shown(value), HINT);
}

// Older files give one number: the shorter side for a resize, a square for a crop.
function readResize(size: unknown, fallback: Resize, where: string): Resize {
  if (size === undefined) return fallback;
  if (isSide(size)) return "height" in fallback ? square(size) : { shortestEdge: size };
  const { height, width, shortest_edge: shortestEdge, longest_edge: longestEdge } = (size ?? {}) as Record<string, unknown>;
  if (isSide(height) && isSide(width)) return { height, width };
  if (isSide(shortestEdge) && longestEdge === undefined) return { shortestEdge };
  return fail(where, `size with height and width or with shortest_edge, up to ${MOST_SIDE}`, shown(size), HINT);
}
function readCrop(size: unknown, fallback: Size, where: string): Size {
  if (size === undefined) return fallback;
  if (isSide(size)) return square(size);
  const { height, width } = (size ?? {}) as Record<string, unknown>;
  if (isSide(height) && isSide(width)) return { height, width };
  return fail(where, `crop_size with height and width up to ${MOST_SIDE}`, shown(size), HINT);
}
function readTriple(value: unknown, fallback: number[], where: string, key: string): number[] {
  if (value === undefined || value === null) return fallback;
  const triple = typeof value === "number" ? [value, value, value] : value;
  if (Array.isArray(triple) && triple.length === 3 && triple.every((v) => Number.isFinite(v))) return triple;
  return fail(where, `three numbers in ${key}`, shown(value), HINT);
}
