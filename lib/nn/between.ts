// What stands around attention and does something between its steps: all of them are those of the layer below, unless a kind of its own says otherwise.
import type { Tensor } from "../core/tensor.js";
import { Wrap } from "./layer.js";
import type { Attending } from "./prompted-attention.js";
import type { Heads, Sequence } from "./sequence.js";

export abstract class BetweenSteps extends Wrap<Attending> implements Attending {
  /** x (B,T,C) → (B,T,C). */
  forward(x: Tensor, s: Sequence): Tensor {
    if (!this.enabled) return this.inner.forward(x, s);
    return this.out(this.attend(this.heads(x, s), s));
  }
  heads(x: Tensor, s: Sequence): Heads {
    return this.inner.heads(x, s);
  }
  keysOf(rows: Tensor): { k: Tensor; v: Tensor } {
    return this.inner.keysOf(rows);
  }
  out(y: Tensor): Tensor {
    return this.inner.out(y);
  }
  abstract attend(heads: Heads, s: Sequence): Tensor;
}
