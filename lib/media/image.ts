// Pictures: a part of a prompt, and its pixels.
import sharp, { type Metadata } from "sharp";
import { bytesIn, isBytes, kindOfValue } from "../core/realm.js";
import { MediaError, reasonOf } from "./error.js";
import { bytesOf, describe, type Loading, type MediaSource } from "./source.js";

export interface ImageOptions {
  /** Refused when width × height is more. Default 100 million. */
  maxPixels?: number;
  /** Refused when the file is larger. Default 256 MiB. */
  maxBytes?: number;
}
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

export const IMAGE_LIMITS = { maxPixels: 100_000_000, maxBytes: 256 << 20 };
const FORMATS = ["jpeg", "png", "webp", "avif", "gif", "tiff"];

/** A picture for a prompt: a JPEG, PNG, WebP, AVIF, GIF or TIFF (path, file: or data: URL, bytes), or RGB pixels. Nothing is read yet. */
export function image(source: MediaSource | Pixels, options: ImageOptions = {}): ImagePart {
  return { modality: "image", source, options };
}

/**
 * The pixels of a picture: turned as its EXIF orientation says, grey spread over three channels, alpha dropped without blending, the colour
 * profile ignored, of an animation the first frame.
 */
export async function loadImage({ source, options }: ImagePart, { signal }: Loading = {}): Promise<Pixels> {
  const { maxPixels, maxBytes } = { ...IMAGE_LIMITS, ...options };
  if (isPixels(source)) return owned(source);
  const bytes = await bytesOf(source, maxBytes, { signal });
  const what = describe(source);
  const header = await imageHeader(bytes, what);
  checkArea(what, header.width ?? 0, header.pageHeight ?? header.height ?? 0, maxPixels);
  signal?.throwIfAborted();
  return decodeFrame(bytes, what, 0, maxPixels);
}

/** A copy: whoever gave the pixels may go on to draw into them. */
function owned(given: Pixels): Pixels {
  const { data, width, height } = checkPixels(given);
  return { data: Uint8Array.from(data), width, height };
}

const isPixels = (source: unknown): source is Pixels =>
  typeof source === "object" && source !== null && "data" in source && "width" in source;

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

/** What the file says about itself, before any pixel is decoded. */
export async function imageHeader(bytes: Uint8Array, what: string): Promise<Metadata> {
  const header = await sharp(bytes, { limitInputPixels: false })
    .metadata()
    .catch((cause: unknown) => unreadable(what, cause));
  const format = header.format === "heif" && header.compression === "av1" ? "avif" : header.format;
  if (!FORMATS.includes(format)) return unreadable(what, new Error(`a ${format} file`));
  return header;
}

/** One frame of a picture or an animation. */
export async function decodeFrame(bytes: Uint8Array, what: string, page: number, maxPixels: number): Promise<Pixels> {
  // Benign warnings are let pass, as other readers do; truncated and invalid data is not.
  const { data, info } = await sharp(bytes, { page, pages: 1, limitInputPixels: maxPixels, failOn: "error", ignoreIcc: true })
    .autoOrient()
    .toColourspace("srgb")
    .removeAlpha()
    .raw({ depth: "uchar" })
    .toBuffer({ resolveWithObject: true })
    .catch((cause: unknown) => unreadable(what, cause));
  const { width, height, channels } = info;
  if (channels === 3) return { data, width, height };
  const rgb = new Uint8Array(width * height * 3);
  for (let i = 0; i < width * height; ++i) rgb.fill(data[i * channels]!, 3 * i, 3 * i + 3);
  return { data: rgb, width, height };
}

function unreadable(what: string, cause: unknown): never {
  throw new MediaError(
    "E_MEDIA_FORMAT",
    what,
    "a JPEG, PNG, WebP, AVIF, GIF or TIFF picture",
    reasonOf(cause),
    "open it in a viewer: the file is damaged or of another kind",
    {
      cause,
    },
  );
}
