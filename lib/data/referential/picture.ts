// A picture with what people marked in it, whichever data set it is of.
import type { Box, PictureSize } from "../boxes.js";

export interface MarkedObject {
  /** Its own within the picture. */
  id: number;
  /** What it is called; undefined where nobody said. */
  name?: string | undefined;
  /** In pixels. */
  box: Box;
  /** A crowd, or a thing that is hardly there: no task asks for it, and none counts it. */
  ignore?: boolean | undefined;
}
export interface MarkedRelation {
  /** Ids of objects. */
  subject: number;
  object: number;
  /** "on", "holding". */
  predicate: string;
}
/** A part of the picture in words that fit this part alone. */
export interface MarkedRegion {
  box: Box;
  text: string;
}
export interface MarkedPicture extends PictureSize {
  /** The picture's file, below the folder of the pictures. */
  image: string;
  objects: readonly MarkedObject[];
  relations?: readonly MarkedRelation[];
  regions?: readonly MarkedRegion[];
}

export const centre = ([x1, y1, x2, y2]: Box): readonly [number, number] => [(x1 + x2) / 2, (y1 + y2) / 2];
export const areaOf = ([x1, y1, x2, y2]: Box): number => (x2 - x1) * (y2 - y1);
