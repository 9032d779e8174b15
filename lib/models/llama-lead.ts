// What stands before every row of a tuned model: rows begin with it and are padded behind, however the caller pads them; what comes out lies as it went in.
import { Tensor } from "../core/tensor.js";
import { matching } from "../nn/module.js";
import type { Lead, Span } from "../nn/sequence.js";
import { gatherRows, spliceRows } from "../ops/index.js";

export interface Led {
  /** (B,W,C): W counts the lead's rows, where it has any, and the tokens. */
  x: Tensor;
  spans: Span[];
  /** What the caller says of each token, labels for example, where the tokens stand in x; `none` for the lead's rows. */
  moved<T>(given: readonly ArrayLike<T>[], none: T): T[][];
  /** (B,W,·) in the caller's order: the lead's rows, then the tokens and their padding as they came. */
  restored(y: Tensor): Tensor;
}

/** x (B,T,C), of which each row's tokens are its span, behind the lead. */
export function ledBy(lead: Lead, x: Tensor, given: readonly Span[]): Led {
  const [B, T, C] = x.shape as [number, number, number];
  const n = lead.rows ? lead.length : 0;
  // Where each place comes from: a token, or a row of the lead at -1 and below.
  const order = given.map(({ start, end }) => [
    ...range(0, n).map((i) => -1 - i),
    ...range(start, end),
    ...range(end, T),
    ...range(0, start),
  ]);
  const spans = given.map(({ start, end }) => ({ start: 0, end: n + end - start }));
  const moved = given.some(({ start }) => start > 0);
  const index = (entry: (from: number, b: number, at: number) => number) =>
    Tensor.from(Int32Array.from(order.flatMap((row, b) => row.map((from, at) => entry(from, b, at)))), [B, n + T], { device: x.device });
  const flat = () => x.reshape([B * T, C]);
  const placed = () => {
    if (!lead.rows) return moved ? gatherRows(flat(), index((t, b) => b * T + t).reshape([-1])).reshape([B, T, C]) : x;
    const rows = matching(lead.rows, x).reshape([-1, C]);
    const each = lead.rows.shape[0] === 1 ? 0 : n; // one for all of them, or each has its own
    return spliceRows(
      flat(),
      rows,
      index((from, b) => (from < 0 ? B * T + b * each - 1 - from : b * T + from)),
    );
  };
  return {
    x: placed(),
    spans,
    moved: (given, none) =>
      order.map((row, b) => row.map((from) => (from < 0 ? none : ((given[b] as ArrayLike<typeof none>)[from] as typeof none)))),
    restored(y) {
      if (!moved) return y;
      const width = y.shape[2] as number;
      const back = new Int32Array(B * (n + T));
      for (const [b, row] of order.entries())
        for (const [at, from] of row.entries()) back[b * (n + T) + (from < 0 ? -1 - from : n + from)] = b * (n + T) + at;
      return gatherRows(y.reshape([-1, width]), Tensor.from(back, [back.length], { device: y.device })).reshape([B, n + T, width]);
    },
  };
}

const range = (from: number, to: number): number[] => Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i);
