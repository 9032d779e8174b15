// Before a projection's first step: the statistics of the features it will see, and rows of the size of the language model's own embeddings, among
// which they will stand. Both become plain weights.
import { noGrad } from "../core/autograd.js";
import { scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import type { Modality } from "../media/part.js";
import { isStandardize } from "../models/projector.js";
import { accumulateInplace, cast, copy } from "../ops/index.js";
import type { AnyMAL } from "./anymal.js";
import type { Features } from "./media-encoder.js";
import { stacked } from "./prompt.js";

/** Enough of an embedding table to know its scale. */
const SAMPLE_ROWS = 4096;
/** Channels that hardly move are not blown up. */
const MIN_STD = 1e-4;

export async function calibrate(model: AnyMAL, modality: Modality, features: readonly Features[]): Promise<void> {
  const projector = model.projector(modality);
  const { input, output } = projector;
  if (isStandardize(input)) {
    const { mean, std } = channelStatistics(features, model.encoder(modality).width);
    input.shift.write(mean.map((v) => -v));
    input.scale.write(std.map((v) => 1 / Math.max(v, MIN_STD)));
  }
  const target = await embeddingRms(model);
  const rows = noGrad(() =>
    scope(() => {
      const x = stacked(features, model.device);
      return projector.forward(model.llm.dtype === "f32" ? x : cast(x, model.llm.dtype));
    }),
  );
  const measured = await rms(rows).finally(() => rows.dispose());
  const factor = measured > 0 ? target / measured : 1;
  noGrad(() =>
    scope(() => {
      for (const tensor of [output.weight, output.bias]) if (tensor) accumulateInplace(tensor, copy(tensor), factor - 1);
    }),
  );
  model.calibrated.add(modality);
}

/** Of each channel over all rows of all features, in double precision. */
export function channelStatistics(features: readonly Features[], width: number): { mean: Float32Array; std: Float32Array } {
  const sum = new Float64Array(width);
  const squares = new Float64Array(width);
  let rows = 0;
  for (const { data } of features) {
    for (let i = 0; i < data.length; ++i) sum[i % width]! += data[i]!;
    rows += data.length / width;
  }
  const mean = Float32Array.from(sum, (v) => v / rows);
  for (const { data } of features) for (let i = 0; i < data.length; ++i) squares[i % width]! += (data[i]! - mean[i % width]!) ** 2;
  return { mean, std: Float32Array.from(squares, (v) => Math.sqrt(v / rows)) };
}

async function embeddingRms(model: AnyMAL): Promise<number> {
  const table = model.llm.model.embedTokens.weight;
  const count = Math.min(SAMPLE_ROWS, table.shape[0] as number);
  const rows = noGrad(() => table.slice(Math.floor(((table.shape[0] as number) - count) / 2), count));
  return rms(rows).finally(() => rows.dispose());
}

async function rms(x: Tensor): Promise<number> {
  const data = await x.data();
  let total = 0;
  for (const v of data) total += v * v;
  return Math.sqrt(total / data.length);
}
