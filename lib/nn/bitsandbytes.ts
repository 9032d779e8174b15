// How bitsandbytes lays a quantised weight down in safetensors, and what config.json says of it. transformers and bitsandbytes load what is
// written here: the text of quant_state is what Python's json writes, code tables are stored beside the codes although no reader needs them.
import { shown } from "../core/checks.js";
import type { Device } from "../core/device.js";
import { parseShallow } from "../core/json.js";
import { scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import type { HostTensor, Writable } from "../io/safetensors.js";
import { type FileDType, fileDTypeBytes } from "../io/safetensors-header.js";
import { dequantize4bit, dequantizeDynamic, unpackCodes } from "../ops/index.js";
import { StateError } from "./module.js";

/** bitsandbytes quantises block maxima in blocks of this many. */
export const NESTED_BLOCK = 256;

/** What bitsandbytes writes into `quant_state`. */
export interface QuantState {
  quant_type: string;
  blocksize: number;
  /** Of the numbers that the codes stand for, by torch's name. */
  dtype: string;
  shape: number[];
  nested_blocksize?: number;
  nested_dtype?: string;
  nested_offset?: number;
}

/** Of a QuantizedWeight, what is laid down. */
export interface Storable {
  codes: Tensor;
  absmax: Tensor;
  nestedAbsmax: Tensor | undefined;
  nestedOffset: Tensor | undefined;
  format: "nf4" | "fp4" | "int8";
  block: number;
  threshold: number;
  outFeatures: number;
  inFeatures: number;
  /** torch's name of the dtype that it was quantised from. */
  madeFrom: string;
  /** The dtype that 4-bit codes are filed under. */
  storage: FileDType;
}

/** By name below the layer: weight, weight.absmax, … */
export async function storedParts(w: Storable): Promise<[string, Writable][]> {
  return w.format === "int8" ? int8Parts(w) : fourBitParts(w, w.format);
}

async function fourBitParts(w: Storable, format: "nf4" | "fp4"): Promise<[string, Writable][]> {
  const { device } = w.codes;
  const bytes = Math.ceil((w.outFeatures * w.inFeatures) / 2);
  const dtype = bytes % fileDTypeBytes(w.storage) ? "U8" : w.storage;
  const state: QuantState = { quant_type: format, blocksize: w.block, dtype: w.madeFrom, shape: [w.outFeatures, w.inFeatures] };
  const parts: [string, Writable][] = [
    ["weight", codesOf(w, dtype, [bytes / fileDTypeBytes(dtype), 1])],
    ["weight.absmax", w.absmax],
    ["weight.quant_map", await codeTable(device, format)],
  ];
  if (w.nestedAbsmax && w.nestedOffset) {
    const [offset] = (await w.nestedOffset.data()) as Float32Array;
    Object.assign(state, { nested_blocksize: NESTED_BLOCK, nested_dtype: "float32", nested_offset: offset });
    parts.push(["weight.nested_absmax", w.nestedAbsmax], ["weight.nested_quant_map", await dynamicMap(device)]);
  }
  const data = new TextEncoder().encode(stateText(state));
  parts.push([`weight.quant_state.bitsandbytes__${format}`, { dtype: "U8", shape: [data.length], data }]);
  return parts;
}

function int8Parts(w: Storable): [string, Writable][] {
  return [
    ["weight", codesOf(w, "I8", [w.outFeatures, w.inFeatures])],
    ["SCB", w.absmax],
    ["weight_format", { dtype: "U8", shape: [], data: new Uint8Array([ROWS]) }],
  ];
}
const ROWS = 0;

/** Row by row, as files have them; made when their turn comes, since they take as much memory again. */
function codesOf({ codes, format, outFeatures, inFeatures }: Storable, dtype: FileDType, shape: number[]): Writable {
  const read = async () => {
    const rows = unpackCodes(codes, format, outFeatures, inFeatures);
    const bytes = await rows.bytes().finally(() => rows.dispose());
    return new Uint8Array(bytes);
  };
  return { dtype, shape, read };
}

/** The value of each code, as torch has it. */
async function codeTable(device: Device, format: "nf4" | "fp4"): Promise<HostTensor> {
  const table = scope(() => {
    const codes = Tensor.from(
      Uint8Array.from({ length: 8 }, (_, i) => (2 * i * 16) | (2 * i + 1)),
      [8],
      { device },
    );
    return dequantize4bit(codes, Tensor.full([1], 1, { device }), format, 64, "f32", [16]);
  });
  const values = (await table.data().finally(() => table.dispose())) as Float32Array;
  return { dtype: "F32", shape: [16], data: values.map((value) => value || 0) }; // FP4's second zero is -0 in the kernels only
}

async function dynamicMap(device: Device): Promise<HostTensor> {
  const map = scope(() => {
    const codes = Tensor.from(
      Uint8Array.from({ length: 256 }, (_, i) => i),
      [256],
      { device },
    );
    return dequantizeDynamic(codes, Tensor.full([1], 1, { device }), 256, true);
  });
  return { dtype: "F32", shape: [256], data: (await map.data().finally(() => map.dispose())) as Float32Array };
}

/** As json.dumps writes it. */
function stateText(state: QuantState): string {
  const text = (key: string, value: unknown): string => {
    if (Array.isArray(value)) return `[${value.join(", ")}]`;
    return key === "nested_offset" ? pythonFloat(value as number) : JSON.stringify(value);
  };
  return `{${Object.entries(state)
    .map(([key, value]) => `"${key}": ${text(key, value)}`)
    .join(", ")}}`;
}

/** repr() of a Python float: the same shortest digits as JavaScript's, another choice of when to write an exponent. */
export function pythonFloat(x: number): string {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? "NaN" : x > 0 ? "Infinity" : "-Infinity";
  const size = Math.abs(x);
  if (size !== 0 && (size < 1e-4 || size >= 1e16))
    return x.toExponential().replace(/e([+-])(\d+)$/, (_, sign, digits) => `e${sign}${digits.padStart(2, "0")}`);
  if (Number.isInteger(x)) return `${Object.is(x, -0) ? "-0" : x}.0`;
  return String(x);
}

/** quantization_config of a model of such weights; `computeDType` is torch's name. */
export function quantizationConfig({ format, threshold, nestedOffset, storage }: Storable, computeDType: string): Record<string, unknown> {
  const four = format !== "int8";
  return {
    _load_in_4bit: four,
    _load_in_8bit: !four,
    bnb_4bit_compute_dtype: four ? computeDType : "float32",
    bnb_4bit_quant_storage: STORAGE_NAMES[storage] ?? "uint8",
    bnb_4bit_quant_type: four ? format : "fp4", // transformers' default, which means nothing here
    bnb_4bit_use_double_quant: nestedOffset !== undefined,
    llm_int8_enable_fp32_cpu_offload: false,
    llm_int8_has_fp16_weight: false,
    llm_int8_skip_modules: null,
    llm_int8_threshold: four ? 6.0 : threshold,
    load_in_4bit: four,
    load_in_8bit: !four,
    quant_method: "bitsandbytes",
  };
}
const STORAGE_NAMES: Partial<Record<FileDType, string>> = { U8: "uint8", F16: "float16", BF16: "bfloat16", F32: "float32", F64: "float64" };

/** The text of a stored quant_state, checked against the layer that it belongs to. */
export function readQuantState(bytes: ArrayBuffer, name: string, outFeatures: number, inFeatures: number): QuantState {
  let state: QuantState;
  try {
    state = parseShallow(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as QuantState;
  } catch (error) {
    throw new StateError(`the quant_state of "${name}" in JSON`, (error as Error).message);
  }
  if (!(Array.isArray(state?.shape) && state.shape.length === 2 && state.shape[0] === outFeatures && state.shape[1] === inFeatures))
    throw new StateError(`"${name}" of shape [${outFeatures},${inFeatures}]`, shown(state?.shape));
  if (!(Number.isInteger(state.blocksize) && state.blocksize >= 1))
    throw new StateError(`"${name}" with a blocksize of at least 1`, shown(state.blocksize));
  if (state.nested_offset !== undefined && state.nested_blocksize !== NESTED_BLOCK)
    throw new StateError(`"${name}" with a nested block of ${NESTED_BLOCK}`, shown(state.nested_blocksize));
  return state;
}
