// Encoders from nothing: a medium's embedding and its caption's are drawn together, all other pairs of the batch apart (CLIP, arXiv 2103.00020).
// A batch asks only for what tells its captions apart, so what should be learned must be what differs: see the tiny world's grouped batches.
import { expected } from "../core/errors.js";
import { checkOptions } from "../core/options.js";
import { Tensor } from "../core/tensor.js";
import type { EncoderInput } from "../media/part.js";
import type { Encoder } from "../models/encoder.js";
import type { Module } from "../nn/module.js";
import { contrastiveLoss, l2Normalize } from "../ops/index.js";
import { alone } from "./busy-model.js";
import { fromNothing, OPTIMIZE_KEYS, type OptimizeOptions } from "./optimize.js";
import type { StepReport } from "./step-report.js";

/** What embeds captions: rows of ids → (N,e). */
export interface TextEncoder extends Module {
  forward(ids: readonly ArrayLike<number>[]): { embeds: Tensor };
}

/** Pair i is medium i and caption i; no caption twice in a batch. */
export interface ContrastiveBatch {
  media: EncoderInput;
  captions: readonly ArrayLike<number>[];
}

export interface ContrastiveOptions extends OptimizeOptions {
  encoder: Encoder;
  text: TextEncoder;
  /** One f32 number, the logarithm of the factor on cosines; CLIP starts at ln(1/0.07). */
  logitScale: Tensor;
  batch: (step: number) => ContrastiveBatch | Promise<ContrastiveBatch>;
}

/** Trains what requires gradients in both towers, and the scale. */
export function contrastive(options: ContrastiveOptions): AsyncGenerator<StepReport> {
  checkOptions("contrastive", options, [...OPTIMIZE_KEYS, "encoder", "text", "logitScale", "batch"]);
  return alone("contrastive", [options.encoder, options.text], () => steps(options));
}

function steps({ encoder, text, logitScale, batch, ...options }: ContrastiveOptions): AsyncGenerator<StepReport> {
  const parameters = new Map<string, Tensor>([
    ...prefixed("media", encoder),
    ...prefixed("text", text),
    ...(logitScale.requiresGrad ? [["logit_scale", logitScale] as const] : []),
  ]);
  const lossOf = ({ media, captions }: ContrastiveBatch) => {
    const x = Tensor.from(media.data, media.shape, { device: encoder.device, dtype: encoder.dtype });
    const a = encoder.forward(x, media.isLonger ? { isLonger: media.isLonger } : {});
    const b = text.forward(captions);
    return contrastiveLoss(l2Normalize(a.embeds), l2Normalize(b.embeds), logitScale.reshape([1]));
  };
  return fromNothing(parameters, { next: async (step) => checked(await batch(step)) }, { lossOf, itemsOf: pairsOf }, options);
}

const pairsOf = ({ media }: ContrastiveBatch): number => media.shape[0] as number;

function checked(batch: ContrastiveBatch): ContrastiveBatch {
  const { captions } = batch;
  const pairs = pairsOf(batch);
  if (captions.length !== pairs) throw expected("E_SHAPE", "contrastive", `one caption per medium, ${pairs}`, captions.length);
  return batch;
}

function* prefixed(prefix: string, module: Module): Generator<readonly [string, Tensor]> {
  for (const [name, tensor] of module.namedParameters()) if (tensor.requiresGrad) yield [`${prefix}.${name}`, tensor];
}
