// LaVIN's mixture of modality adapters (arXiv 2305.15023, section 3.2; lavin/mm_adapter.py): x + s · (w0 · (B z + b) + w1 · (D z + c)) of z = A x + a, where the
// two weights are a softmax of what one row says. B and D are grouped: each part of the outputs reads its own part of z. It begins as nothing, for both are zero.
import { Tensor } from "../core/tensor.js";
import { activation, add, cast, concat, dropout, gatherRows, linear, mul } from "../ops/index.js";
import { Linear } from "./linear.js";
import { Module, matching } from "./module.js";
import { type Init, type Weights, zeros } from "./weights.js";

export interface MixtureOptions {
  width: number;
  hidden: number;
  groups: number;
  /** By which the router's logits are divided. */
  temperature: number;
  scale: number;
  /** Of z, in training. */
  dropout: number;
}

/** A convolution over one place, as the file holds it: (O,I/groups,1). */
class Pointwise extends Module {
  weight: Tensor;
  bias: Tensor; // (O)
  constructor(at: Weights, shape: readonly [number, number], init: Init) {
    super();
    this.weight = at.parameter("weight", [...shape, 1], init);
    this.bias = at.parameter("bias", [shape[0]], zeros);
  }
}

/**
 * What a forward makes of the parameters once, and a cache keeps: z and a one for each expert is one product (2h+2,d), and so is what they give together,
 * (d,2h+2).
 */
export interface MixtureParts {
  down: Tensor;
  downBias: Tensor;
  up: Tensor;
}

export class Mixture extends Module {
  convA: Pointwise; // (h,d,1)
  convB: Pointwise; // (d,h/groups,1)
  convD: Pointwise;
  expertWeights: Linear; // (2,d)
  readonly #options: MixtureOptions;

  constructor(at: Weights, options: MixtureOptions) {
    super();
    const { width, hidden, groups } = options;
    this.#options = options;
    const conv = (field: string, shape: readonly [number, number], init: Init) => new Pointwise(at.at(this.stateName(field)), shape, init);
    this.convA = conv("convA", [hidden, width], { uniform: Math.sqrt(6 / (width + hidden)) }); // Xavier
    this.convB = conv("convB", [width, hidden / groups], zeros);
    this.convD = conv("convD", [width, hidden / groups], zeros);
    this.expertWeights = new Linear(at.at("expert_weights"), width, 2);
  }

  static stored(at: Weights): boolean {
    return at.has("conv_A.weight");
  }
  protected override stateName(field: string): string {
    return { convA: "conv_A", convB: "conv_B", convD: "conv_D" }[field] ?? super.stateName(field);
  }

  /** Of rows (N,d): how much each number of z, and each expert's bias, counts, (N,2h+2) f32: the first expert's h times, the second's, then both once. */
  weights(rows: Tensor): Tensor {
    const { hidden, temperature } = this.#options;
    // A softmax of two is a sigmoid of their difference.
    const sign = (expert: number) => (expert ? [-1 / temperature, 1 / temperature] : [1 / temperature, -1 / temperature]);
    const pick = Array.from({ length: 2 * hidden + 2 }, (_, i) => sign(i < hidden || i === 2 * hidden ? 0 : 1)).flat();
    const differences = Tensor.from(Float32Array.from(pick), [2 * hidden + 2, 2], { device: rows.device });
    const exact = rows.dtype === "f32" ? rows : cast(rows, "f32");
    return activation(linear(this.expertWeights.forward(exact), differences), "sigmoid");
  }

  /** In the dtype of the rows that they meet; put together in that of the parameters, as gradients of weights are. */
  parts(like: Tensor): MixtureParts {
    const { width, hidden, groups, scale } = this.#options;
    const a = this.convA.weight.reshape([hidden, width]);
    const { bias } = this.convA;
    const made = (values: Float32Array, shape: readonly number[]) => matching(Tensor.from(values, shape, { device: like.device }), a);
    const expert = ({ weight }: Pointwise) => new Array<Tensor>(groups).fill(weight.reshape([width, hidden / groups]));
    const biases = [this.convB, this.convD].map((conv) => conv.bias.reshape([width, 1]));
    const columns = concat([...expert(this.convB), ...expert(this.convD), ...biases], 1);
    return {
      down: matching(concat([a, a, made(new Float32Array(2 * width), [2, width])], 0), like),
      downBias: matching(concat([bias, bias, made(new Float32Array(2).fill(1), [2])], 0), like),
      up: matching(mul(columns, made(blocks(width, hidden, groups, scale), [width, 2 * hidden + 2])), like),
    };
  }

  /** x (…,d) and weights for each of its rows, or the same for all of a batch of one. */
  forward(x: Tensor, weights: Tensor, { down, downBias, up }: MixtureParts): Tensor {
    const { width, dropout: p } = this.#options;
    const rows = x.reshape([x.size / width, width]);
    const z = this.training && p > 0 ? this.#dropped(rows) : linear(rows, down, downBias);
    return add(x, linear(mul(z, matching(weights, z)), up).reshape(x.shape));
  }

  /** Both experts read the same z, of which the same numbers are left out. */
  #dropped(rows: Tensor): Tensor {
    const { width, hidden, dropout: p } = this.#options;
    const { weight, bias } = this.convA;
    const z = dropout(linear(rows, matching(weight, rows).reshape([hidden, width]), matching(bias, rows)), p);
    return concat([z, z, matching(Tensor.full([rows.shape[0] as number, 2], 1, { device: rows.device }), rows)], 1);
  }
}

/** Which of all products are there: an output of group g reads the numbers of z of group g. */
function blocks(width: number, hidden: number, groups: number, scale: number): Float32Array {
  const columns = 2 * hidden + 2;
  const mask = new Float32Array(width * columns);
  for (let o = 0; o < width; ++o) {
    const group = Math.floor((o * groups) / width);
    for (let i = 0; i < columns; ++i)
      mask[o * columns + i] = i >= 2 * hidden || Math.floor(((i % hidden) * groups) / hidden) === group ? scale : 0;
  }
  return mask;
}

/** weights (N,·) for the T rows of each of N items, (N·T,·). */
export function forEachRow(weights: Tensor, T: number): Tensor {
  if (T === 1) return weights;
  const count = (weights.shape[0] as number) * T;
  const index = Int32Array.from({ length: count }, (_, i) => Math.floor(i / T));
  return gatherRows(weights, Tensor.from(index, [count], { device: weights.device }));
}
