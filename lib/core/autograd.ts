// Reverse-mode gradients. Each differentiable op records a node: where its inputs came from, and a closure from the gradients of its outputs
// to those of its inputs. Nodes are numbered as they are made, so the descending order of numbers is a valid order for backward.
import { collected } from "./collected.js";
import { AnymalError, expected } from "./errors.js";
import { native } from "./native.js";
import { checkOptions } from "./options.js";
import { paced } from "./pace.js";
import { randomState, setRandomState } from "./random.js";
import { built, keep, scope } from "./scope.js";
import {
  type Backward,
  type Edge,
  type Into,
  isGradEnabled,
  Node,
  noGrad,
  parentOf,
  saveForNode,
  setGrad,
  wantedBy,
  withGrad,
} from "./tape.js";
import { dtypeCode, Tensor } from "./tensor.js";
import type { Pieces } from "./turns.js";

export { type Backward, type Edge, type Into, isGradEnabled, noGrad, record, wantsGrad } from "./tape.js";

/** An alias that the node being recorded owns until backward has passed it. */
export function save(tensor: Tensor): Tensor {
  const alias = keep(new Tensor(native().tensor_alias(tensor.handle), tensor.device));
  collected.unregister(alias);
  saveForNode(alias);
  return alias;
}

/** Adds what flows into a node's output. Takes `grad` over. */
function arrive({ node, slot }: Edge, grad: Tensor): void {
  const before = node.grads[slot];
  if (!before) {
    node.grads[slot] = keep(grad);
    return;
  }
  const sum = scope(() => {
    const [wide, other] =
      before.dtype === grad.dtype ? [before, grad] : before.dtype === "f32" ? [before, widened(grad)] : [widened(before), grad];
    return new Tensor(native().add(wide.handle, other.handle), wide.device);
  });
  node.grads[slot] = keep(sum);
  for (const t of [before, grad]) t.dispose();
}
function widened(t: Tensor): Tensor {
  return new Tensor(native().cast(t.handle, dtypeCode("f32")), t.device);
}

/** The leaf's f32 gradient buffer, zero at first. */
function gradOf(leaf: Tensor): Tensor {
  leaf.grad ??= keep(Tensor.zeros(leaf.shape, { device: leaf.device }));
  return leaf.grad;
}

/** Gradients of a scalar loss (or of any tensor, given its gradient) into `grad` of every leaf. Frees the tape as it passes. */
export function backward(loss: Tensor, grad?: Tensor): void {
  propagate([rootOf(loss, grad)]);
}

/** The same, but hands the event loop back every `sliceMs` milliseconds: a server that trains keeps answering. */
export async function backwardAsync(loss: Tensor, options: { grad?: Tensor; sliceMs?: number } = {}): Promise<void> {
  checkOptions("backwardAsync", options, ["grad", "sliceMs"]);
  await paced(loss.device, backwardInPieces(loss, options.grad), options.sliceMs);
}

/** The same for who runs the pieces. */
export const backwardInPieces = (loss: Tensor, grad?: Tensor): Pieces<void> => walk([rootOf(loss, grad)]);

interface Root {
  edge: Edge;
  grad: Tensor;
}

function rootOf(loss: Tensor, grad: Tensor | undefined): Root {
  if (!loss.edge) {
    if (loss.requiresGrad)
      throw new AnymalError("E_GRAD", "backward: expected the result of an op, got a leaf; its gradient is the one you would pass in");
    throw new AnymalError(
      "E_GRAD",
      "backward: expected a tensor that depends on one with requiresGrad, got one that does not; was it made inside noGrad(), or detached?",
    );
  }
  if (!grad && loss.size !== 1)
    throw expected("E_GRAD", "backward", "a loss of one element, or an explicit gradient", `shape [${loss.shape}]`, "sum() it first");
  if (grad && String(grad.shape) !== String(loss.shape))
    throw expected("E_SHAPE", "backward", `a gradient of shape [${loss.shape}]`, `[${grad.shape}]`);
  try {
    const seed = grad ? grad.detach() : Tensor.full(loss.shape, 1, { dtype: loss.dtype, device: loss.device });
    return { edge: loss.edge, grad: keep(seed) };
  } catch (error) {
    freeTape(loss); // as when a step of it fails
    throw error;
  }
}

function propagate(roots: readonly Root[]): void {
  for (const _ of walk(roots));
}

/** Passes gradients on, one node per turn. */
function* walk(roots: readonly Root[]): Pieces<void> {
  let order: Node[] = [];
  const waiting = new Set(roots.map(({ grad }) => grad));
  try {
    order = reachable(roots.map(({ edge }) => edge.node));
    for (const { edge, grad } of roots) {
      arrive(edge, grad);
      waiting.delete(grad);
    }
    for (const node of order) {
      const before = setGrad(false); // only while this runs: between two turns others may record
      try {
        if (node.grads.some((g) => g !== undefined)) step(node);
      } finally {
        setGrad(before);
      }
      if (node.backward) node.free(); // a node without one collects for its owner
      yield;
    }
  } finally {
    for (const node of order) if (node.backward) node.free();
    for (const grad of waiting) grad.dispose();
  }
}

