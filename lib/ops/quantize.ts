// Quantisation with the numbers of bitsandbytes: 4-bit codes (NF4, FP4), int8 rows, 8-bit dynamic map, double quantisation. Nothing here is
// differentiable: quantised weights are frozen.
import { expected } from "../core/errors.js";
import { native } from "../core/native.js";
import { type DType, dtypeCode, type Tensor } from "../core/tensor.js";
import { made } from "./result.js";

/** In the order of `enum QuantFormat` (native/backend.h). */
const FORMATS = ["nf4", "fp4", "int8"] as const;
export type QuantFormat = (typeof FORMATS)[number];

/** The number that the addon knows a format by. Throws E_VALUE on one that is not there. */
export function formatCode(format: QuantFormat): number {
  const at = FORMATS.indexOf(format);
  if (at < 0) throw expected("E_VALUE", "quantisation", `one of ${FORMATS.join(", ")}`, format);
  return at;
}

/** Row-major codes, two per byte, first element in the high nibble (u8), and block maxima (f32). w: f32 or bf16. QLoRA, arXiv 2305.14314, section 3. */
export function quantize4bit(w: Tensor, format: "nf4" | "fp4", block = 64): { codes: Tensor; absmax: Tensor } {
  const [codes, absmax] = native().quantize_4bit(w.handle, formatCode(format), block);
  return { codes: made(codes, w), absmax: made(absmax, w) };
}
/** What quantize4bit() made, as numbers of `shape` again. */
export function dequantize4bit(
  codes: Tensor,
  absmax: Tensor,
  format: "nf4" | "fp4",
  block: number,
  dtype: DType,
  shape: readonly number[],
): Tensor {
  return made(native().dequantize_4bit(codes.handle, absmax.handle, formatCode(format), block, dtypeCode(dtype), shape), codes);
}

/** codes (O,I) u8 holding int8, absmax = row maxima (O) f32 (LLM.int8, arXiv 2208.07339). */
export function quantizeRowsInt8(w: Tensor): { codes: Tensor; absmax: Tensor } {
  const [codes, absmax] = native().quantize_rows_int8(w.handle);
  return { codes: made(codes, w), absmax: made(absmax, w) };
}
/** (O,I) of what quantizeRowsInt8() made. */
export function dequantizeRowsInt8(codes: Tensor, absmax: Tensor, dtype: DType): Tensor {
  return made(native().dequantize_rows_int8(codes.handle, absmax.handle, dtypeCode(dtype)), codes);
}

/** 8-bit dynamic map (arXiv 2110.02861), blockwise. */
export function quantizeDynamic(x: Tensor, block: number, signed: boolean): { codes: Tensor; absmax: Tensor } {
  const [codes, absmax] = native().quantize_dynamic(x.handle, block, signed);
  return { codes: made(codes, x), absmax: made(absmax, x) };
}
/** What quantizeDynamic() made, with the same `block` and `signed`, as f32 again. */
export function dequantizeDynamic(codes: Tensor, absmax: Tensor, block: number, signed: boolean): Tensor {
  return made(native().dequantize_dynamic(codes.handle, absmax.handle, block, signed), codes);
}

/** Double quantisation of block maxima: offset = their mean (1), the rest through the signed dynamic map in blocks of 256. */
export function quantizeAbsmax(absmax: Tensor): { codes: Tensor; nestedAbsmax: Tensor; offset: Tensor } {
  const [codes, nested, offset] = native().quantize_absmax(absmax.handle);
  return { codes: made(codes, absmax), nestedAbsmax: made(nested, absmax), offset: made(offset, absmax) };
}
/** Block maxima (f32) of what quantizeAbsmax() made of them. */
export function dequantizeAbsmax(codes: Tensor, nestedAbsmax: Tensor, offset: Tensor): Tensor {
  return made(native().dequantize_absmax(codes.handle, nestedAbsmax.handle, offset.handle), codes);
}

/** Row-major codes of a weight (O,I) into the backend's own layout, and back. */
export function packCodes(codes: Tensor, format: QuantFormat, outFeatures: number, inFeatures: number): Tensor {
  const bytes = native().packed_bytes(codes.device.id, formatCode(format), outFeatures, inFeatures);
  return made(native().pack_codes(codes.handle, formatCode(format), outFeatures, inFeatures, bytes), codes);
}
/** What packCodes() made, row by row again: files have this order. */
export function unpackCodes(packed: Tensor, format: QuantFormat, outFeatures: number, inFeatures: number): Tensor {
  return made(native().unpack_codes(packed.handle, formatCode(format), outFeatures, inFeatures), packed);
}
