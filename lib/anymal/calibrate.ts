// Before a projection's first step: the statistics of the features it will see, and rows of the size of the language model's own embeddings, among
// which they will stand. Both become plain weights.
import { noGrad } from "../core/autograd.js";
import { scope } from "../core/scope.js";
import type { TensorData } from "../core/tensor.js";
import { inTurns, type Pieces } from "../core/turns.js";
import type { Modality } from "../media/part.js";
import { isStandardize } from "../models/bridges/feature-norm.js";
import type { Linear } from "../nn/linear.js";
import { accumulateInplace, cast, copy } from "../ops/index.js";
import type { AnyMAL } from "./anymal.js";
import { type Features, formOf, runs } from "./media-encoder.js";
import { stacked } from "./prompt.js";

/** Enough of an embedding table to know its scale. */
const SAMPLE_ROWS = 4096;
/** Channels that hardly move are not blown up. */
const MIN_STD = 1e-4;
/** Media that are projected together. */
const AT_ONCE = 32;
/** Numbers that are added up between two turns of the event loop. */
const NUMBERS_AT_ONCE = 2 ** 16;

export async function calibrate(model: AnyMAL, modality: Modality, features: readonly Features[]): Promise<void> {
  const projector = model.projector(modality);
  const { input, output } = projector;
  if (isStandardize(input)) {
    const { mean, std } = await inTurns(channelStatistics(features, model.encoder(modality).width));
    input.shift.write(mean.map((v) => -v));
    input.scale.write(std.map((v) => 1 / Math.max(v, MIN_STD)));
  }
  if (output) await scaleTo(model, modality, output, features);
  model.calibrated.add(modality);
}

/** Rows as large as embeddings: they will stand among them. */
async function scaleTo(model: AnyMAL, modality: Modality, output: Linear, features: readonly Features[]): Promise<void> {
  const projector = model.projector(modality);
  const target = await embeddingRms(model);
  const squares = { sum: 0, count: 0 };
  for (const some of runs(features, formOf, ({ length }) => length <= AT_ONCE)) {
    const rows = noGrad(() =>
      scope(() => {
        const x = stacked(some, model.device);
        const told = projector.question && { question: new Array<number[]>(x.shape[0] as number).fill([]) };
        return projector.forward(model.llm.dtype === "f32" ? x : cast(x, model.llm.dtype), told);
      }),
    );
    const data = await rows.data().finally(() => rows.dispose());
    await inTurns(addSquares(data, squares));
  }
  const measured = rootMean(squares);
  const factor = measured > 0 ? target / measured : 1;
  noGrad(() =>
    scope(() => {
      for (const tensor of [output.weight, output.bias]) if (tensor) accumulateInplace(tensor, copy(tensor), factor - 1);
    }),
  );
}

/** Of each channel over all rows of all features, in double precision. */
export function* channelStatistics(features: readonly Features[], width: number): Pieces<{ mean: Float32Array; std: Float32Array }> {
  const sum = new Float64Array(width);
  const squares = new Float64Array(width);
  let rows = 0;
  const rowsOf = function* (add: (value: number, channel: number) => void): Pieces<void> {
    for (const { data } of features) {
      for (let at = 0; at < data.length; at += width) {
        for (let channel = 0; channel < width; ++channel) add(data[at + channel] as number, channel);
        if ((at / width + 1) % Math.ceil(NUMBERS_AT_ONCE / width) === 0) yield;
      }
      yield;
    }
  };
  for (const { data } of features) rows += data.length / width;
  yield* rowsOf((value, channel) => {
    sum[channel]! += value;
  });
  const mean = Float32Array.from(sum, (v) => v / rows);
  yield* rowsOf((value, channel) => {
    squares[channel]! += (value - mean[channel]!) ** 2;
  });
  return { mean, std: Float32Array.from(squares, (v) => Math.sqrt(v / rows)) };
}

async function embeddingRms(model: AnyMAL): Promise<number> {
  const table = model.llm.model.embedding.weight;
  const count = Math.min(SAMPLE_ROWS, table.shape[0] as number);
  const rows = noGrad(() => table.slice(Math.floor(((table.shape[0] as number) - count) / 2), count));
  const squares = { sum: 0, count: 0 };
  await inTurns(addSquares(await rows.data().finally(() => rows.dispose()), squares));
  return rootMean(squares);
}

interface Squares {
  sum: number;
  count: number;
}

function* addSquares(data: TensorData, squares: Squares): Pieces<void> {
  for (let i = 0; i < data.length; ++i) {
    squares.sum += (data[i] as number) ** 2;
    if ((i + 1) % NUMBERS_AT_ONCE === 0) yield;
  }
  squares.count += data.length;
}

const rootMean = ({ sum, count }: Squares): number => Math.sqrt(sum / count);
