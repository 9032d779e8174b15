// What image and video towers share: pictures cut into patches, and a position table that fits other picture sizes.
import { expected } from "../core/errors.js";
import { Tensor } from "../core/tensor.js";
import { add, cast, concat, interpolateBicubic, linear, sliceCopy, transposeCopy } from "../ops/index.js";

/** Patch features (N,C,h,w) as rows (N,h·w,C), and their grid. */
export function patchRows(features: Tensor): { rows: Tensor; grid: [number, number] } {
  const [N, C, h, w] = features.shape as [number, number, number, number];
  return { rows: transposeCopy(features.reshape([N, C, h * w]), 1, 2), grid: [h, w] };
}

export interface TableOptions {
  /** Rows at the head of the table that belong to no place: the class token's. Default 1. */
  classRows?: number;
  /** Shrinking a table averages over what is left out, as DINOv2 with registers has it. */
  antialias?: boolean;
}

/** The table (classRows + side², C) for a grid of h × w patches: as transformers' interpolate_pos_encoding, bicubic, in f32. */
export function tableFor(
  table: Tensor,
  [h, w]: readonly [number, number],
  { classRows = 1, antialias = false }: TableOptions = {},
): Tensor {
  const [rows, C] = table.shape as [number, number];
  const side = Math.round(Math.sqrt(rows - classRows));
  if (h === side && w === side) return table;
  const places = table.slice(classRows, rows - classRows);
  const square = transposeCopy(places.dtype === "f32" ? places : cast(places, "f32"), 0, 1).reshape([1, C, side, side]);
  const stretched = (antialias ? antialiased(square, h, w) : interpolateBicubic(square, h, w)).reshape([C, h * w]);
  const fitting = transposeCopy(stretched, 0, 1);
  const same = fitting.dtype === table.dtype ? fitting : cast(fitting, table.dtype);
  return classRows ? concat([table.slice(0, classRows), same], 0) : same;
}

/** (1,C,side,side) → (1,C,h,w) as torch's antialiased bicubic: two products with the filter's rows, so that gradients come by themselves. */
function antialiased(square: Tensor, h: number, w: number): Tensor {
  const side = square.shape[3] as number;
  const filter = (size: number) => Tensor.from(bicubicRows(side, size), [size, side], { device: square.device });
  const wide = linear(square, filter(w)); // (1,C,side,w)
  return transposeCopy(linear(transposeCopy(wide, 2, 3), filter(h)), 2, 3);
}

/** (out,in): what each output takes of each input; Keys' cubic with a = -0.5, widened where it shrinks, as in Pillow. */
function bicubicRows(inSize: number, outSize: number): Float32Array {
  const scale = inSize / outSize;
  const spread = Math.max(scale, 1);
  const rows = new Float32Array(outSize * inSize);
  for (let i = 0; i < outSize; ++i) {
    const center = (i + 0.5) * scale;
    const from = Math.max(0, Math.trunc(center - 2 * spread + 0.5));
    const until = Math.min(inSize, Math.trunc(center + 2 * spread + 0.5));
    const weights = Array.from({ length: until - from }, (_, k) => cubic((from + k - center + 0.5) / spread));
    const total = weights.reduce((a, b) => a + b, 0);
    for (const [k, weight] of weights.entries()) rows[i * inSize + from + k] = weight / total;
  }
  return rows;
}

function cubic(at: number): number {
  const [x, a] = [Math.abs(at), -0.5];
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
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
