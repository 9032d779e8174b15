// Inks, and grey of 16 bits, as Pillow's convert("RGB") makes colours of them: libvips goes through a press's profile, and scales.
import type { Metadata } from "sharp";
import type { ImageOptions, Pixels } from "./image.js";
import { sharpFor } from "./libraries.js";

/** Undefined for a picture that libvips reads as Pillow does. */
export async function pillowPixels(
  bytes: Uint8Array,
  what: string,
  header: Metadata,
  { grey16, profile, maxPixels }: ImageOptions,
): Promise<Pixels | undefined> {
  const wide = header.depth === "ushort";
  const space =
    header.space === "cmyk" && profile !== "apply" ? "cmyk" : grey16 === "clip" && isGrey16(bytes, header) ? "grey16" : undefined;
  if (!space) return undefined;
  const { data, info } = await sharpFor(what)(bytes, { limitInputPixels: maxPixels ?? false, failOn: "error", ignoreIcc: true })
    .autoOrient()
    .pipelineColourspace(space)
    .toColourspace(space)
    .raw({ depth: wide ? "ushort" : "uchar" })
    .toBuffer({ resolveWithObject: true });
  const { width, height, channels } = info;
  const values = wide ? new Uint16Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.length)) : data;
  const rgb = new Uint8Array(width * height * 3);
  if (space === "grey16") for (let i = 0; i < width * height; ++i) rgb.fill(Math.min(255, values[i * channels]!), 3 * i, 3 * i + 3);
  else fromInks(values, channels, wide ? 8 : 0, rgb);
  return { data: rgb, width, height };
}

/** Pillow's cmyk2rgb: what the black lets through, less the ink's share of it, in its integers. */
function fromInks(values: Uint8Array | Uint16Array, channels: number, shift: number, rgb: Uint8Array): void {
  for (let i = 0; 3 * i < rgb.length; ++i) {
    const ink = (c: number) => values[i * channels + c]! >> shift;
    const white = 255 - ink(3);
    for (let c = 0; c < 3; ++c) {
      const product = ink(c) * white + 128;
      rgb[3 * i + c] = Math.max(0, white - (((product >> 8) + product) >> 8));
    }
  }
}

/** One channel of 16 bits. A PNG's with an alpha channel is not: there Pillow takes the upper eight bits too. */
function isGrey16(bytes: Uint8Array, { format, depth, channels }: Metadata): boolean {
  if (depth !== "ushort") return false;
  return format === "png" ? bytes[24] === 16 && bytes[25] === 0 : channels === 1;
}
