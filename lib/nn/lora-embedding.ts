// LoRA on a table that is looked up in: rows of W + scaling · (B·A)ᵀ, of which those that are asked for are made. A begins as zeros, B at random.
import { noGrad } from "../core/autograd.js";
import { built, keep, scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { embedding, linear, scaleAdd, transposeCopy } from "../ops/index.js";
import type { Dense } from "./fold.js";
import { type Plain, Wrap } from "./layer.js";
import type { LoraLinearOptions } from "./lora.js";
import { matching } from "./module.js";
import { type Weights, zeros } from "./weights.js";

export interface LoraEmbeddingOptions extends Pick<LoraLinearOptions, "r" | "scaling" | "adapterName" | "owner"> {
  /** (V,C) of the table. */
  shape: readonly [rows: number, width: number];
  /** A row that learns nothing from being looked up. */
  padding?: number | undefined;
}

export class LoraEmbedding extends Wrap<Plain> {
  readonly scaling: number;
  readonly padding: number | undefined;
  readonly commutes: boolean = true;
  loraEmbeddingA: Tensor; // (r,V)
  loraEmbeddingB: Tensor; // (C,r)
  /** A by rows (V,r), made once while it does not train. */
  #fixed: Tensor | undefined;

  constructor(at: Weights, base: Plain, { r, scaling, adapterName, owner = "default", shape: [V, C], padding }: LoraEmbeddingOptions) {
    super(base, owner);
    this.scaling = scaling;
    this.padding = padding;
    const infix = adapterName === undefined ? "" : `.${adapterName}`;
    this.loraEmbeddingA = at.parameter(`lora_embedding_A${infix}`, [r, V], zeros);
    this.loraEmbeddingB = at.parameter(`lora_embedding_B${infix}`, [C, r], { normal: 1 });
  }

  protected override ownName(field: string): string {
    return { loraEmbeddingA: "lora_embedding_A", loraEmbeddingB: "lora_embedding_B" }[field] ?? super.ownName(field);
  }

  /** (…,C) for ids (…) i32. */
  forward(ids: Tensor): Tensor {
    const y = this.inner.forward(ids);
    if (!this.enabled) return y;
    const low = embedding(ids, this.#rows(y), this.padding);
    return scaleAdd(linear(low, matching(this.loraEmbeddingB, y)), y, this.scaling, 1);
  }

  #rows(like: Tensor): Tensor {
    const { loraEmbeddingA: a } = this;
    const byRows = () => matching(transposeCopy(a, 0, 1), like);
    if (a.requiresGrad) {
      this.settle();
      return byRows();
    }
    if (this.#fixed?.dtype !== like.dtype) {
      this.settle();
      this.#fixed = built(() => noGrad(() => scope(() => keep(byRows()))));
    }
    return this.#fixed;
  }
  /** Its numbers are others than before. */
  settle(): void {
    this.#fixed?.dispose();
    this.#fixed = undefined;
  }

  fold({ weight, bias }: Dense): Dense {
    const { loraEmbeddingA: a, loraEmbeddingB: b } = this;
    const change = linear(transposeCopy(a, 0, 1), b); // (V,C)
    return { weight: scaleAdd(change, matching(weight, change), this.scaling, 1), bias };
  }

  /** What it has made beside its parameters. */
  protected free(): void {
    this.settle();
  }
  override release(): void {
    super.release();
    this.free();
  }
  override dispose(): void {
    super.dispose();
    this.free();
  }
}
