// Pictures as a clip: those of a folder in natural order, frame-2.png before frame-10.png, or those of a list in its own.
import { opendir } from "node:fs/promises";
import { join } from "node:path";
import { type Clip, checkFrames, evenTimeline } from "./clip.js";
import { MediaError } from "./error.js";
import { type ImagePart, image, loadImage, type Pixels } from "./image.js";
import type { MediaSource } from "./source.js";

const PICTURE = /^[^.].*\.(jpe?g|png|webp|avif|gif|tiff?|bmp)$/i;
const { compare } = new Intl.Collator("en", { numeric: true });

interface Limits {
  maxPixels: number;
  maxFrames: number;
  maxBytes?: number;
}

export async function openFolder(folder: string, limits: Limits, fps: number | undefined): Promise<Clip> {
  const { maxFrames } = limits;
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
  const { maxPixels } = limits;
  return clipOf(
    names.map((name) => image(join(folder, name), { maxPixels })),
    fps,
  );
}

/** `maxBytes` holds of each picture. */
export function openPictures(sources: readonly MediaSource[], { maxPixels, maxFrames, maxBytes }: Limits, fps: number | undefined): Clip {
  const what = "a list of pictures";
  if (!sources.length) throw new MediaError("E_MEDIA_SOURCE", what, "at least one picture", "none", "name the frames of the clip");
  checkFrames(sources.length, maxFrames, what);
  return clipOf(
    sources.map((source) => image(source, { maxPixels, ...(maxBytes !== undefined && { maxBytes }) })),
    fps,
  );
}

function clipOf(frames: readonly ImagePart[], fps: number | undefined): Clip {
  return {
    timeline: evenTimeline(frames.length, fps),
    hasSound: false,
    decode: async (indices, loading) => {
      const pictures: Pixels[] = [];
      for (const i of indices) pictures.push(await loadImage(frames[i]!, loading));
      return pictures;
    },
    [Symbol.asyncDispose]: async () => {},
  };
}
