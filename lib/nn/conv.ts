import type { Tensor } from "../core/tensor.js";
import { conv1d, conv2d } from "../ops/index.js";
import { Module, matching } from "./module.js";
import { fanIn, type Weights } from "./weights.js";

/** A convolution over time, as torch has it. */
export class Conv1d extends Module {
  weight: Tensor; // (O,I,k)
  bias: Tensor | undefined; // (O)
  readonly #options: { stride: number; padding: number; dilation: number };

  constructor(
    at: Weights,
    inChannels: number,
    outChannels: number,
    kernel: number,
    { stride = 1, padding = 0, dilation = 1, bias = true } = {},
  ) {
    super();
    this.#options = { stride, padding, dilation };
    this.weight = at.parameter("weight", [outChannels, inChannels, kernel], fanIn(inChannels * kernel));
    this.bias = bias ? at.parameter("bias", [outChannels], fanIn(inChannels * kernel)) : undefined;
  }

  /** x (B,I,L) → (B,O,L'). */
  forward(x: Tensor): Tensor {
    return conv1d(x, matching(this.weight, x), this.bias && matching(this.bias, x), this.#options);
  }
}

/** A convolution over a picture, as torch has it. */
export class Conv2d extends Module {
  weight: Tensor; // (O,I,kh,kw)
  bias: Tensor | undefined; // (O)
  readonly #options: { stride: [number, number]; padding: [number, number] };

  constructor(
    at: Weights,
    inChannels: number,
    outChannels: number,
    kernel: [number, number],
    { stride = [1, 1], padding = [0, 0], bias = true }: { stride?: [number, number]; padding?: [number, number]; bias?: boolean } = {},
  ) {
    super();
    this.#options = { stride, padding };
    const fan = inChannels * kernel[0] * kernel[1];
    this.weight = at.parameter("weight", [outChannels, inChannels, ...kernel], fanIn(fan));
    this.bias = bias ? at.parameter("bias", [outChannels], fanIn(fan)) : undefined;
  }

  /** x (B,I,H,W) → (B,O,H',W'). */
  forward(x: Tensor): Tensor {
    return conv2d(x, matching(this.weight, x), this.bias && matching(this.bias, x), this.#options);
  }
}
