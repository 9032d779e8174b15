// Pictures against Pillow: random files of every mode and format, and random resizes.
import { readFileSync } from "node:fs";
import { image, loadImage } from "../../../lib/media/image.js";
import { ImageProcessor } from "../../../lib/media/image-processor.js";
import type { Target } from "../target.js";
import { ALIKE, BOTH_REFUSE, mediaTarget, type Read } from "./media.js";

interface Picture extends Read {
  tolerance?: number;
  size?: [width: number, height: number];
  from?: [width: number, height: number];
  to?: [width: number, height: number];
  filter?: number;
}

export const pictures: Target = mediaTarget<Picture>("pictures", "pillow", async (picture) =>
  picture.from ? resize(picture) : decode(picture),
);

async function decode({ path, size, refused, tolerance = 0 }: Picture): Promise<string> {
  const got = await loadImage(image(path, { grey16: "clip" })).catch((error: Error) => error);
  if (refused !== undefined) return got instanceof Error ? BOTH_REFUSE : "taken, where the reference refuses";
  if (got instanceof Error) return /YCbCr without JPEG/.test(got.message) ? BOTH_REFUSE : got.message; // ours alone: Pillow reads some of them
  const [width, height] = size!;
  if (got.width !== width || got.height !== height) return `${got.width} × ${got.height}, want ${width} × ${height}`;
  return levels(got.data, readFileSync(`${path}.rgb`), tolerance);
}

async function resize({ path, from, to, filter }: Picture): Promise<string> {
  const [[width, height], size] = [from!, { width: to![0], height: to![1] }];
  const processor = new ImageProcessor({
    image_processor_type: "SiglipImageProcessor",
    size,
    resample: filter,
    do_rescale: false,
    do_normalize: false,
  });
  const { data } = await processor.pixelValues([{ data: readFileSync(path), width, height }]);
  const want = readFileSync(`${path}.rgb`);
  const plane = size.width * size.height;
  return levels(
    Uint8Array.from(want, (_, i) => data[(i % 3) * plane + Math.floor(i / 3)]!),
    want,
    0,
  );
}

function levels(got: Uint8Array, want: Uint8Array, tolerance: number): string {
  let [count, worst, first] = [0, 0, -1];
  for (let i = 0; i < want.length; ++i) {
    const off = Math.abs(got[i]! - want[i]!);
    if (off <= tolerance) continue;
    ++count;
    worst = Math.max(worst, off);
    if (first < 0) first = i;
  }
  return count ? `${count} of ${want.length} values differ, by up to ${worst}; value ${first}: ${got[first]}, want ${want[first]}` : ALIKE;
}
