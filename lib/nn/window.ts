// Swin's moves (arXiv 2103.14030) as row indices: tokens of a height × width grid into windows and back, with a cyclic shift, and 2 × 2 cells
// side by side. Made once; a batch takes as many repetitions as it needs.
import type { Device } from "../core/device.js";
import { keep } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";

export interface WindowPlan {
  /** Windows of one item. */
  count: number;
  /** (count·window²): the token at each place of the windows, -1 where the grid was padded. */
  into: Int32Array;
  /** (height·width): the place of each token. */
  back: Int32Array;
  /** (count,window²,window²): -100 between places that only the cyclic shift made neighbours. Without a shift there are none. */
  mask: Float32Array | undefined;
  /** Each token is at its place already. */
  identity: boolean;
}

/** The grid padded below and to the right to whole windows, rolled up and left by `shift`, and cut into windows. */
export function windowPlan(height: number, width: number, window: number, shift: number): WindowPlan {
  const [down, across] = [Math.ceil(height / window), Math.ceil(width / window)];
  const [H, W, area] = [down * window, across * window, window * window];
  const count = down * across;
  const into = new Int32Array(count * area);
  const back = new Int32Array(height * width);
  const region = new Int32Array(count * area);
  for (let place = 0; place < into.length; ++place) {
    const [cell, at] = [Math.floor(place / area), place % area];
    const y = Math.floor(cell / across) * window + Math.floor(at / window);
    const x = (cell % across) * window + (at % window);
    const [fromY, fromX] = [(y + shift) % H, (x + shift) % W];
    const inside = fromY < height && fromX < width;
    into[place] = inside ? fromY * width + fromX : -1;
    if (inside) back[fromY * width + fromX] = place;
    region[place] = 3 * band(y, H, window, shift) + band(x, W, window, shift);
  }
  return {
    count,
    into,
    back,
    mask: shift ? maskOf(region, count, area) : undefined,
    identity: into.every((from, place) => from === place),
  };
}

/** Which of the three stripes a shifted row lies in: those before the last window, and the last window's own and wrapped rows. */
const band = (at: number, size: number, window: number, shift: number): number => (at < size - window ? 0 : at < size - shift ? 1 : 2);

function maskOf(region: Int32Array, count: number, area: number): Float32Array {
  const mask = new Float32Array(count * area * area);
  for (let i = 0; i < mask.length; ++i) {
    const first = Math.floor(i / (area * area)) * area;
    const [query, key] = [first + (Math.floor(i / area) % area), first + (i % area)];
    mask[i] = region[query] === region[key] ? 0 : -100;
  }
  return mask;
}

/** (height/2·width/2·4): the tokens of each 2 × 2 cell in Swin's order: down first, then across. */
export function mergePlan(height: number, width: number): Int32Array {
  const across = width / 2;
  return Int32Array.from({ length: height * width }, (_, i) => {
    const [cell, part] = [Math.floor(i / 4), i % 4];
    return (2 * Math.floor(cell / across) + (part % 2)) * width + 2 * (cell % across) + Math.floor(part / 2);
  });
}

/** (window²,window²): the row of the bias table for query and key. */
export function relativePositions(window: number): Int32Array {
  const area = window * window;
  return Int32Array.from({ length: area * area }, (_, i) => {
    const [query, key] = [Math.floor(i / area), i % area];
    const dy = Math.floor(query / window) - Math.floor(key / window) + window - 1;
    const dx = (query % window) - (key % window) + window - 1;
    return dy * (2 * window - 1) + dx;
  });
}

/** An index into the rows of one item, for batches: on the device for the largest batch so far, of which smaller ones are the beginning. */
export class BatchIndex {
  #made: Tensor | undefined;
  #batch = 0;

  constructor(
    readonly device: Device,
    private readonly item: Int32Array,
    /** Rows of an item of what is indexed. */
    private readonly rows: number,
  ) {}

  /** (batch·item) i32. */
  for(batch: number): Tensor {
    if (!this.#made || batch > this.#batch) {
      const { length } = this.item;
      const all = new Int32Array(batch * length);
      for (let b = 0; b < batch; ++b) for (let i = 0; i < length; ++i) all[b * length + i] = shifted(this.item[i] as number, b * this.rows);
      this.dispose();
      this.#made = keep(Tensor.from(all, [all.length], { device: this.device }));
      this.#batch = batch;
    }
    return batch === this.#batch ? this.#made : this.#made.slice(0, batch * this.item.length);
  }
  dispose(): void {
    this.#made?.dispose();
    this.#made = undefined;
  }
}
const shifted = (row: number, by: number): number => (row < 0 ? row : row + by);
