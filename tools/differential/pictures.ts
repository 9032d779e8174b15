// Pictures against Pillow: random files of every mode and format, and random resizes. Python with Pillow makes them and says what it reads.
//   npx tsx tools/differential/pictures.ts --python PYTHON --seed 1 --cases 500
import { readFileSync } from "node:fs";
import { image, loadImage } from "../../lib/media/image.js";
import { ImageProcessor } from "../../lib/media/image-processor.js";
import { compare, type Verdict } from "./compare.js";

interface Line {
  kind: string;
  path: string;
  tolerance?: number;
  size?: [width: number, height: number];
  refused?: string;
  from?: [width: number, height: number];
  to?: [width: number, height: number];
  filter?: number;
}

await compare<Line>("pictures", async (line) => (line.from ? resize(line) : decode(line)));

async function decode({ path, size, refused, tolerance = 0 }: Line): Promise<Verdict> {
  const got = await loadImage(image(path, { grey16: "clip" })).catch((error: Error) => error);
  if (refused !== undefined) return got instanceof Error ? "both refuse" : "taken, where the reference refuses";
  if (got instanceof Error) return /YCbCr without JPEG/.test(got.message) ? "both refuse" : got.message; // ours alone: Pillow reads some of them
  const [width, height] = size!;
  if (got.width !== width || got.height !== height) return `${got.width} × ${got.height}, want ${width} × ${height}`;
  return levels(got.data, readFileSync(`${path}.rgb`), tolerance);
}

async function resize({ path, from, to, filter }: Line): Promise<Verdict> {
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

function levels(got: Uint8Array, want: Uint8Array, tolerance: number): Verdict {
  let [count, worst, first] = [0, 0, -1];
  for (let i = 0; i < want.length; ++i) {
    const off = Math.abs(got[i]! - want[i]!);
    if (off <= tolerance) continue;
    ++count;
    worst = Math.max(worst, off);
    if (first < 0) first = i;
  }
  return count
    ? `${count} of ${want.length} values differ, by up to ${worst}; value ${first}: ${got[first]}, want ${want[first]}`
    : "alike";
}