/** Lets go of what the tape behind `loss` keeps: for who will not call backward() after all. */
export function freeTape(loss: Tensor): void {
  const seen = new Set<Node>();
  const stack = loss.edge ? [loss.edge.node] : [];
  for (let node = stack.pop(); node; node = stack.pop()) {
    if (seen.has(node) || node.freed) continue;
    seen.add(node);
    for (const parent of node.parents) if (parent && "edge" in parent) stack.push(parent.edge.node);
  }
  for (const node of seen) node.free();
}

/** Every node that gradients may pass, latest first. */
function reachable(roots: readonly Node[]): Node[] {
  const seen = new Set<Node>();
  const stack = [...roots];
  for (let node = stack.pop(); node; node = stack.pop()) {
    if (seen.has(node)) continue;
    if (node.freed)
      throw new AnymalError(
        "E_TAPE_FREED",
        "backward: this graph was walked before and freed itself; run the forward pass again, or add the losses and call backward once",
      );
    seen.add(node);
    for (const parent of node.parents) if (parent && "edge" in parent) stack.push(parent.edge.node);
  }
  return [...seen].sort((a, b) => b.id - a.id);
}

function step(node: Node): void {
  if (!node.backward) return;
  const { parents, grads, backward } = node;
  const buffers: (Tensor | undefined)[] = [];
  const into: Into = (i) => {
    const parent = parents[i];
    if (!parent) return undefined;
    if ("leaf" in parent) return gradOf(parent.leaf);
    buffers[i] ??= Tensor.zeros(parent.shape, { device: (grads.find((g) => g) as Tensor).device });
    return buffers[i];
  };
  // Intermediates of the closure go with the scope; gradients that are handed on leave it.
  const results = scope(() => {
    const out = backward(grads, into);
    return parents.map((parent, i) => {
      if (!parent) return undefined;
      const g = out[i];
      return [buffers[i], g && (grads.includes(g) || out.indexOf(g) < i ? g.detach() : g)] as const;
    });
  });
  try {
    for (const [i, parent] of parents.entries()) {
      for (const grad of results[i] ?? []) {
        if (!grad || !parent) continue;
        if ("leaf" in parent) {
          native().accumulate(gradOf(parent.leaf).handle, grad.handle, 1);
          grad.dispose();
        } else arrive(parent.edge, grad);
      }
    }
  } catch (error) {
    for (const grad of results.flat()) if (grad && !grad.kept && !grad.disposed) grad.dispose(); // those that no node has taken over
    throw error;
  }
}

/**
 * Runs `fn` without saving anything but its inputs, and runs it again in backward with the same random numbers (gradient checkpointing,
 * arXiv 1604.06174). Parameters that `fn` reaches on its own get their gradients too. Gradients are bit-equal to those of plain `fn`.
 */
export function checkpoint(fn: (...inputs: Tensor[]) => Tensor, ...inputs: Tensor[]): Tensor {
  if (!isGradEnabled()) return fn(...inputs);
  const random = randomState();
  const { output, needed } = scope(() => {
    const { result, wanted } = wantedBy(() => noGrad(() => fn(...inputs)));
    // fn may hand back what it was given, and the place of that on the tape is its own.
    return { output: result.detach(), needed: wanted || [...inputs, result].some((t) => t.requiresGrad) };
  });
  if (!needed) return output;
  // A node collects the gradient of each input, so that sums round as they would on one tape.
  const kept = built(() => inputs.map((t) => ({ alias: keep(t.detach()), requiresGrad: t.requiresGrad })));
  for (const { alias } of kept) collected.unregister(alias);
  const again: Backward = ([dy]) => {
    const now = randomState();
    setRandomState(random);
    try {
      return scope(() => {
        const collectors = kept.map(({ requiresGrad }) => (requiresGrad ? new Node(1, [], undefined, []) : undefined));
        const fresh = kept.map(({ alias }, i) => {
          const t = alias.detach();
          const node = collectors[i];
          if (node) {
            t.requiresGrad = true;
            t.edge = { node, slot: 0 };
          }
          return t;
        });
        const out = withGrad(true, () => fn(...fresh).alias());
        if (out.edge) propagate([{ edge: out.edge, grad: (dy as Tensor).detach() }]);
        return collectors.map((node) => {
          const g = node?.grads[0];
          if (g) g.kept = false;
          return g;
        });
      });
    } finally {
      setRandomState(now);
    }
  };
  const node = new Node(
    1,
    inputs.map(parentOf),
    again,
    kept.map(({ alias }) => alias),
  );
  output.edge = { node, slot: 0 };
  output.requiresGrad = true;
  return output;
}
