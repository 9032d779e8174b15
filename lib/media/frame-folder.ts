// A folder of pictures as a clip, in natural order: frame-2.png before frame-10.png.
import { opendir } from "node:fs/promises";
import { join } from "node:path";
import { type Clip, checkFrames, evenTimeline } from "./clip.js";
import { MediaError } from "./error.js";
import { image, loadImage, type Pixels } from "./image.js";

const PICTURE = /^[^.].*\.(jpe?g|png|webp|avif|gif|tiff?|bmp)$/i;
const { compare } = new Intl.Collator("en", { numeric: true });

export async function openFolder(
  folder: string,
  { maxPixels, maxFrames }: { maxPixels: number; maxFrames: number },
  fps: number | undefined,
): Promise<Clip> {
  const names: string[] = [];
  for await (const entry of await opendir(folder)) {
    if (!PICTURE.test(entry.name) || entry.isDirectory()) continue;
    names.push(entry.name);
    checkFrames(names.length > maxFrames ? Infinity : names.length, maxFrames, folder);
  }
  if (!names.length)
    throw new MediaError(
      "E_MEDIA_FORMAT",
      folder,
      "pictures in the folder (.jpg, .png, .webp, .avif, .gif, .tiff, .bmp)",
      "none",
      "pass the folder that holds the frames",
    );
  // Names that differ only in case or accents are told apart, so that the order is one and the same everywhere.
  names.sort((a, b) => compare(a, b) || (a < b ? -1 : 1));
  return {
    timeline: evenTimeline(names.length, fps),
    hasSound: false,
    decode: async (indices, loading) => {
      const pictures: Pixels[] = [];
      for (const i of indices) pictures.push(await loadImage(image(join(folder, names[i]!), { maxPixels }), loading));
      return pictures;
    },
    [Symbol.asyncDispose]: async () => {},
  };
}
