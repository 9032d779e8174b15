// Of a padded batch, what belongs to each row's last token.
import { Tensor } from "../core/tensor.js";
import type { MediaBeside, Span } from "../nn/sequence.js";
import { gatherRows } from "../ops/index.js";

/** What each row's last token sees of media beside, and so do those that follow. */
export const seenLast = ({ rows }: MediaBeside, seen: readonly (readonly Span[])[] | undefined, spans: readonly Span[]): Span[] =>
  spans.map(({ end }, b) => seen?.[b]?.[Math.max(0, end - 1)] ?? { start: 0, end: rows.shape[1] as number });

/** (B,C): each row's last token of (B,T,C). */
export function lastRows(hidden: Tensor, spans: readonly Span[]): Tensor {
  const [B, T, C] = hidden.shape as [number, number, number];
  if (T === 1) return hidden.reshape([B, C]); // a decode step, which may be recorded: nothing comes from the host
  const index = Int32Array.from(spans, ({ end }, b) => b * T + Math.max(0, end - 1));
  return gatherRows(hidden.reshape([B * T, C]), Tensor.from(index, [B], { device: hidden.device }));
}
