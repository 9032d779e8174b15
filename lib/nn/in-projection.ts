// q, k and v in one matrix, as torch.nn.MultiheadAttention keeps them: in_proj_weight and in_proj_bias, names that stand beside the layer's own, in_proj.
import type { Tensor } from "../core/tensor.js";
import { linear, sliceCopy } from "../ops/index.js";
import { Wrap } from "./layer.js";
import { Linear, type LinearLayer } from "./linear.js";
import { matching } from "./module.js";
import { type Init, type Weights, zeros } from "./weights.js";

export const IN_PROJECTION = "in_proj";
const PARTS = 3;

/** y (N,3C) = x (N,C) · weightᵀ + bias: all of q, all of k, all of v. */
export class InProjection extends Linear {
  /** `at` is where the attention stands. */
  constructor(at: Weights, width: number, init: Init) {
    super(at.parameter(`${IN_PROJECTION}_weight`, [PARTS * width, width], init), width, PARTS * width);
    this.bias = at.parameter(`${IN_PROJECTION}_bias`, [PARTS * width], zeros);
  }

  static stored(at: Weights): boolean {
    return at.has(`${IN_PROJECTION}_weight`);
  }

  protected override nameAt(path: string, name: string): string {
    return path ? `${path}_${name}` : name;
  }

  part(x: Tensor, i: number): Tensor {
    const { inFeatures: width } = this;
    const [w, b] = [matching(this.weight, x), matching(this.bias as Tensor, x)];
    return linear(x, w.slice(i * width, width), b.slice(i * width, width));
  }
}

/** Of q (0), k (1) and v (2) those that are `wanted` of x. Where the layer is bare each is a product of its own, and nothing is cut afterwards. */
export function projected(layer: LinearLayer, x: Tensor, wanted: readonly number[]): Tensor[] {
  const first = layer instanceof Wrap && !layer.enabled ? layer.inner : layer;
  if (first instanceof InProjection) return wanted.map((i) => first.part(x, i));
  const [y, width] = [layer.forward(x), layer.outFeatures / PARTS];
  return wanted.map((i) => sliceCopy(y, -1, i * width, width));
}
