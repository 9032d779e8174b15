// Early fusion of LLaMA-Adapter V2 (arXiv 2304.15010, section 3.3): in the first layers the rows of a picture stand where prompts stand in the last ones. The
// queries attend to them with a softmax of their own, their keys are not turned by a position, and what they give enters through a gate that starts at 0.
// Without a picture the layer is the bare one.
import type { Tensor } from "../core/tensor.js";
import { attention, tanhGate } from "../ops/index.js";
import { foundBeside } from "./beside.js";
import { BetweenSteps } from "./between.js";
import { matching } from "./module.js";
import type { Attending } from "./prompted-attention.js";
import type { Heads, Sequence } from "./sequence.js";

export class EarlyFusion extends BetweenSteps {
  earlyGate: Tensor; // (1,H,1,1)
  /** A picture has no place in the text. */
  readonly sees = "row";

  constructor(base: Attending, owner: string, gate: Tensor) {
    super(base, owner);
    this.earlyGate = gate;
  }

  attend(heads: Heads, s: Sequence): Tensor {
    const y = this.inner.attend(heads, s);
    const found = foundBeside(this, s, (rows) => this.inner.keysOf(matching(rows, heads.q)));
    if (!found) return y;
    const { k, v, ...seen } = found;
    return tanhGate(attention(heads.q, k, v, seen), y, this.earlyGate.reshape([this.earlyGate.size]));
  }
}
