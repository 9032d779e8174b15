// LaVIN's mixture between norm and self-attention (arXiv 2305.15023): in a decoder a row that nobody sees chooses the experts, and what it chose is kept for the
// tokens that follow; in an image tower the class token chooses.
import { expected } from "../core/errors.js";
import { scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { sliceCopy } from "../ops/index.js";
import { Wrap } from "./layer.js";
import { forEachRow, Mixture, type MixtureOptions, type MixtureParts } from "./mixture.js";
import { matching } from "./module.js";
import type { Attention } from "./pre-adapter.js";
import type { Sequence } from "./sequence.js";
import type { Weights } from "./weights.js";

/** class: by the first row of each item. published: each place by its own row, in towers; the released code let the first picture of a batch choose for all. */
export type Routing = "class" | "published";

export class MixedAttention extends Wrap<Attention<[Sequence?]>> {
  adapterAttn: Mixture;

  constructor(
    at: Weights,
    base: Attention<[Sequence?]>,
    owner: string,
    options: MixtureOptions,
    readonly routing: Routing,
  ) {
    super(base, owner);
    this.adapterAttn = new Mixture(at, options);
  }

  /** x (B,T,C) → (B,T,C). */
  forward(x: Tensor, sequence?: Sequence): Tensor {
    if (!this.enabled) return this.inner.forward(x, sequence);
    return this.inner.forward(
      scope(() => this.#mixed(x, sequence)),
      sequence,
    );
  }

  #mixed(x: Tensor, sequence: Sequence | undefined): Tensor {
    const [N, T, C] = x.shape as [number, number, number];
    const { adapterAttn } = this;
    if (!sequence && this.routing === "published") {
      if (N > 1)
        throw expected(
          "E_VALUE",
          "LaVIN's published routing",
          "one picture at a time, since its first one chooses for all",
          N,
          'ask for one after the other, or take routing: "class"',
        );
      return adapterAttn.forward(x, adapterAttn.weights(x.reshape([T, C])), adapterAttn.parts(x));
    }
    const { weights, ...parts } = this.#chosen(x, sequence);
    return adapterAttn.forward(x, forEachRow(weights, T), parts);
  }

  /** Made with the first token; the cache keeps it for the others. */
  #chosen(x: Tensor, sequence: Sequence | undefined): MixtureParts & { weights: Tensor } {
    const { cache, step } = sequence ?? {};
    if (cache && step !== "first") {
      const [weights, down, downBias, up] = cache.kept(this);
      if (weights && down && downBias && up) return { weights, down, downBias, up };
      throw expected("E_CACHE_SHORTENED", "LaVIN", "a cache that began with its row", "one that was filled without", "begin a new one");
    }
    const first = sliceCopy(x, 1, 0, 1).reshape([x.shape[0] as number, x.shape[2] as number]);
    const weights = this.adapterAttn.weights(first);
    const { down, downBias, up } = this.adapterAttn.parts(x);
    cache?.keep(this, [matching(weights, x)], [down, downBias, up]);
    return { weights, down, downBias, up };
  }
}
