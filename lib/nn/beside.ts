// What a layer looks up of media beside the text: keys and values that it makes when they are new, and that a cache keeps for it while tokens follow.
import type { Tensor } from "../core/tensor.js";
import type { Sequence } from "./sequence.js";

/** Keys and values (B,S,H,D) of media rows, and which of them each token sees: (B,1,T,S) f32, or (B,2) i32 for all tokens. */
export interface Found {
  k: Tensor;
  v: Tensor;
  bias?: Tensor | undefined;
  range?: Tensor | undefined;
}

/** What `owner` finds in this step, where anything stands beside. `keysOf`: of new rows (B,S,d). */
export function foundBeside(
  owner: object,
  { beside, cache }: Sequence,
  keysOf: (rows: Tensor) => { k: Tensor; v: Tensor },
): Found | undefined {
  const { rows, seen } = beside ?? {};
  if (rows) {
    // A view of its own gathers the gradients of keys and values, which so add up in one order whether the layer is recomputed or not.
    const own = keysOf(rows.reshape(rows.shape));
    cache?.keep(owner, [own.k, own.v]);
    return { ...own, bias: seen };
  }
  const [k, v] = cache?.kept(owner) ?? [];
  return k && v && { k, v, range: seen };
}
