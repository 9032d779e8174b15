// What a model consists of, in bytes and in numbers.
import type { AnyMAL } from "../anymal/anymal.js";
import type { Module } from "../nn/module.js";
import { QuantizedLinear } from "../nn/quantized-linear.js";

const WIDTH = { f32: 4, bf16: 2, i32: 4, u8: 1 } as const;

function others(model: AnyMAL): { encoders: Module[]; projections: Module[] } {
  return {
    encoders: [...new Set([...model.encoders.values()].map(({ encoder }) => encoder))],
    projections: model.modalities.map((modality) => model.projector(modality)),
  };
}

const bytesIn = (modules: readonly Module[]): number =>
  modules.flatMap((module) => module.parameters()).reduce((n, { size, dtype }) => n + size * WIDTH[dtype], 0);

/** Of all that a device holds of it; what is not the others' is the language model's, with what stands on it. */
export function bytesOfParts(model: AnyMAL, all: number): { languageModel: number; encoders: number; projections: number } {
  const parts = others(model);
  const [encoders, projections] = [bytesIn(parts.encoders), bytesIn(parts.projections)];
  return { languageModel: all - encoders - projections, encoders, projections };
}

/** Numbers of all parts, those that lie in 4 or 8 bits too. */
export function countOf(model: AnyMAL): number {
  const { encoders, projections } = others(model);
  const all = [model.llm as Module, ...encoders, ...projections];
  const packed = all.flatMap((module) => module.modules()).filter((module) => module instanceof QuantizedLinear);
  const dense = all.flatMap((module) => module.parameters()).reduce((n, { size }) => n + size, 0);
  return dense + packed.reduce((n, { inFeatures, outFeatures }) => n + inFeatures * outFeatures, 0);
}
