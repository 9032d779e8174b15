// Answers that name a place: right where the box they name is the true one by half or more, as RefCOCO is scored.
import { expected } from "../core/errors.js";
import { checkOptions, optionNames } from "../core/options.js";
import { type Box, type BoxOptions, boxIou, boxPixels, type PictureSize, parseBox } from "../data/boxes.js";

export interface GroundingAnswer extends PictureSize {
  answer: string;
  /** The true box, in pixels. */
  box: Box;
}
export interface GroundingOptions extends BoxOptions {
  /** IoU from which on an answer is right. Default 0.5. */
  threshold?: number;
}
export interface GroundingScore {
  right: number;
  count: number;
  /** right / count: Acc@0.5. */
  accuracy: number;
  /** Of all answers; those without a box count 0. */
  meanIou: number;
  /** Answers that name not exactly one box. */
  malformed: number;
}
const OPTIONS = optionNames<GroundingOptions>({ square: true, threshold: true });

/** Throws E_VALUE without answers. */
export function scoreGrounding(answers: readonly GroundingAnswer[], options: GroundingOptions = {}): GroundingScore {
  checkOptions("scoreGrounding", options, OPTIONS);
  const { threshold = 0.5, square } = options;
  if (!answers.length) throw expected("E_VALUE", "scoreGrounding", "at least one answer", "none");
  if (!(threshold > 0 && threshold <= 1)) throw expected("E_VALUE", "scoreGrounding: threshold", "a number above 0, 1 at most", threshold);
  let malformed = 0;
  const ious = answers.map(({ answer, box, width, height }) => {
    const named = parseBox(answer);
    if (!named) ++malformed;
    return named ? boxIou(boxPixels(named, { width, height }, { square }), box) : 0;
  });
  const right = ious.filter((iou) => iou >= threshold).length;
  const count = answers.length;
  return { right, count, accuracy: right / count, meanIou: ious.reduce((sum, iou) => sum + iou, 0) / count, malformed };
}
