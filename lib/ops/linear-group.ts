// Products of one x with several frozen quantised weights as one op, each with or without a LoRA branch: queries, keys and values, gate and up.
import { record, save } from "../core/autograd.js";
import { type Handle, native } from "../core/native.js";
import { nextRandom } from "../core/random.js";
import type { Tensor } from "../core/tensor.js";
import { alike } from "./eight-bit.js";
import type { QuantizedOperand } from "./linear-quantized.js";
import { formatCode } from "./quantize.js";
import { made, madeIf, orZeros } from "./result.js";

/** A weight with its bias and its branch, as linearQuantized() and linearQuantizedLora() take them. */
export interface GroupMember {
  weight: QuantizedOperand;
  bias: Tensor | undefined;
  branch: { a: Tensor; b: Tensor; scaling: number; dropout: number } | undefined;
}

const MOST = 3;

/** Can these be one op? Weights are alike, all have a bias or none; branches have one dropout, and want gradients or not together. */
export function groups(members: readonly GroupMember[]): boolean {
  const [first] = members;
  if (!first || members.length > MOST || !alike(members.map(({ weight }) => weight))) return false;
  const branches = members.flatMap(({ branch }) => branch ?? []);
  return (
    members.every(
      ({ weight, bias }) => weight.threshold === first.weight.threshold && (bias === undefined) === (first.bias === undefined),
    ) &&
    branches.every(({ dropout }) => dropout === branches[0]?.dropout) &&
    new Set(branches.flatMap(({ a, b }) => [a.requiresGrad, b.requiresGrad])).size <= 1
  );
}

const lists = (weights: readonly QuantizedOperand[], of: (t: Tensor) => Tensor) => {
  const list = (part: (w: QuantizedOperand) => Tensor | undefined) => weights.flatMap((w) => part(w) ?? []).map(of);
  return [list((w) => w.codes), list((w) => w.absmax), list((w) => w.nestedAbsmax), list((w) => w.nestedOffset)] as const;
};
const handles = (tensors: readonly Tensor[]): Handle[] => tensors.map((t) => t.handle);
type Lists = [codes: Handle[], absmax: Handle[], nestedAbsmax: Handle[], nestedOffset: Handle[]];

/**
 * y (...,O) of each member, bit for bit what it would give by itself, of members that groups() takes. The gradient of x is one f32 sum over all
 * members, rounded once.
 */
export function linearQuantizedGroup(x: Tensor, members: readonly GroupMember[]): Tensor[] {
  const weights = members.map(({ weight }) => weight);
  const { format, block, threshold, inFeatures } = weights[0] as QuantizedOperand;
  const biases = members.flatMap(({ bias }) => bias ?? []);
  const branches = members.flatMap(({ branch }, of) => (branch ? [{ ...branch, of }] : []));
  const dropout = branches[0]?.dropout ?? 0;
  const drawn = branches.map(() => (dropout > 0 ? nextRandom() : { seed: 0, offset: 0 }));
  const numbers = [branches.map(({ of }) => of), branches.map(({ scaling }) => scaling), drawn.map(({ offset }) => offset)] as const;
  const seed = drawn[0]?.seed ?? 0;
  const results = native().linear_quantized_group(
    members.length,
    branches.length > 0,
    x.handle,
    ...(lists(weights, (t) => t).map(handles) as Lists),
    handles(biases),
    branches.map(({ a }) => a.handle),
    branches.map(({ b }) => b.handle),
    weights.map(({ outFeatures }) => outFeatures),
    ...numbers,
    formatCode(format),
    block,
    threshold,
    dropout,
    seed,
  );
  const outputs = results.slice(0, members.length).map((handle) => made(handle as Handle, x));
  const u = madeIf(results[members.length], x);
  const inputs = [x, ...biases, ...branches.flatMap(({ a, b }) => [a, b])];
  record(outputs, inputs, () => {
    const wantX = x.requiresGrad;
    const saved = lists(weights, save);
    const ab = branches.map(({ a, b }) => [save(a), save(b)] as const);
    const [sx, su] = [branches.length ? save(x) : undefined, u && save(u)];
    const like = outputs.map(({ shape, dtype, device }) => ({ shape, dtype, device }));
    return (g, into) => {
      const dy = g.map((grad, i) => orZeros(grad, like[i] as (typeof like)[number]));
      for (const i of biases.keys()) {
        const db = into(1 + i);
        if (db) native().sum_leading(db.handle, (dy[i] as Tensor).handle);
      }
      const gradient = (which: number) => branches.flatMap((_, j) => into(1 + biases.length + 2 * j + which)?.handle ?? []);
      const [da, db] = [gradient(0), gradient(1)];
      if (!wantX && !da.length) return [];
      const dx = native().linear_quantized_group_backward(
        wantX,
        da,
        db,
        handles(dy),
        sx?.handle,
        su?.handle,
        ...(saved.map(handles) as Lists),
        ab.map(([a]) => a.handle),
        ab.map(([, b]) => b.handle),
        ...numbers,
        formatCode(format),
        block,
        inFeatures,
        dropout,
        seed,
      );
      return [madeIf(dx, dy[0] as Tensor)];
    };
  });
  u?.dispose();
  return outputs;
}
