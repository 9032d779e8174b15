// Pictures: a part of a prompt, and its pixels.
import type { Metadata } from "sharp";
import { is } from "../core/checks.js";
import { bytesIn, isBytes, kindOfValue } from "../core/realm.js";
import { inTurns } from "../core/turns.js";
import { bmpSize, decodeBmp } from "./bmp.js";
import { MediaError, readingOf, reasonOf } from "./error.js";
import { decodeGif, gifSize } from "./gif.js";
import { sharpFor } from "./libraries.js";
import { type AsData, checkKnown, LIMITS } from "./option-checks.js";
import { pictureKind } from "./picture-kind.js";
import { pillowPixels } from "./pillow-pixels.js";
import { bytesOf, checkLoading, describe, type Loading, type MediaSource } from "./source.js";
import { isBareYcbcr } from "./tiff-tags.js";

export interface ImageOptions {
  /** Refused when width × height is more. Default 100 million. */
  maxPixels?: number;
  /** Refused when the file is larger. Default 256 MiB. */
  maxBytes?: number;
  /**
   * Grey of 16 bits: "scale" keeps the upper eight of them; "clip" makes 255 of all above, as Pillow does, so that most such pictures turn white.
   * Default: "clip" for an encoder's processor, whose model has seen Pillow's, "scale" for loadImage().
   */
  grey16?: "scale" | "clip";
  /**
   * The colour profile in the file. "ignore" (default) takes the numbers as sRGB and inks by Pillow's formula; "apply" goes through the profile, and of
   * inks without one through a press's, which gives truer colours than those that models have seen.
   */
  profile?: "ignore" | "apply";
}
export const IMAGE_OPTIONS = {
  maxPixels: LIMITS.maxPixels,
  maxBytes: LIMITS.maxBytes,
  grey16: is.oneOf("scale", "clip"),
  profile: is.oneOf("ignore", "apply"),
} satisfies AsData<ImageOptions>;

export interface ImagePart {
  readonly modality: "image";
  readonly source: MediaSource | Pixels;
  readonly options: ImageOptions;
}

/** 8-bit RGB, row by row. */
export interface Pixels {
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
}

interface Limits {
  maxPixels: number;
}
export const IMAGE_LIMITS = { maxPixels: 100_000_000, maxBytes: 256 << 20 };
const FORMATS = ["jpeg", "png", "webp", "avif", "gif", "tiff"];

/** A picture for a prompt: a JPEG, PNG, WebP, AVIF, GIF, TIFF or BMP (path, file: or data: URL, bytes), or RGB pixels. Nothing is read yet. */
export function image(source: MediaSource | Pixels, options: ImageOptions = {}): ImagePart {
  checkKnown("image", IMAGE_OPTIONS, options);
  return { modality: "image", source, options };
}

/**
 * The pixels of a picture, as Pillow's exif_transpose and convert("RGB") give them: turned as its EXIF orientation says, grey spread over three
 * channels, alpha dropped without blending, the colour profile ignored, of an animation the first frame. Grey of 16 bits: see ImageOptions.
 */
export async function loadImage(part: ImagePart, loading?: Loading): Promise<Pixels> {
  checkLoading("loadImage", loading);
  return loadWith(part, { grey16: "scale" }, loading);
}

/** The same, where `defaults` say how a reader of its own wants it. */
export async function loadWith(part: ImagePart, defaults: ImageOptions, loading: Loading = {}): Promise<Pixels> {
  return readingOf(describe(part.source), loading.signal, () => pixelsOf(part, defaults, loading));
}

async function pixelsOf({ source, options }: ImagePart, defaults: ImageOptions, { signal }: Loading): Promise<Pixels> {
  const all = { ...IMAGE_LIMITS, ...defaults, ...options };
  checkKnown(describe(source), IMAGE_OPTIONS, options);
  checkValues(describe(source), all);
  if (isPixels(source)) return owned(source);
  const bytes = await bytesOf(source, all.maxBytes, { signal });
  const what = describe(source);
  const kind = pictureKind(bytes);
  if (typeof kind === "object") return unreadable(what, kind.name, undefined, kind.remedy);
  const own = kind === "bmp" ? ([bmpSize, decodeBmp] as const) : kind === "gif" ? ([gifSize, decodeGif] as const) : undefined;
  if (own) {
    const { width, height } = own[0](bytes, what);
    checkArea(what, width, height, all.maxPixels);
    return inTurns(own[1](bytes, what), { signal });
  }
  if (kind === "tiff" && isBareYcbcr(bytes))
    return unreadable(what, "a TIFF in YCbCr without JPEG", undefined, "save it as RGB first: magick in.tiff -colorspace sRGB out.png");
  const header = await imageHeader(bytes, what);
  checkArea(what, header.width ?? 0, header.pageHeight ?? header.height ?? 0, all.maxPixels);
  signal?.throwIfAborted();
  return (await pillowPixels(bytes, what, header, all)) ?? decodeFrame(bytes, what, 0, all);
}

