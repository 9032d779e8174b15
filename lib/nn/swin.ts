// Swin's blocks (arXiv 2103.14030) under the names of transformers' Swin and CLAP: attention inside of windows, every second block with
// windows shifted by half, and patch merging between stages.
import type { Device } from "../core/device.js";
import { keep, scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { type ActivationKind, activation, add, attention, cast, gatherRows, transposeCopy } from "../ops/index.js";
import { dropped } from "./dropped.js";
import { Linear } from "./linear.js";
import { Module } from "./module.js";
import { LayerNorm } from "./norm.js";
import type { Weights } from "./weights.js";
import { BatchIndex, mergePlan, relativePositions, windowPlan } from "./window.js";

export interface SwinOptions {
  window: number;
  mlpRatio: number;
  activation: ActivationKind;
  qkvBias: boolean;
  layerNormEps: number;
  /** After the feed-forward, in training. */
  dropout: number;
}
type Grid = readonly [height: number, width: number];

/** The moves of one grid, and what they hide; shared by the blocks that move alike. */
class Windows {
  readonly count: number;
  readonly area: number;
  /** Undefined where the tokens stand right already. */
  readonly into: BatchIndex | undefined;
  readonly back: BatchIndex | undefined;
  /** On the device once they are needed: a model that fails to load leaves nothing there. */
  #relative: Tensor | undefined; // (area²) i32
  #mask: Tensor | undefined; // (count,H,area,area) f32
  readonly #hidden: Float32Array | undefined; // (count,area,area)
  readonly #window: number;

  constructor(
    private readonly device: Device,
    [height, width]: Grid,
    window: number,
    shift: number,
  ) {
    const { count, into, back, mask, identity } = windowPlan(height, width, window, shift);
    const area = window * window;
    this.count = count;
    this.area = area;
    if (!identity) {
      this.into = new BatchIndex(device, into, height * width);
      this.back = new BatchIndex(device, back, count * area);
    }
    this.#window = window;
    this.#hidden = mask;
  }

  /** (count or 1,H,area,area) f32 from the table (rows,H). */
  bias(table: Tensor): Tensor {
    const { area, count, device } = this;
    const heads = table.shape[1] as number;
    this.#relative ??= keep(Tensor.from(relativePositions(this.#window), [area * area], { device }));
    if (this.#hidden) this.#mask ??= keep(Tensor.from(overHeads(this.#hidden, count, heads), [count, heads, area, area], { device }));
    const rows = gatherRows(table.dtype === "f32" ? table : cast(table, "f32"), this.#relative);
    const bias = transposeCopy(rows, 0, 1).reshape([heads, area, area]);
    return this.#mask ? add(this.#mask, bias) : bias.reshape([1, heads, area, area]);
  }
  dispose(): void {
    this.into?.dispose();
    this.back?.dispose();
    this.#relative?.dispose();
    this.#mask?.dispose();
    this.#relative = this.#mask = undefined;
  }
}

function overHeads(mask: Float32Array, count: number, heads: number): Float32Array {
  const size = mask.length / count;
  const wide = new Float32Array(mask.length * heads);
  for (let i = 0; i < count * heads; ++i)
    wide.set(mask.subarray(Math.floor(i / heads) * size, (Math.floor(i / heads) + 1) * size), i * size);
  return wide;
}

export class WindowAttention extends Module {
  query: Linear;
  key: Linear;
  value: Linear;
  relativePositionBiasTable: Tensor; // ((2·window-1)²,H)
  dense: Linear;
  readonly window: number;
  readonly #heads: number;

  constructor(at: Weights, width: number, heads: number, { window, qkvBias }: SwinOptions) {
    super();
    const place = (field: string) => at.at(this.stateName(field));
    this.window = window;
    this.#heads = heads;
    this.query = new Linear(place("query"), width, width, { bias: qkvBias });
    this.key = new Linear(place("key"), width, width, { bias: qkvBias });
    this.value = new Linear(place("value"), width, width, { bias: qkvBias });
    this.relativePositionBiasTable = at.parameter(this.stateName("relativePositionBiasTable"), [(2 * window - 1) ** 2, heads], {
      normal: 0.02,
    });
    const index = "self.relative_position_index"; // a buffer that follows from the window
    if (at.has(index)) at.take(index);
    this.dense = new Linear(place("dense"), width, width);
  }

  protected override stateName(field: string): string {
    return field === "dense" ? "output.dense" : `self.${super.stateName(field)}`;
  }

  /** x (N,L,C) → (N,L,C). Padding is zeros before the projections, so padded keys are the biases. */
  forward(x: Tensor, windows: Windows): Tensor {
    const [N, L, C] = x.shape as [number, number, number];
    const heads = this.#heads;
    const flat = x.reshape([N * L, C]);
    const rows = windows.into ? gatherRows(flat, windows.into.for(N)) : flat;
    const split = (y: Tensor) => y.reshape([N * windows.count, windows.area, heads, C / heads]);
    const q = split(this.query.forward(rows));
    const k = split(this.key.forward(rows));
    const v = split(this.value.forward(rows));
    const y = attention(q, k, v, { bias: windows.bias(this.relativePositionBiasTable) }).reshape([-1, C]);
    return this.dense.forward(windows.back ? gatherRows(y, windows.back.for(N)) : y).reshape([N, L, C]);
  }
}

class SwinBlock extends Module {
  layernormBefore: LayerNorm;
  attention: WindowAttention;
  layernormAfter: LayerNorm;
  intermediate: Linear;
  output: Linear;
  readonly #options: SwinOptions;

  constructor(at: Weights, width: number, heads: number, options: SwinOptions) {
    super();
    this.#options = options;
    const hidden = Math.trunc(options.mlpRatio * width);
    this.layernormBefore = new LayerNorm(at.at("layernorm_before"), width, options.layerNormEps);
    this.attention = new WindowAttention(at.at("attention"), width, heads, options);
    this.layernormAfter = new LayerNorm(at.at("layernorm_after"), width, options.layerNormEps);
    this.intermediate = new Linear(at.at(this.stateName("intermediate")), width, hidden);
    this.output = new Linear(at.at(this.stateName("output")), hidden, width);
  }

  protected override stateName(field: string): string {
    return field === "intermediate" || field === "output" ? `${field}.dense` : super.stateName(field);
  }

  forward(x: Tensor, windows: Windows): Tensor {
    return scope(() => {
      const { activation: kind, dropout: p } = this.#options;
      const h = add(x, this.attention.forward(this.layernormBefore.forward(x), windows));
      const y = this.output.forward(activation(this.intermediate.forward(this.layernormAfter.forward(h)), kind));
      return add(h, dropped(this, y, p));
    });
  }
}

/** 2 × 2 tokens side by side, normed, and from 4C to 2C. */
class PatchMerging extends Module {
  norm: LayerNorm;
  reduction: Linear;
  readonly #cells: BatchIndex;

  constructor(at: Weights, width: number, [height, across]: Grid) {
    super();
    this.norm = new LayerNorm(at.at("norm"), 4 * width);
    this.reduction = new Linear(at.at("reduction"), 4 * width, 2 * width, { bias: false });
    this.#cells = new BatchIndex(at.device, mergePlan(height, across), height * across);
  }

  forward(x: Tensor): Tensor {
    const [N, L, C] = x.shape as [number, number, number];
    return scope(() => {
      const cells = gatherRows(x.reshape([N * L, C]), this.#cells.for(N));
      return this.reduction.forward(this.norm.forward(cells.reshape([N, L / 4, 4 * C])));
    });
  }
  override dispose(): void {
    super.dispose();
    this.#cells.dispose();
  }
}

export interface SwinStageOptions extends SwinOptions {
  width: number;
  depth: number;
  heads: number;
  grid: Grid;
  /** Ends in patch merging. */
  downsample: boolean;
}

export class SwinStage extends Module {
  blocks: SwinBlock[];
  downsample: PatchMerging | undefined;
  readonly #plain: Windows;
  readonly #shifted: Windows | undefined;

  constructor(at: Weights, options: SwinStageOptions) {
    super();
    const { width, depth, heads, grid, window } = options;
    this.blocks = Array.from({ length: depth }, (_, i) => new SwinBlock(at.at("blocks").at(i), width, heads, options));
    this.downsample = options.downsample ? new PatchMerging(at.at("downsample"), width, grid) : undefined;
    this.#plain = new Windows(at.device, grid, window, 0);
    // One window over the whole grid has nothing to be shifted against.
    const shifts = depth > 1 && Math.min(...grid) > window && window > 1;
    this.#shifted = shifts ? new Windows(at.device, grid, window, window >> 1) : undefined;
  }

  /** x (N,L,C) → (N,L,C), or (N,L/4,2C) with patch merging. `run` may recompute a block in backward instead of keeping what it made. */
  forward(x: Tensor, run: (block: (x: Tensor) => Tensor, x: Tensor) => Tensor = (block, y) => block(y)): Tensor {
    let h = x;
    const step = (next: Tensor) => {
      if (h !== x) h.dispose(); // the tape holds what backward needs
      h = next;
    };
    for (const [i, block] of this.blocks.entries()) {
      const windows = i % 2 && this.#shifted ? this.#shifted : this.#plain;
      step(run((y) => block.forward(y, windows), h));
    }
    if (this.downsample) step(this.downsample.forward(h));
    return h;
  }
  override dispose(): void {
    super.dispose();
    this.#plain.dispose();
    this.#shifted?.dispose();
  }
}
