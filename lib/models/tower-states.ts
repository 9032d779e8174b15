// What forward() hands back of a tower of ViT blocks: one hidden state or several side by side, and class rows.
import { noGrad } from "../core/autograd.js";
import { expected } from "../core/errors.js";
import type { Tensor } from "../core/tensor.js";
import type { VitStack } from "../nn/vit-stack.js";
import { concat, sliceCopy } from "../ops/index.js";
import { type EncoderOptions, noClassToken } from "./encoder.js";

interface Tower {
  /** Its name in errors. */
  who: string;
  stack: VitStack;
  classTokens: number;
  /** Over all tokens, where the tower has one: -1 is what it gives. */
  norm?: { forward(x: Tensor): Tensor } | undefined;
}
export interface TowerStates {
  hidden: Tensor;
  classRows?: Tensor;
  /** What the last block gives, and the final norm of it. */
  final: Tensor;
}

/** Runs the blocks over x (N,T,C). Throws E_VALUE on a hidden state that there is not. */
export function towerStates(
  { who, stack, classTokens, norm }: Tower,
  x: Tensor,
  { layer = -1, classRows = [], ...options }: EncoderOptions,
): TowerStates {
  const layers = typeof layer === "number" ? [layer] : layer;
  if (!layers.length) throw expected("E_VALUE", `${who}: layer`, "a hidden state or a list of them", "none", "leave it out for the last");
  if (classRows.length && !classTokens) throw noClassToken(who, classRows);
  const asked = layer !== -1 || !classRows.length; // else the gradient comes through the rows alone
  const inside = (wanted: readonly number[]) => wanted.filter((one) => !norm || one !== -1);
  const numbered = (wanted: readonly number[]) => wanted.map((one) => stateIndex(who, one, stack.blocks.length));
  const taps = { states: numbered(inside(layers)), classRows: numbered(inside(classRows)) };
  const walked = options.through === "hidden" ? Math.max(...numbered([...(asked ? layers : []), ...classRows])) : Infinity;
  const { states, classRows: rows, last } = stack.forward(x, { ...taps, walked });
  const normed = options.through !== "hidden" || [...(asked ? layers : []), ...classRows].includes(-1);
  const final = norm ? (normed ? norm.forward(last) : noGrad(() => norm.forward(last))) : last;
  const all = (wanted: readonly number[], given: Tensor[], behind: () => Tensor) =>
    wanted.map((one) => (norm && one === -1 ? behind() : (given.shift() as Tensor)));
  const hidden = joined(
    all(layers, states, () => final),
    -1,
  );
  if (!classRows.length) return { hidden, final };
  return {
    hidden,
    final,
    classRows: joined(
      all(classRows, rows, () => sliceCopy(final, 1, 0, 1)),
      1,
    ),
  };
}

const joined = (parts: readonly Tensor[], dim: number): Tensor => (parts.length === 1 ? (parts[0] as Tensor) : concat(parts, dim));

/** Which of the states 0 … blocks is meant; negative ones count from the last. */
function stateIndex(who: string, layer: number, blocks: number): number {
  const index = layer < 0 ? blocks + 1 + layer : layer;
  if (!Number.isInteger(index) || index < 0 || index > blocks)
    throw expected("E_VALUE", `${who}: layer`, `an integer from ${-blocks - 1} to ${blocks}`, layer);
  return index;
}
