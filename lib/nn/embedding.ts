import type { Tensor } from "../core/tensor.js";
import { cast, embedding } from "../ops/index.js";
import { Module } from "./module.js";
import type { Weights } from "./weights.js";

/** Rows of a table by id.*/
export class Embedding extends Module {
  weight: Tensor; // (V,C)
  readonly #dtype: "f32" | "bf16";
  readonly #padding: number | undefined;

  /** `padding`: a row that stands for no word, so that looking it up teaches it nothing. */
  constructor(at: Weights, rows: number, width: number, { std = 0.02, padding }: { std?: number; padding?: number | undefined } = {}) {
    super();
    this.#dtype = at.dtype;
    this.#padding = padding;
    this.weight = at.parameter("weight", [rows, width], { normal: std });
  }

  /** The row that learns nothing. */
  get padding(): number | undefined {
    return this.#padding;
  }

  /** (…,C) in the compute dtype for ids (…) i32. */
  forward(ids: Tensor): Tensor {
    const { weight } = this;
    return embedding(ids, weight.dtype === this.#dtype ? weight : cast(weight, this.#dtype), this.#padding);
  }
}
