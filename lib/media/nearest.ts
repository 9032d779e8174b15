// Nearest-neighbour resizing as Pillow does it: it walks over the source by adding the step up, and where a place lies between two pixels the
// rounding of that sum decides. Only what a crop about the middle shows is made.
import type { Pixels } from "./image.js";

interface Size {
  height: number;
  width: number;
}

/** The part of `from` resized to `to` that a crop of `crop` shows; smaller than the crop where `to` is. */
export function nearest(from: Pixels, to: Size, crop: Size): Pixels {
  const rows = places(from.height, to.height, crop.height);
  const columns = places(from.width, to.width, crop.width);
  const data = new Uint8Array(rows.length * columns.length * 3);
  let at = 0;
  for (const row of rows)
    for (const column of columns) {
      const source = (row * from.width + column) * 3;
      data.set(from.data.subarray(source, source + 3), at);
      at += 3;
    }
  return { data, height: rows.length, width: columns.length };
}

/** For each pixel that is shown along one axis, the one it comes from. */
function places(from: number, to: number, crop: number): Int32Array {
  if (from === to) return Int32Array.from({ length: Math.min(to, crop) }, (_, i) => i + Math.max(0, Math.floor((to - crop) / 2)));
  const first = Math.max(0, Math.floor((to - crop) / 2));
  const shown = new Int32Array(Math.min(to, crop));
  const step = from / to;
  let place = step * 0.5;
  for (let i = 0; i < first + shown.length; ++i) {
    if (i >= first) shown[i - first] = Math.min(from - 1, Math.trunc(place));
    place += step;
  }
  return shown;
}
