// BLIP-2's first stage as a training: a Q-Former learns from features of frozen encoders and captions. Each step looks at its batch once without a tape: which
// query fits a caption best, and from how alike the pairs are which wrong ones are drawn for matching (arXiv 2301.12597, section 3.2, hard negatives).
import { expected } from "../core/errors.js";
import { checkOptions } from "../core/options.js";
import { scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { Draw } from "../data/draw.js";
import type { Chosen } from "../models/blip2-losses.js";
import type { Blip2StageOne, Others, Pairs } from "../models/blip2-stage-one.js";
import { add } from "../ops/index.js";
import { alone } from "./busy-model.js";
import { fromNothing, OPTIMIZE_KEYS, type OptimizeOptions } from "./optimize.js";
import type { StepReport } from "./step-report.js";

/** Pair i is medium i and caption i. */
export interface RepresentBatch {
  /** (B,S,d): what a frozen encoder made of the media. */
  features: { data: Float32Array; shape: readonly [number, number, number] };
  /** In ids of the Q-Former's tokenizer, each with what it puts around a text. */
  captions: readonly ArrayLike<number>[];
}

export interface RepresentOptions extends OptimizeOptions {
  /** The id that begins a text that is written: [DEC], or the tokenizer's first. */
  begin: number;
  /** Of the wrong pairs that are drawn. Default 0. */
  seed?: number;
  batch: (step: number) => RepresentBatch | Promise<RepresentBatch>;
}

/** Pairs of a step, with what was drawn for them. */
export interface PairsWindow extends Pairs {
  chosen: Chosen;
  others: Others;
}

/** Trains what requires gradients in `model` by the three losses together. Yields each step's report, one step late. */
export function represent(model: Blip2StageOne, options: RepresentOptions): AsyncGenerator<StepReport> {
  checkOptions("represent", options, [...OPTIMIZE_KEYS, "begin", "seed", "batch"]);
  return alone("represent", [model], () => steps(model, options));
}

function steps(model: Blip2StageOne, { batch, begin, seed = 0, ...options }: RepresentOptions): AsyncGenerator<StepReport> {
  const parameters = [...model.namedParameters()].filter(([, tensor]) => tensor.requiresGrad);
  const next = async (step: number) => pairsOf(model, await batch(step), { begin, seed, step });
  const lossOf = (window: PairsWindow) => pairsLoss(model, window);
  return fromNothing(parameters, { next }, { lossOf, itemsOf: ({ captions }) => captions.length }, options);
}

/** A batch as its losses are made of, under the weights of now. */
export async function pairsOf(
  model: Blip2StageOne,
  batch: RepresentBatch,
  { begin, seed, step }: { begin: number; seed: number; step: number },
): Promise<PairsWindow> {
  const { features, captions } = checked(batch);
  const pairs = { features: Tensor.from(features.data, features.shape, { device: model.device }), captions, begin };
  const chosen = await model.compare(pairs);
  return { ...pairs, chosen, others: hardNegatives(chosen, new Draw(seed, `negatives ${step}`)) };
}

/** The three losses together, (1). The window's features are disposed. */
export function pairsLoss(model: Blip2StageOne, { chosen, others, ...pairs }: PairsWindow): Tensor {
  const loss = scope(() => {
    const { contrastive, matching, language } = model.losses(pairs, chosen, others);
    return add(add(contrastive, matching), language);
  });
  pairs.features.dispose(); // the tape holds what backward needs
  return loss;
}

/** Of each caption another medium, and of each medium another caption: the more alike, the likelier. */
export function hardNegatives({ similarity, temp }: Pick<Chosen, "similarity" | "temp">, draw: Draw): Others {
  const B = Math.round(Math.sqrt(similarity.length));
  const at = (medium: number, caption: number) => (similarity[medium * B + caption] as number) / temp;
  const all = Array.from({ length: B }, (_, i) => i);
  return {
    media: all.map((caption) =>
      drawn(
        all.map((medium) => (medium === caption ? -Infinity : at(medium, caption))),
        draw,
      ),
    ),
    captions: all.map((medium) =>
      drawn(
        all.map((caption) => (medium === caption ? -Infinity : at(medium, caption))),
        draw,
      ),
    ),
  };
}

/** One draw from softmax(logits). */
function drawn(logits: readonly number[], draw: Draw): number {
  const most = Math.max(...logits);
  const weights = logits.map((z) => Math.exp(z - most));
  let left = draw.uniform() * weights.reduce((a, b) => a + b, 0);
  let last = 0;
  for (const [i, weight] of weights.entries()) {
    if (!weight) continue;
    last = i;
    left -= weight;
    if (left < 0) break;
  }
  return last;
}

function checked(batch: RepresentBatch): RepresentBatch {
  const { features, captions } = batch;
  const [B] = features.shape;
  if (captions.length !== B) throw expected("E_SHAPE", "represent", `a caption for each of ${B} media`, captions.length);
  if (B < 2) throw expected("E_SHAPE", "represent", "at least two pairs, of which each is the other's wrong one", B, "raise the batch");
  return batch;
}
