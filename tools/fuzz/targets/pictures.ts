// lib/media/image.ts: pictures of every kind, headers that lie.
import { loadImage } from "../../../lib/media/image.js";
import { pictures as files } from "../media-files.js";
import type { Target } from "../target.js";

const NAMES = ["png RGBA", "png P", "png I;16", "png by hand 0 2", "jpeg L", "webp RGBA lossless", "gif opaque", "gif by hand interlaced"];
const OTHERS = [
  "bmp 40 24 0",
  "bmp 40 8 1",
  "bmp 108 16 3",
  "tiff CMYK packbits",
  "tiff I;16 tiff_lzw",
  "tiff by hand rgb16 1",
  "tiff by hand white0 1",
];
/** Sides, depths and offsets of a BMP, a PNG's and a GIF's header lie in the first bytes of each. */
const fields = [2, 6, 10, 14, 16, 18, 20, 22, 28, 30, 34, 46].map((at) => ({ at, bytes: 2 as const }));

export const pictures: Target = {
  name: "pictures",
  seeds: files(...NAMES, ...OTHERS).map((bytes) => ({
    bytes,
    fields: fields.filter(({ at }) => at + 2 <= bytes.length),
  })),
  mostSeconds: 5,
  mostBytes: 256 * 2 ** 20,
  async run(_bytes, path) {
    await loadImage({ modality: "image", source: path, options: { maxPixels: 2 ** 20 } });
  },
};
