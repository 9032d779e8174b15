// The rows of a weight, and the columns of a table, in f32, a few at a time, for who asks something of each and must not hold all of them: of a quantised one no dense form is made.
import { scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import {
  add,
  cast,
  concat,
  dequantize4bit,
  dequantizeAbsmax,
  dequantizeRowsInt8,
  linear,
  linearQuantized,
  mul,
  transposeCopy,
  unpackCodes,
} from "../ops/index.js";
import type { Linear } from "./linear.js";
import { matching } from "./module.js";
import { QuantizedLinear } from "./quantized-linear.js";
import type { QuantizedWeight } from "./quantized-weight.js";

type Stored = Linear | QuantizedLinear;
/** Numbers of a part: 4 MiB of f32. */
const PART = 2 ** 20;

/** ‖w‖² of each row, (O) f32. Inside of noGrad(). */
export function rowSquares(layer: Stored): Tensor {
  const ones = Tensor.full([1, layer.inFeatures], 1, { device: deviceOf(layer) });
  return overRows(layer, (rows) => linear(mul(rows, rows), ones)).reshape([-1]);
}

/** What the rows of a (r,I) f32 give with each row of the weight: (O,r) f32. Inside of noGrad(). */
export function rowProducts(layer: Stored, a: Tensor): Tensor {
  // LLM.int8 rounds what is multiplied, so its rows are read instead.
  if (layer instanceof QuantizedLinear && layer.weight.format === "int8") return overRows(layer, (rows) => linear(rows, a));
  const y = layer instanceof QuantizedLinear ? linearQuantized(a, layer.weight) : linear(matching(a, layer.weight), layer.weight);
  return transposeCopy(y.dtype === "f32" ? y : cast(y, "f32"), 0, 1);
}

/** Of each column of a table (V,C) its square, (C) f32. Inside of noGrad(). */
export function columnSquares(table: Tensor): Tensor {
  return overColumns(table, (columns, _, count) => {
    const ones = Tensor.full([1, count], 1, { device: table.device });
    return linear(mul(columns, columns), ones);
  }).reshape([-1]);
}

/** What the rows of a (r,V) f32 give with each column of a table (V,C): (C,r) f32. Inside of noGrad(). */
export function columnProducts(table: Tensor, a: Tensor): Tensor {
  const byRows = transposeCopy(a, 0, 1);
  return overColumns(table, (columns, from, count) => linear(columns, transposeCopy(byRows.slice(from, count), 0, 1)));
}

/** The sum of what is made of stretches of all columns, (C,count) f32. */
function overColumns(table: Tensor, what: (columns: Tensor, from: number, count: number) => Tensor): Tensor {
  const [V, C] = table.shape as [number, number];
  const { rows } = dense(table);
  const each = Math.max(1, Math.floor(PART / C));
  return scope(() => {
    let all: Tensor | undefined;
    for (let from = 0; from < V; from += each) {
      const count = Math.min(each, V - from);
      const before = all;
      all = scope(() => {
        const part = what(transposeCopy(rows(from, count), 0, 1), from, count);
        return before ? add(before, part) : part;
      });
    }
    return all as Tensor;
  });
}

const deviceOf = (layer: Stored) => (layer instanceof QuantizedLinear ? layer.weight.codes : layer.weight).device;

function overRows(layer: Stored, what: (rows: Tensor) => Tensor): Tensor {
  const { outFeatures: O, inFeatures: I } = layer;
  return scope(() => {
    const { step, rows } = layer instanceof QuantizedLinear ? unpacked(layer.weight) : dense(layer.weight);
    const each = Math.max(step, Math.floor(PART / I / step) * step);
    const parts: Tensor[] = [];
    for (let from = 0; from < O; from += each) parts.push(scope(() => what(rows(from, Math.min(each, O - from)))));
    return parts.length === 1 ? (parts[0] as Tensor) : concat(parts, 0);
  });
}

interface Rows {
  /** Parts begin at multiples of it. */
  step: number;
  rows(from: number, count: number): Tensor;
}

const dense = (weight: Tensor): Rows => ({
  step: 1,
  rows: (from, count) => (weight.dtype === "f32" ? weight.slice(from, count) : cast(weight.slice(from, count), "f32")),
});

/** Its codes row by row, of which a part is dequantised at a time; those of 4 bit in whole blocks. */
function unpacked({
  codes: packed,
  absmax: stored,
  nestedAbsmax,
  nestedOffset,
  format,
  block,
  outFeatures: O,
  inFeatures: I,
}: QuantizedWeight): Rows {
  const codes = unpackCodes(packed, format, O, I);
  const absmax = nestedAbsmax && nestedOffset ? dequantizeAbsmax(stored, nestedAbsmax, nestedOffset) : stored;
  if (format === "int8")
    return { step: 1, rows: (from, count) => dequantizeRowsInt8(codes.slice(from, count), absmax.slice(from, count), "f32") };
  const [all, maxima] = [codes.reshape([-1]), absmax.reshape([-1])];
  const part = (of: Tensor, from: number, to: number) => of.slice(from, Math.min(of.size, Math.ceil(to)) - from);
  return {
    step: block / divisor(block, I),
    rows: (from, count) => {
      const [begin, end] = [from * I, (from + count) * I];
      return dequantize4bit(part(all, begin / 2, end / 2), part(maxima, begin / block, end / block), format, block, "f32", [count, I]);
    },
  };
}

const divisor = (a: number, b: number): number => (b ? divisor(b, a % b) : a);
