// Prefix tuning (arXiv 2101.00190) in a layer: learned keys and values before those of the tokens, as a cache would hold them. They stand where the lead says,
// and are not turned by a position.
import { Tensor } from "../core/tensor.js";
import { concat, gatherRows, sliceCopy } from "../ops/index.js";
import { BetweenSteps } from "./between.js";
import { matching } from "./module.js";
import type { Attending } from "./prompted-attention.js";
import type { Heads, Sequence } from "./sequence.js";

export class PrefixedAttention extends BetweenSteps {
  /** Of its key among all layers' keys and values, which alternate. */
  readonly #first: number;
  readonly #disposed: () => void;

  /** `disposed` is called when the model goes. */
  constructor(base: Attending, owner: string, layer: number, disposed: () => void) {
    super(base, owner);
    this.#first = 2 * layer;
    this.#disposed = disposed;
  }

  /** In the first step they stand before the others; a cache holds them from there on. */
  attend({ q, k, v }: Heads, s: Sequence): Tensor {
    const keys = this.enabled && s.lead?.keys;
    if (!keys) return this.inner.attend({ q, k, v }, s);
    const index = Tensor.from(new Int32Array(k.shape[0] as number), [k.shape[0] as number], { device: k.device });
    const before = (x: Tensor, i: number) => concat([this.#own(keys, this.#first + i, x, index), x], 1);
    return this.inner.attend({ q, k: before(k, 0), v: before(v, 1) }, s);
  }

  /** Of keys (1,n,2·L·K·D) the i-th part, for each row: (B,n,K,D). */
  #own(keys: Tensor, i: number, like: Tensor, index: Tensor): Tensor {
    const [B, , K, D] = like.shape as [number, number, number, number];
    const n = keys.shape[1] as number;
    const part = matching(sliceCopy(keys, 2, i * K * D, K * D), like);
    if (B === 1) return part.reshape([1, n, K, D]);
    return gatherRows(part.reshape([1, n * K * D]), index).reshape([B, n, K, D]);
  }

  override dispose(): void {
    super.dispose();
    this.#disposed();
  }
}
