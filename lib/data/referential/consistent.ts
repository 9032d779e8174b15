// What Pink keeps of a model's own words about places (arXiv 2310.00582, section 3.4; pink/eval/object365_filter.py): those by which it finds the place again.
import { type Box, type BoxOptions, boxPixels, type PictureSize, parseBoxes, pixelIou } from "../boxes.js";
import type { MarkedObject, MarkedRegion } from "./picture.js";

export interface Found extends MarkedRegion {
  /** Where the model saw what the text says, in pixels; undefined where it named no box. */
  predicted: Box | undefined;
}

/** Texts whose box was found again, with the box that people drew. Default of `threshold`: 0.5. */
export const consistent = (found: readonly Found[], threshold = 0.5): MarkedRegion[] =>
  found.flatMap(({ text, box, predicted }) => (predicted && pixelIou(predicted, box) >= threshold ? [{ text, box }] : []));

export interface Remapped {
  /** As the text has it, in shares. */
  box: Box;
  /** Of the objects the one that fits best, by more than half; undefined where none does. */
  object: MarkedObject | undefined;
  iou: number;
}

/** Boxes of a caption that names places, each with the annotated object that it means. Objects that are ignored are none; of equals the first one counts. */
export function remapped(text: string, objects: readonly MarkedObject[], size: PictureSize, options: BoxOptions = {}): Remapped[] {
  return parseBoxes(text).map(({ box }) => {
    const place = boxPixels(box, size, options);
    let best: Remapped = { box, object: undefined, iou: 0 };
    for (const object of objects) {
      const iou = object.ignore ? 0 : pixelIou(object.box, place);
      if (iou > best.iou) best = { box, object, iou };
    }
    return best.iou > 0.5 ? best : { ...best, object: undefined };
  });
}
