// What image and video towers share: pictures cut into patches, and a position table that fits other picture sizes.
import { expected } from "../core/errors.js";
import { Tensor } from "../core/tensor.js";
import { add, cast, concat, interpolateBicubic, sliceCopy, transposeCopy } from "../ops/index.js";

/** Patch features (N,C,h,w) as rows (N,h·w,C), and their grid. */
export function patchRows(features: Tensor): { rows: Tensor; grid: [number, number] } {
  const [N, C, h, w] = features.shape as [number, number, number, number];
  return { rows: transposeCopy(features.reshape([N, C, h * w]), 1, 2), grid: [h, w] };
}

/** The table (1 + side², C) for a grid of h × w patches: as transformers' interpolate_pos_encoding, bicubic without antialias. */
export function tableFor(table: Tensor, [h, w]: readonly [number, number]): Tensor {
  const [rows, C] = table.shape as [number, number];
  const side = Math.round(Math.sqrt(rows - 1));
  if (h === side && w === side) return table;
  const square = transposeCopy(table.slice(1, rows - 1), 0, 1).reshape([1, C, side, side]);
  const stretched = interpolateBicubic(square, h, w).reshape([C, h * w]);
  return concat([table.slice(0, 1), transposeCopy(stretched, 0, 1)], 0);
}

/** The class embedding (C) in front of each row's tokens (N,S,C) → (N,1+S,C). */
export function withClass(classEmbedding: Tensor, tokens: Tensor): Tensor {
  const [N, , C] = tokens.shape as [number, number, number];
  const empty = Tensor.zeros([N, 1, C], { device: tokens.device, dtype: tokens.dtype });
  return concat([add(empty, classEmbedding), tokens], 1);
}

/** (N,C): the first token of each row of (N,T,C). */
export function classRows(x: Tensor): Tensor {
  const [N, , C] = x.shape as [number, number, number];
  return sliceCopy(x, 1, 0, 1).reshape([N, C]);
}

/** x in `dtype`, once its shape fits: a number must agree, 0 stands for any. */
export function encoderInput(who: string, x: Tensor, letters: string, shape: readonly number[], dtype: "f32" | "bf16"): Tensor {
  if (x.rank !== shape.length || shape.some((size, i) => size > 0 && size !== x.shape[i]))
    throw expected("E_SHAPE", who, letters, `[${x.shape}]`, "use the processor of the same folder");
  return x.dtype === dtype ? x : cast(x, dtype);
}

/** Which of the states 0 … blocks is meant; negative ones count from the last. */
export function stateIndex(who: string, layer: number, blocks: number): number {
  const index = layer < 0 ? blocks + 1 + layer : layer;
  if (!Number.isInteger(index) || index < 0 || index > blocks)
    throw expected("E_VALUE", `${who}: layer`, `an integer from ${-blocks - 1} to ${blocks}`, layer);
  return index;
}
