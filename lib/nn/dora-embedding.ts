// DoRA (arXiv 2402.09353) on a table that is looked up in, as PEFT has it: the lengths are those of its columns, one for each number of a row, since a table's rows
// are what a layer's inputs are elsewhere. No second table is made: of a column w with b of B, its square is ‖w‖² + 2s·b·(A w) + s²·b·(A Aᵀ) b.
import type { Tensor } from "../core/tensor.js";
import { mul } from "../ops/index.js";
import { columnProducts, columnSquares } from "./dense-rows.js";
import { wide } from "./dora.js";
import { branchSquares, DoraScale, MAGNITUDE, magnitudeOf } from "./dora-scale.js";
import type { Embedding } from "./embedding.js";
import type { Dense } from "./fold.js";
import { innermost, type Plain } from "./layer.js";
import { LoraEmbedding, type LoraEmbeddingOptions } from "./lora-embedding.js";
import { matching } from "./module.js";
import type { Weights } from "./weights.js";

export class DoraEmbedding extends LoraEmbedding {
  magnitude: Tensor; // (C)
  readonly #scale = new DoraScale({
    magnitude: () => this.magnitude,
    branch: () => [this.loraEmbeddingA, this.loraEmbeddingB],
    weight: () => ({ of: this.#table, trains: this.#table.requiresGrad }),
    squares: () => columnSquares(this.#table),
    more: () => {
      const [a, b] = [this.loraEmbeddingA, this.loraEmbeddingB].map(wide) as [Tensor, Tensor];
      return branchSquares(a, b, columnProducts(this.#table, a), this.scaling);
    },
  });
  override readonly commutes: boolean = false;
  /** Its divisor is of the table itself, so nothing below may become part of that. */
  readonly measuresBase = true;

  constructor(at: Weights, base: Plain, options: LoraEmbeddingOptions) {
    super(at, base, options);
    this.magnitude = magnitudeOf(at, options, options.shape[1], this.loraEmbeddingA, this.#scale);
  }

  protected override ownName(field: string): string {
    return field === "magnitude" ? MAGNITUDE : super.ownName(field);
  }
  get #table(): Tensor {
    return (innermost(this.base) as Embedding).weight;
  }

  override forward(ids: Tensor): Tensor {
    const y = super.forward(ids);
    return this.enabled ? this.#scale.scaled(y) : y;
  }
  override settle(): void {
    super.settle();
    this.#scale.settle();
  }

  override fold(inside: Dense): Dense {
    const { weight, bias } = super.fold(inside);
    return { weight: mul(weight, matching(this.#scale.factor(), weight)), bias };
  }
  protected override free(): void {
    super.free();
    this.#scale.dispose();
  }
}
