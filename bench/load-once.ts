// One load in a process of its own: `load-once.ts FOLDER FORM OPTIONS` prints a LoadResult as its last line.
import { monitorEventLoopDelay } from "node:perf_hooks";
import { AutoModelForCausalLM, device } from "../lib/index.js";
import { Checkpoint } from "../lib/io/checkpoint.js";
import { fileDTypeBytes } from "../lib/io/safetensors-header.js";
import type { Quantization } from "../lib/nn/weights.js";

export interface LoadResult {
  dtype: string;
  fileBytes: number;
  /** In the dtype that the model computes in, or as it is stored, whichever takes more. */
  largestTensor: number;
  seconds: number;
  bytesInUse: number;
  bytesPeak: number;
  /** Of the whole process: Node, the addon and TypeScript's loader are in it. */
  rssPeak: number;
  rssBefore: number;
  stallMs: number;
}

const QUANTIZATION: Record<string, Quantization | undefined> = {
  nf4: { format: "nf4" },
  "nf4+dq": { format: "nf4", doubleQuant: true },
  fp4: { format: "fp4" },
  int8: { format: "int8" },
  none: undefined,
};

const [folder, form, options] = process.argv.slice(2) as [string, string, string];
const d = device("cpu", JSON.parse(options));
const sizes = (() => {
  using checkpoint = Checkpoint.open(folder);
  return [...checkpoint.names()].map((name) => checkpoint.entry(name));
})();
const quantization = QUANTIZATION[form];
const delay = monitorEventLoopDelay({ resolution: 1 });
const rssBefore = process.memoryUsage.rss();
delay.enable();
const start = performance.now();
const model = await AutoModelForCausalLM.fromPretrained(folder, { device: d, ...(quantization && { quantization }) });
const seconds = (performance.now() - start) / 1000;
delay.disable();
const { bytesInUse, bytesPeak } = d.memory();
const width = model.dtype === "f32" ? 4 : 2;
const count = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const result: LoadResult = {
  dtype: model.dtype,
  fileBytes: sizes.reduce((sum, { bytes }) => sum + bytes, 0),
  largestTensor: Math.max(...sizes.map(({ shape, dtype }) => count(shape) * Math.max(width, fileDTypeBytes(dtype)))),
  seconds,
  bytesInUse,
  bytesPeak,
  rssPeak: process.resourceUsage().maxRSS * 1024,
  rssBefore,
  stallMs: delay.max / 1e6,
};
console.log(JSON.stringify(result));
