// Pictures that look alike have hashes that differ in few bits: the difference hash (dHash) of 64 bits, as the ImageHash package has it, bit for bit where
// pictures are decoded alike.

import type { Pixels } from "./image.js";
import { ImageProcessor } from "./image-processor.js";

const [WIDE, HIGH] = [9, 8];
/** Pillow's resize to 9 by 8 with its Lanczos filter, in levels from 0 to 255. */
const small = new ImageProcessor({
  ...{ image_processor_type: "CLIPImageProcessor", size: { height: HIGH, width: WIDE }, resample: 1 },
  ...{ do_center_crop: false, do_rescale: false, do_normalize: false },
});

/** 64 bits, row by row: whether a pixel of the picture in grey, 9 by 8, is brighter than the one to its left. */
export async function differenceHash(picture: Pixels): Promise<bigint> {
  const { data: values } = await small.pixelValues([greyed(picture)]);
  let hash = 0n;
  for (let y = 0; y < HIGH; ++y)
    for (let x = 1; x < WIDE; ++x) {
      const [left, here] = [values[y * WIDE + x - 1] as number, values[y * WIDE + x] as number];
      hash = (hash << 1n) | (here > left ? 1n : 0n);
    }
  return hash;
}

/** Pillow's convert("L"): ITU-R 601-2 in 16 bits. */
function greyed({ data, width, height }: Pixels): Pixels {
  const grey = new Uint8Array(data.length);
  for (let i = 0; i < data.length; i += 3) {
    const level = ((data[i] as number) * 19595 + (data[i + 1] as number) * 38470 + (data[i + 2] as number) * 7471 + 0x8000) >> 16;
    grey.fill(level, i, i + 3);
  }
  return { data: grey, width, height };
}

/** In how many bits two hashes differ. */
export function hashDistance(a: bigint, b: bigint): number {
  let [bits, n] = [a ^ b, 0];
  for (; bits; bits &= bits - 1n) ++n;
  return n;
}

/**
 * The first hash of those given so far that is near. Two that differ in d bits at most share one of d + 1 bands, so only hashes that share one are compared.
 */
export class NearHashes {
  readonly #bands: Map<bigint, { hash: bigint; number: number }[]>[];
  #count = 0;

  constructor(private readonly distance: number) {
    this.#bands = Array.from({ length: distance + 1 }, () => new Map());
  }

  /** The number of the first that is within the distance, or of this one, which is kept then. */
  numberOf(hash: bigint): number {
    let nearest: number | undefined;
    const keys = this.#bands.map((_, band) => bandOf(hash, band, this.#bands.length));
    for (const [band, key] of keys.entries())
      for (const known of this.#bands[band]?.get(key) ?? [])
        if (hashDistance(known.hash, hash) <= this.distance) nearest = Math.min(nearest ?? known.number, known.number);
    if (nearest !== undefined) return nearest;
    const number = this.#count++;
    for (const [band, key] of keys.entries()) {
      const own = this.#bands[band] as Map<bigint, { hash: bigint; number: number }[]>;
      own.set(key, [...(own.get(key) ?? []), { hash, number }]);
    }
    return number;
  }
}

function bandOf(hash: bigint, band: number, of: number): bigint {
  const [from, to] = [Math.floor((64 * band) / of), Math.floor((64 * (band + 1)) / of)];
  return (hash >> BigInt(from)) & ((1n << BigInt(to - from)) - 1n);
}
