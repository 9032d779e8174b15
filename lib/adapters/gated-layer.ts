// A decoder layer that looks at media beside the text before it goes on (Flamingo, arXiv 2204.14198, figure 4): the block stands around the layer.
import { scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { foundBeside } from "../nn/beside.js";
import { DEFAULT_OWNER, type Layer, Wrap } from "../nn/layer.js";
import type { Sees, Sequence } from "../nn/sequence.js";
import type { GatedBlock } from "./gated-cross-attention.js";

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
    const found = () => foundBeside(this, sequence, (rows) => this.gatedCrossAttn.keysOf(rows));
    return scope(() => inner.forward(this.gatedCrossAttn.gated(x, found()), sequence));
  }
}
