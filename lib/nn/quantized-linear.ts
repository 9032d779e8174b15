import type { Tensor } from "../core/tensor.js";
import { linearEightBit, roundsInputs } from "../ops/eight-bit.js";
import { linearQuantized } from "../ops/index.js";
import type { LayerMember, LinearLayer, LinearLayerOptions } from "./linear.js";
import { Module, matching, StateError } from "./module.js";
import { QuantizedWeight } from "./quantized-weight.js";
import { fanIn, type Weights } from "./weights.js";

/** A linear layer over a frozen quantised weight: gradients flow to x and to the bias, never to the weight. */
export class QuantizedLinear extends Module implements LinearLayer {
  readonly #weight: QuantizedWeight;
  bias: Tensor | undefined; // (O)

  constructor(weight: QuantizedWeight, bias?: Tensor) {
    super();
    this.#weight = weight;
    this.bias = bias;
  }

  /** The quantised layer that `at` holds or asks for; undefined where it is dense. */
  static stored(
    at: Weights,
    inFeatures: number,
    outFeatures: number,
    { bias = true }: LinearLayerOptions = {},
  ): QuantizedLinear | undefined {
    const weight = QuantizedWeight.stored(at, outFeatures, inFeatures) ?? quantizedNow(at, outFeatures, inFeatures);
    const asked = at.quantization?.format;
    if (weight && asked && weight.format !== asked)
      throw new StateError(`"${at.prefix}" in ${asked} as asked for`, `a checkpoint in ${weight.format}`);
    return weight && new QuantizedLinear(at.owns(weight), bias ? at.parameter("bias", [outFeatures], fanIn(inFeatures)) : undefined);
  }

  get weight(): QuantizedWeight {
    return this.#weight;
  }
  protected override frozen(): readonly Tensor[] {
    return this.#weight.tensors();
  }
  get inFeatures(): number {
    return this.#weight.inFeatures;
  }
  get outFeatures(): number {
    return this.#weight.outFeatures;
  }

  forward(x: Tensor): Tensor {
    const bias = this.bias && matching(this.bias, x);
    if (roundsInputs()) return linearEightBit(x, [this.#weight], bias && [bias])[0] as Tensor;
    return linearQuantized(x, this.#weight, bias);
  }

  member(x: Tensor): LayerMember {
    return { weight: this.#weight, bias: this.bias && matching(this.bias, x), branch: undefined };
  }

  override dispose(): void {
    super.dispose();
    this.#weight.dispose();
  }
}

function quantizedNow(at: Weights, outFeatures: number, inFeatures: number): QuantizedWeight | undefined {
  if (!at.quantization) return undefined;
  using dense = at.dense("weight", [outFeatures, inFeatures], fanIn(inFeatures));
  return QuantizedWeight.quantize(dense, at.quantization);
}
