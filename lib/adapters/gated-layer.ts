// A decoder layer that looks at media beside the text before it goes on (Flamingo, arXiv 2204.14198, figure 4): the block stands around the layer.
import { scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { DEFAULT_OWNER, type Layer, Wrap } from "../nn/layer.js";
import type { Sees, Sequence } from "../nn/sequence.js";
import type { Found, GatedBlock } from "./gated-cross-attention.js";

export class GatedLayer extends Wrap<Layer> implements Layer {
  gatedCrossAttn: GatedBlock;

  constructor(
    base: Layer,
    block: GatedBlock,
    owner = DEFAULT_OWNER,
    readonly sees: Sees = "latest",
  ) {
    super(base, owner);
    this.gatedCrossAttn = block;
  }

  forward(x: Tensor, sequence: Sequence): Tensor {
    const { inner } = this;
    if (!this.enabled) return inner.forward(x, sequence);
    return scope(() => inner.forward(this.gatedCrossAttn.gated(x, this.#found(sequence)), sequence));
  }

  /** New media are read, and kept where there is a cache; behind them their keys and values are what they were. */
  #found({ beside, cache }: Sequence): Found | undefined {
    const { rows, seen } = beside ?? {};
    if (rows) {
      // A view of its own gathers the gradients of keys and values, which so add up in one order whether the layer is recomputed or not.
      const own = this.gatedCrossAttn.keysOf(rows.reshape(rows.shape));
      cache?.keep(this, [own.k, own.v]);
      return { ...own, bias: seen };
    }
    const [k, v] = cache?.kept(this) ?? [];
    return k && v && { k, v, range: seen };
  }
}
