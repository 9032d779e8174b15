import { noGrad, checkpoint as recompute } from "../core/autograd.js";
import type { Tensor } from "../core/tensor.js";
import { sliceCopy } from "../ops/index.js";
import { unchanged } from "./layer.js";
import { Module } from "./module.js";
import { VitBlock, type VitBlockConfig } from "./vit-block.js";
import { spellingOf, type VitNames } from "./vit-names.js";
import type { Weights } from "./weights.js";

/** Numbers of hidden states, 0 what the first block reads: which of them come back whole, and of which the first row of each item alone. */
export interface VitTaps {
  states?: readonly number[];
  classRows?: readonly number[];
  /** Blocks of this number on are on no tape: no gradient will come through them. Default: all may be walked. */
  walked?: number;
}
export interface VitStates {
  /** (N,T,C) each, in the order asked for. */
  states: Tensor[];
  /** (N,1,C) each. */
  classRows: Tensor[];
  /** What the last block gives. */
  last: Tensor;
}

/** A tower's blocks, one after the other. */
export class VitStack extends Module {
  blocks: VitBlock[];
  /** Recomputes each block in backward instead of keeping its activations. */
  gradientCheckpointing = false;
  readonly #field: string;

  constructor(at: Weights, names: VitNames, config: VitBlockConfig) {
    super();
    this.#field = spellingOf(names).list;
    this.blocks = Array.from({ length: config.layers }, (_, i) => new VitBlock(at.at(this.#field).at(i), names, config));
  }

  protected override stateName(field: string): string {
    return field === "blocks" ? this.#field : super.stateName(field);
  }

  forward(x: Tensor, { states = [], classRows = [], walked = Infinity }: VitTaps = {}): VitStates {
    const whole = new Map<number, Tensor>();
    const rows = new Map<number, Tensor>();
    const tap = (state: Tensor, index: number) => {
      if (states.includes(index)) whole.set(index, state);
      if (classRows.includes(index)) rows.set(index, sliceCopy(state, 1, 0, 1));
    };
    let last = x;
    tap(x, 0);
    for (const [i, block] of this.blocks.entries()) {
      const run = () => (this.gradientCheckpointing ? recomputed(block, last) : block.forward(last));
      const next = i < walked ? run() : noGrad(run);
      if (last !== x && last !== whole.get(i)) last.dispose(); // nobody outside sees it, and the tape holds what backward needs
      last = next;
      tap(last, i + 1);
    }
    const all = (taps: readonly number[], from: ReadonlyMap<number, Tensor>) => taps.map((index) => from.get(index) as Tensor);
    return { states: all(states, whole), classRows: all(classRows, rows), last };
  }
}

/** Backward runs the block again: with the adapters that it had, or not at all. */
function recomputed(block: VitBlock, x: Tensor): Tensor {
  const check = unchanged(block);
  return recompute((y) => {
    check();
    return block.forward(y);
  }, x);
}
