import type { Tensor } from "../core/tensor.js";
import { gru } from "../ops/index.js";
import { Module, matching } from "./module.js";
import { fanIn, type Weights } from "./weights.js";

/** One layer of torch.nn.GRU with batch_first and h0 = 0; f32 throughout. */
export class GRU extends Module {
  weightIh: Tensor; // (3H,I), gates r, z, n
  weightHh: Tensor; // (3H,H)
  biasIh: Tensor; // (3H)
  biasHh: Tensor; // (3H)

  constructor(at: Weights, inputs: number, hidden: number) {
    super();
    const init = fanIn(hidden);
    this.weightIh = at.parameter("weight_ih_l0", [3 * hidden, inputs], init);
    this.weightHh = at.parameter("weight_hh_l0", [3 * hidden, hidden], init);
    this.biasIh = at.parameter("bias_ih_l0", [3 * hidden], init);
    this.biasHh = at.parameter("bias_hh_l0", [3 * hidden], init);
  }

  protected override stateName(field: string): string {
    return `${super.stateName(field)}_l0`;
  }

  /** All states (B,T,H) of x (B,T,I). */
  forward(x: Tensor): Tensor {
    const [wIh, wHh, bIh, bHh] = [this.weightIh, this.weightHh, this.biasIh, this.biasHh].map((p) => matching(p, x)) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
    ];
    return gru(x, wIh, wHh, bIh, bHh);
  }
}
