// A frozen weight in 4 or 8 bits: the numbers of bitsandbytes (block maxima in its order), the codes in the backend's own layout.
import type { Device } from "../core/device.js";
import { keep, scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import type { WeightSource } from "../io/checkpoint.js";
import type { Writable } from "../io/safetensors.js";
import type { FileDType } from "../io/safetensors-header.js";
import {
  dequantize4bit,
  dequantizeAbsmax,
  dequantizeRowsInt8,
  packCodes,
  type QuantFormat,
  type QuantizedOperand,
  quantize4bit,
  quantizeAbsmax,
  quantizeRowsInt8,
  unpackCodes,
} from "../ops/index.js";
import { quantizationConfig, readQuantState, storedParts } from "./bitsandbytes.js";
import { StateError } from "./module.js";
import type { Quantization, Weights } from "./weights.js";

/** LLM.int8's outlier threshold (arXiv 2208.07339, section 3.2). */
const LLM_INT8_THRESHOLD = 6;
/** torch's names. */
const TORCH = { f32: "float32", bf16: "bfloat16" } as const;

interface Parts {
  codes: Tensor;
  absmax: Tensor;
  nestedAbsmax?: Tensor | undefined;
  nestedOffset?: Tensor | undefined;
}
interface Form {
  format: QuantFormat;
  block: number;
  threshold: number;
  outFeatures: number;
  inFeatures: number;
  madeFrom?: string;
  storage?: FileDType;
}

export class QuantizedWeight implements QuantizedOperand {
  readonly codes: Tensor; // in the backend's packed layout
  readonly absmax: Tensor; // f32, or u8 when the maxima are quantised too; per row for int8
  readonly nestedAbsmax: Tensor | undefined;
  readonly nestedOffset: Tensor | undefined;
  readonly format: QuantFormat;
  readonly block: number;
  /** int8: columns of x with any |x| at or above it go in full precision. */
  readonly threshold: number;
  readonly outFeatures: number;
  readonly inFeatures: number;
  /** torch's name of the dtype that it was quantised from. */
  readonly madeFrom: string;
  /** The dtype that 4-bit codes are filed under: bitsandbytes' quant_storage. */
  readonly storage: FileDType;

  private constructor(parts: Parts, form: Form) {
    this.codes = parts.codes;
    this.absmax = parts.absmax;
    this.nestedAbsmax = parts.nestedAbsmax;
    this.nestedOffset = parts.nestedOffset;
    this.format = form.format;
    this.block = form.block;
    this.threshold = form.threshold;
    this.outFeatures = form.outFeatures;
    this.inFeatures = form.inFeatures;
    this.madeFrom = form.madeFrom ?? "float32";
    this.storage = form.storage ?? "U8";
    for (const tensor of this.tensors()) keep(tensor);
  }

  /** Of the row-major codes that `make` gives, as they are on disk. What it makes beside the parts is disposed. */
  static fromCodes(form: Form, make: () => Parts): QuantizedWeight {
    return scope(() => {
      const parts = make();
      const codes = packCodes(parts.codes, form.format, form.outFeatures, form.inFeatures);
      return new QuantizedWeight({ ...parts, codes }, form);
    });
  }

  /** From a dense weight (O,I), which is left alone. */
  static quantize(w: Tensor, { format, block = 64, doubleQuant = false, threshold = LLM_INT8_THRESHOLD }: Quantization): QuantizedWeight {
    const [outFeatures, inFeatures] = w.shape as [number, number];
    const form: Form = {
      format,
      block: format === "int8" ? 0 : block,
      threshold: format === "int8" ? threshold : 0,
      outFeatures,
      inFeatures,
      madeFrom: TORCH[w.dtype as "f32" | "bf16"],
    };
    return QuantizedWeight.fromCodes(form, () => {
      if (format === "int8") return quantizeRowsInt8(w);
      const { codes, absmax } = quantize4bit(w, format, block);
      if (!doubleQuant) return { codes, absmax };
      const { codes: nested, nestedAbsmax, offset: nestedOffset } = quantizeAbsmax(absmax);
      return { codes, absmax: nested, nestedAbsmax, nestedOffset };
    });
  }

  /** What bitsandbytes stored for the layer at `at`; undefined when the layer there is dense. */
  static stored(at: Weights, outFeatures: number, inFeatures: number): QuantizedWeight | undefined {
    const { checkpoint, device } = at;
    if (!checkpoint) return undefined;
    if (at.has("SCB")) return storedInt8(at, checkpoint, device, outFeatures, inFeatures);
    const kind = (["nf4", "fp4"] as const).find((format) => at.has(`weight.quant_state.bitsandbytes__${format}`));
    return kind && stored4bit(at, checkpoint, device, kind, outFeatures, inFeatures);
  }

  /** The weight (O,I) that the codes stand for. */
  dequantize(dtype: "f32" | "bf16" = "f32"): Tensor {
    return scope(() => {
      const codes = unpackCodes(this.codes, this.format, this.outFeatures, this.inFeatures);
      const { nestedAbsmax, nestedOffset } = this;
      const absmax = nestedAbsmax && nestedOffset ? dequantizeAbsmax(this.absmax, nestedAbsmax, nestedOffset) : this.absmax;
      if (this.format === "int8") return dequantizeRowsInt8(codes, absmax, dtype);
      return dequantize4bit(codes, absmax, this.format, this.block, dtype, [this.outFeatures, this.inFeatures]);
    });
  }

  /** What a folder holds of it, by name below the layer, in the layout of bitsandbytes. */
  stored(): Promise<[string, Writable][]> {
    return storedParts(this);
  }
  /** What config.json says of a model of such weights; `dtype` is torch's name of the dense ones' dtype. */
  quantizationConfig(dtype: string): Record<string, unknown> {
    return quantizationConfig(this, dtype);
  }

  tensors(): Tensor[] {
    return [this.codes, this.absmax, this.nestedAbsmax, this.nestedOffset].filter((t) => t !== undefined);
  }
  get disposed(): boolean {
    return this.codes.disposed;
  }
  dispose(): void {
    for (const tensor of this.tensors()) if (!tensor.disposed) tensor.dispose();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}

function stored4bit(
  at: Weights,
  checkpoint: WeightSource,
  device: Device,
  format: "nf4" | "fp4",
  outFeatures: number,
  inFeatures: number,
): QuantizedWeight {
  const name = at.take("weight");
  const state = readQuantState(checkpoint.bytes(at.take(`weight.quant_state.bitsandbytes__${format}`)), name, outFeatures, inFeatures);
  at.take("weight.quant_map"); // the code table, which the format's name already says
  const storage = checkpoint.entry(name).dtype as FileDType;
  const form = { format, block: state.blocksize, threshold: 0, outFeatures, inFeatures, madeFrom: state.dtype, storage };
  const offset = state.nested_offset;
  return QuantizedWeight.fromCodes(form, () => {
    const codes = checkpoint.loadBytes(name, device);
    const absmax = checkpoint.load(at.take("weight.absmax"), device);
    if (offset === undefined) return { codes, absmax };
    at.take("weight.nested_quant_map");
    const nestedAbsmax = checkpoint.load(at.take("weight.nested_absmax"), device);
    return { codes, absmax, nestedAbsmax, nestedOffset: Tensor.from(new Float32Array([offset]), [1], { device }) };
  });
}

function storedInt8(at: Weights, checkpoint: WeightSource, device: Device, outFeatures: number, inFeatures: number): QuantizedWeight {
  const name = at.take("weight");
  const { shape } = checkpoint.entry(name);
  if (String(shape) !== String([outFeatures, inFeatures]))
    throw new StateError(`"${name}" of shape [${outFeatures},${inFeatures}]`, `[${shape}]`);
  if (at.has("weight_format")) {
    const layout = new Uint8Array(checkpoint.bytes(at.take("weight_format")))[0];
    if (layout !== 0) throw new StateError(`"${name}" in row layout (weight_format 0)`, `weight_format ${layout}`);
  }
  const threshold = at.int8Threshold ?? LLM_INT8_THRESHOLD;
  const form: Form = { format: "int8", block: 0, threshold, outFeatures, inFeatures, madeFrom: TORCH[at.dtype] };
  return QuantizedWeight.fromCodes(form, () => ({
    codes: checkpoint.load(name, device),
    absmax: checkpoint.load(at.take("SCB"), device, { dtype: "f32", shape: [outFeatures] }),
  }));
}