/** A copy: whoever gave the pixels may go on to draw into them. */
function owned(given: Pixels): Pixels {
  const { data, width, height } = checkPixels(given);
  return { data: Uint8Array.from(data), width, height };
}

const isPixels = (source: unknown): source is Pixels =>
  typeof source === "object" && source !== null && "data" in source && "width" in source;

function checkValues(what: string, { grey16, profile = "ignore" }: ImageOptions): void {
  const bad = (expected: string, got: unknown) => {
    throw new MediaError("E_MEDIA_OPTION", what, expected, String(got), "see ImageOptions");
  };
  if (grey16 !== "scale" && grey16 !== "clip") bad('grey16 "scale" or "clip"', grey16);
  if (profile !== "ignore" && profile !== "apply") bad('profile "ignore" or "apply"', profile);
}

/** As they were given, the bytes an array of this realm. Other numbers (from 0 to 1, say) are refused: as bytes they would be black. */
export function checkPixels({ data: given, width, height }: Pixels): Pixels {
  const data = isBytes(given) ? bytesIn(given) : isLevels(given) ? Uint8Array.from(given) : undefined;
  const isSide = (side: number) => Number.isInteger(side) && side > 0;
  if (!data || !isSide(width) || !isSide(height) || data.length !== width * height * 3)
    throw new MediaError(
      "E_MEDIA_FORMAT",
      "pixels",
      `width × height × 3 bytes of RGB`,
      `${data ? `${data.length} bytes` : kindOfValue(given)} for ${width} × ${height}`,
      data ? "drop an alpha channel, spread grey over three channels" : "pass a Uint8Array of levels from 0 to 255",
    );
  return { data, width, height };
}

const isLevels = (data: unknown): data is number[] => Array.isArray(data) && data.every((v) => Number.isInteger(v) && v >= 0 && v <= 255);

export function checkArea(what: string, width: number, height: number, maxPixels: number): void {
  if (width * height > maxPixels)
    throw new MediaError(
      "E_MEDIA_LIMIT",
      what,
      `at most ${maxPixels} pixels`,
      `${width} × ${height} = ${width * height}`,
      "raise the option maxPixels if you trust it, or shrink it first",
    );
}

/** What a file of a kind that sharp reads says about itself, before any pixel is decoded. */
export async function imageHeader(bytes: Uint8Array, what: string): Promise<Metadata> {
  const header = await sharpFor(what)(bytes, { limitInputPixels: false })
    .metadata()
    .catch((cause: unknown) => unreadable(what, reasonOf(cause), cause));
  const format = header.format === "heif" && header.compression === "av1" ? "avif" : header.format;
  if (!FORMATS.includes(format)) return unreadable(what, `a ${format} file`);
  return header;
}

/** One frame of a picture or an animation. */
export async function decodeFrame(bytes: Uint8Array, what: string, page: number, options: Limits & ImageOptions): Promise<Pixels> {
  const { maxPixels, profile = "ignore" } = options;
  // Benign warnings are let pass, as other readers do; truncated and invalid data is not.
  const input = { page, pages: 1, limitInputPixels: maxPixels, failOn: "error", ignoreIcc: profile === "ignore" } as const;
  const { data, info } = await sharpFor(what)(bytes, input)
    .autoOrient()
    .toColourspace("srgb")
    .removeAlpha()
    .raw({ depth: "uchar" })
    .toBuffer({ resolveWithObject: true })
    .catch((cause: unknown) => unreadable(what, reasonOf(cause), cause));
  return spread(bytesIn(data), info);
}

/** Grey over three channels. */
function spread(data: Uint8Array, { width, height, channels }: { width: number; height: number; channels: number }): Pixels {
  if (channels === 3) return { data, width, height };
  const rgb = new Uint8Array(width * height * 3);
  for (let i = 0; i < width * height; ++i) rgb.fill(data[i * channels]!, 3 * i, 3 * i + 3);
  return { data: rgb, width, height };
}

function unreadable(what: string, got: string, cause?: unknown, remedy = REMEDY): never {
  throw new MediaError("E_MEDIA_FORMAT", what, "a JPEG, PNG, WebP, AVIF, GIF, TIFF or BMP picture", got, remedy, { cause });
}
const REMEDY = "open it in a viewer: the file is damaged or of another kind";
