// Encoders from nothing: a medium's embedding and its caption's are drawn together, all other pairs of the batch apart (CLIP, arXiv 2103.00020).
// A batch asks only for what tells its captions apart, so what should be learned must be what differs: see the tiny world's grouped batches. Of labelled
// data a caption stands in it many times; its pairs are positives of each other then (UniCL, arXiv 2204.03610, section 3.2).
import { expected } from "../core/errors.js";
import { checkOptions } from "../core/options.js";
import type { Tensor } from "../core/tensor.js";
import type { EncoderInput } from "../media/part.js";
import type { Module } from "../nn/module.js";
import { contrastiveLoss } from "../ops/index.js";
import { alone } from "./busy-model.js";
import { fromNothing, OPTIMIZE_KEYS, type OptimizeOptions } from "./optimize.js";
import type { StepReport } from "./step-report.js";
import { mediaRows, type Towers, textRows } from "./towers.js";

/** Pair i is medium i and caption i. Pairs with one caption, the same ids, are positives of each other. */
export interface ContrastiveBatch {
  /** N media, as the encoder's processor makes them, or changed at random: cropped, mirrored, louder. */
  media: EncoderInput;
  /** N rows of ids, as the text tower takes them. */
  captions: readonly ArrayLike<number>[];
}

export interface ContrastiveOptions extends OptimizeOptions, Towers {
  /** (1) f32, the logarithm of the factor on cosines; CLIP starts at ln(1/0.07). Where it requires no gradient it stays. */
  logitScale: Tensor;
  /** The pairs of step k, counted from 0. */
  batch: (step: number) => ContrastiveBatch | Promise<ContrastiveBatch>;
}

/**
 * Trains what requires gradients in both towers, and the scale; yields a report a step, whose items are pairs. Loss, in nats: symmetric InfoNCE over the
 * cosines of all N × N pairs times exp(logitScale) (CLIP, figure 3). Where captions come twice it is UniCL's, and its least value the mean logarithm of
 * how often a pair's caption stands in the batch. Rejects with E_SHAPE where captions or chunks are not one per medium, and as train() does; throws
 * E_VALUE of options that nobody knows.
 */
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
  const lossOf = ({ media, captions }: ContrastiveBatch) =>
    contrastiveLoss(mediaRows(encoder, media), textRows(text, captions), logitScale.reshape([1]));
  return fromNothing(parameters, { next: async (step) => checked(await batch(step)) }, { lossOf, itemsOf: pairsOf }, options);
}

const pairsOf = ({ media }: ContrastiveBatch): number => media.shape[0] as number;

function checked(batch: ContrastiveBatch): ContrastiveBatch {
  const { captions, media } = batch;
  const pairs = pairsOf(batch);
  const chunks = media.chunks?.find((count) => count !== 1);
  if (chunks !== undefined) throw expected("E_SHAPE", "contrastive", "one chunk per medium", chunks, "cut sounds to the processor's chunk");
  if (captions.length !== pairs) throw expected("E_SHAPE", "contrastive", `one caption per medium, ${pairs}`, captions.length);
  return batch;
}

function* prefixed(prefix: string, module: Module): Generator<readonly [string, Tensor]> {
  for (const [name, tensor] of module.namedParameters()) if (tensor.requiresGrad) yield [`${prefix}.${name}`, tensor];
}
