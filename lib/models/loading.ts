// How a model is to be held, as users spell it: a device by name, a quantisation by name.
import { shown } from "../core/checks.js";
import { Device, defaultDeviceName, openDevice } from "../core/device.js";
import { expected } from "../core/errors.js";
import { checkOptions, optionNames } from "../core/options.js";
import type { Quantization } from "../nn/weights.js";

export interface PretrainedOptions {
  device: Device;
  dtype?: "f32" | "bf16";
  trainable?: boolean;
  /** Quantises dense linear layers while they are loaded (the head stays as it is). */
  quantization?: Quantization;
}

/** What transformers and llama.cpp call an option of loading, or have and this library does not. */
export const OTHER_LOADING: Readonly<Record<string, string>> = {
  torchDtype: 'did you mean "dtype"?',
  deviceMap: 'did you mean "device"?',
  loadIn4bit: 'did you mean quantization: "nf4"?',
  loadIn8bit: 'did you mean quantization: "int8"?',
  quantizationConfig: 'did you mean "quantization"?',
  cacheDir: "the hub's cache is where HF_HOME or HF_HUB_CACHE says",
  token: "the hub's token is read from HF_TOKEN",
  attnImplementation: "there is one implementation of attention",
  trustRemoteCode: "no code of a repository is run",
};

const PRETRAINED = optionNames<PretrainedOptions>({ device: true, dtype: true, trainable: true, quantization: true });
const QUANTIZATION = optionNames<Quantization>({ format: true, block: true, doubleQuant: true, threshold: true });
const OTHER_QUANTIZATION = { bnb4bitUseDoubleQuant: 'did you mean "doubleQuant"?', bnb4bitQuantType: 'did you mean "format"?' };

/** Throws E_VALUE on an option of loading that nobody knows. */
export function checkPretrained(where: string, options: PretrainedOptions): void {
  checkOptions(where, options, PRETRAINED, { others: OTHER_LOADING });
  checkQuantization(options.quantization);
}
function checkQuantization(form: Quantization | undefined): void {
  checkOptions("quantization", form, QUANTIZATION, { others: OTHER_QUANTIZATION });
}

export type QuantizationName = "nf4" | "fp4" | "int8" | "none";
const FORMATS: readonly unknown[] = ["nf4", "fp4", "int8"];

/** Of nothing: ANYMAL_DEVICE, or the CPU. Rejects with E_DEVICE where there is no such device. */
export async function deviceOf(wanted: Device | string | undefined): Promise<Device> {
  if (wanted === undefined) return openDevice(defaultDeviceName());
  if (wanted instanceof Device) return wanted;
  if (typeof wanted !== "string")
    throw expected("E_ARGUMENT", "device", 'a Device or a name such as "cpu", "cuda" or "auto"', typeof wanted);
  return openDevice(wanted);
}

/** undefined: as the checkpoint stores it. */
export function quantizationOf(wanted: QuantizationName | Quantization | undefined): Quantization | undefined {
  if (wanted === undefined || wanted === "none") return undefined;
  const form = typeof wanted === "string" ? { format: wanted } : wanted;
  if (!FORMATS.includes(form?.format))
    throw expected(
      "E_VALUE",
      "quantization",
      '"nf4", "fp4", "int8" or "none"',
      shown(wanted),
      'or an object such as { format: "nf4", doubleQuant: true }',
    );
  checkQuantization(form);
  return form;
}

/** undefined: what the checkpoint suggests. */
export function dtypeOf(wanted: "f32" | "bf16" | undefined): "f32" | "bf16" | undefined {
  if (wanted === undefined || wanted === "f32" || wanted === "bf16") return wanted;
  throw expected("E_DTYPE", "dtype", '"f32" or "bf16"', shown(wanted), "half precision computes in bf16");
}
