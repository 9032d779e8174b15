// The tape: which op made a tensor, from what. Walking back over it is autograd.ts's, which makes tensors; here they are only named, so that a tensor may
// know the tape.
import { collected } from "./collected.js";
import { type Handle, native } from "./native.js";
import { enrollHolder } from "./scope.js";
import type { Tensor } from "./tensor.js";

/** Where a tensor stands: output `slot` of `node`. */
export interface Edge {
  readonly node: Node;
  readonly slot: number;
}

/** Gives a buffer that the op ADDS the gradient of input `i` to (f32), or undefined when that input wants none. */
export type Into = (i: number) => Tensor | undefined;
/** Gradients of the outputs (undefined where none arrived) to gradients of the inputs; undefined where none, or where `into` took it. */
export type Backward = (grads: readonly (Tensor | undefined)[], into: Into) => readonly (Tensor | undefined)[];

type Parent = { edge: Edge; shape: readonly number[] } | { leaf: Tensor } | undefined;

let made = 0;
let enabled = true;
/** What ran under noGrad wanted gradients: checkpoint() needs to know. */
let wanted = false;
/** Aliases made by save() since the last record(). */
let saved: Tensor[] = [];

export class Node {
  readonly id = ++made;
  readonly grads: (Tensor | undefined)[];
  #freed = false;
  constructor(
    outputs: number,
    readonly parents: readonly Parent[],
    readonly backward: Backward | undefined,
    private readonly saved: readonly Tensor[],
  ) {
    this.grads = new Array(outputs).fill(undefined);
    enrollHolder(this);
    if (saved.length) collected.register(this, saved.map((t) => t.handle) as Handle[], this);
  }
  get freed(): boolean {
    return this.#freed;
  }
  free(): void {
    if (this.#freed) return;
    this.#freed = true;
    if (this.saved.length) {
      collected.unregister(this);
      native().tensor_dispose(this.saved.map((t) => t.release()));
    }
    for (const [slot, grad] of this.grads.entries()) {
      if (grad && !grad.disposed) grad.dispose();
      this.grads[slot] = undefined;
    }
  }
}

/** Do ops record what a backward needs? Not inside of noGrad(). */
export function isGradEnabled(): boolean {
  return enabled;
}

/** Ops inside record nothing. */
export function noGrad<T>(fn: () => T): T {
  return withGrad(false, fn);
}
export function withGrad<T>(on: boolean, fn: () => T): T {
  const before = setGrad(on);
  try {
    return fn();
  } finally {
    enabled = before;
  }
}

/** Does a gradient have to reach this input? */
export function wantsGrad(tensor: Tensor | undefined): tensor is Tensor {
  return enabled && tensor?.requiresGrad === true;
}

/** Switches recording; what it was before. For who must set it back by hand: between two turns others may record. */
export function setGrad(on: boolean): boolean {
  const before = enabled;
  enabled = on;
  return before;
}

/** Runs `fn`, and tells whether it would have recorded anything, had it not been under noGrad. */
export function wantedBy<T>(fn: () => T): { result: T; wanted: boolean } {
  const outer = wanted;
  wanted = false;
  try {
    const result = fn();
    return { result, wanted };
  } finally {
    wanted = outer;
  }
}

/** Belongs to the node that is being recorded, until backward has passed it. */
export function saveForNode(alias: Tensor): void {
  saved.push(alias);
}

/**
 * Puts an op on the tape when one of its inputs requires a gradient. `prepare` is called only then: it saves what backward needs and returns
 * the backward closure. Returns `outputs` as given.
 */
export function record<T extends Tensor | readonly Tensor[]>(
  outputs: T,
  inputs: readonly (Tensor | undefined)[],
  prepare: () => Backward,
): T {
  if (!inputs.some((t) => t?.requiresGrad)) return outputs;
  if (!enabled) {
    wanted = true;
    return outputs;
  }
  const outer = saved;
  saved = [];
  let node: Node;
  try {
    const backward = prepare();
    const list = (Array.isArray(outputs) ? outputs : [outputs]) as readonly Tensor[];
    node = new Node(list.length, inputs.map(parentOf), backward, saved);
    for (const [slot, tensor] of list.entries()) {
      tensor.edge = { node, slot };
      tensor.requiresGrad = true;
    }
  } catch (error) {
    for (const alias of saved) alias.dispose(); // no node owns them
    throw error;
  } finally {
    saved = outer;
  }
  return outputs;
}

export function parentOf(input: Tensor | undefined): Parent {
  if (!input?.requiresGrad) return undefined;
  return input.edge ? { edge: input.edge, shape: input.shape } : { leaf: input };
}
