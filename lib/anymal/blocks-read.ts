// Which blocks of a tower a model's features are made of: what stands in others would train on nothing.
import { isOneRow } from "../models/bridges/select.js";
import { VitStack } from "../nn/vit-stack.js";
import type { MediaEncoder } from "./media-encoder.js";

/** Their numbers, from 0; undefined where there is no encoder, or one without such blocks. */
export function blocksRead(encoder: MediaEncoder | undefined): number[] | undefined {
  const stack = encoder?.encoder.modules().find((module) => module instanceof VitStack);
  if (!encoder || !stack) return undefined;
  const { layer, select } = encoder.setup;
  const count = stack.blocks.length;
  // A pooled row is made of the last state, whichever layer is named; a state has the number of blocks behind it.
  const states = isOneRow(select) ? [count] : [layer].flat().map((one) => (one < 0 ? count + 1 + one : one));
  return Array.from({ length: Math.min(count, Math.max(...states)) }, (_, i) => i);
}
