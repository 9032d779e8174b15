// Places in a picture as text, as Pink writes them (arXiv 2310.00582; pink/datasets): [x1,y1,x2,y2], each a share of the picture's width or height with
// three decimals; and how far two boxes are one.
import { checkOptions, optionNames } from "../core/options.js";
/** [x1, y1, x2, y2], left, top, right, bottom. */
export type Box = readonly [number, number, number, number];
export interface PictureSize {
  /** Pixels. */
  width: number;
  height: number;
}
export interface BoxOptions {
  /** Shares are those of the picture padded to a square around its middle, as a system with `pad` sees it. Default false. */
  square?: boolean | undefined;
}

const OPTIONS = optionNames<BoxOptions>({ square: true });

/** Where a picture stands in what shares are of. */
function frameOf({ width, height }: PictureSize, options: BoxOptions) {
  checkOptions("a box", options, OPTIONS);
  const { square = false } = options;
  if (!square) return { width, height, left: 0, top: 0 };
  const side = Math.max(width, height);
  return { width: side, height: side, left: Math.floor((side - width) / 2), top: Math.floor((side - height) / 2) };
}

/** A box in pixels as shares, none rounded. */
export function boxShares([x1, y1, x2, y2]: Box, size: PictureSize, options: BoxOptions = {}): Box {
  const { width, height, left, top } = frameOf(size, options);
  // Times the reciprocal, as published: a division can print another last digit.
  const [across, down] = [1 / width, 1 / height];
  return [(x1 + left) * across, (y1 + top) * down, (x2 + left) * across, (y2 + top) * down];
}

/** Shares as a box in pixels. */
export function boxPixels([x1, y1, x2, y2]: Box, size: PictureSize, options: BoxOptions = {}): Box {
  const { width, height, left, top } = frameOf(size, options);
  return [x1 * width - left, y1 * height - top, x2 * width - left, y2 * height - top];
}

/** "[0.100,0.200,0.300,0.400]" of a box in pixels. */
export const boxText = (box: Box, size: PictureSize, options: BoxOptions = {}): string =>
  `[${boxShares(box, size, options).map(threeDecimals).join()}]`;
/** "[0.100,0.200]" of a point in pixels. */
export const pointText = ([x, y]: readonly [number, number], size: PictureSize, options: BoxOptions = {}): string =>
  `[${boxShares([x, y, x, y], size, options).slice(0, 2).map(threeDecimals).join()}]`;

/** As Python's format: a tie that is exact in binary, an odd number of sixteenths, goes to the even digit; toFixed goes up. */
function threeDecimals(value: number): string {
  const tie = Math.abs(value * 16) % 2 === 1;
  if (!tie) return value.toFixed(3);
  const below = Math.floor(value * 1000);
  return ((below % 2 === 0 ? below : below + 1) / 1000).toFixed(3);
}

/** The box that an answer names, in shares, or undefined: an answer of one box has exactly four numbers of the form d.ddd, whatever is around them. */
export function parseBox(text: string): Box | undefined {
  const numbers = Array.from(text.matchAll(/[0-9]\.[0-9]{3}/g), ([number]) => Number(number));
  return numbers.length === 4 ? (numbers as [number, number, number, number]) : undefined;
}

const NUMBER = "([0-9]\\.[0-9]{3})";
const BOX = new RegExp(`\\[${NUMBER},${NUMBER},${NUMBER},${NUMBER}\\]`, "g");
/** All boxes of a text in their brackets, in shares, and where each begins. */
export const parseBoxes = (text: string): { box: Box; text: string; index: number }[] =>
  Array.from(text.matchAll(BOX), (found) => ({
    box: found.slice(1).map(Number) as [number, number, number, number],
    text: found[0],
    index: found.index,
  }));

const area = ([x1, y1, x2, y2]: Box): number => (x2 - x1) * (y2 - y1);

/** Intersection over union, 0 where one of the two is no box. */
export function boxIou(a: Box, b: Box): number {
  const across = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const down = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  const both = Math.max(0, across) * Math.max(0, down);
  const union = area(a) + area(b) - both;
  return both > 0 && union > 0 ? both / union : 0;
}

/**
 * As Pink's filter computes it, in pixels (pink/eval/object365_filter.py): a pixel less on the far sides before the two are cut, a pixel more on the sides
 * of what both share. It is boxIou() up to rounding, and 0 where a side of that is at most a pixel.
 */
export function pixelIou(a: Box, b: Box): number {
  const [x1, y1] = [Math.max(a[0], b[0]), Math.max(a[1], b[1])];
  const [x2, y2] = [Math.min(a[2] - 1, b[2] - 1), Math.min(a[3] - 1, b[3] - 1)];
  const both = x1 < x2 && y1 < y2 ? (x2 - x1 + 1) * (y2 - y1 + 1) : 0;
  return both / (area(a) + area(b) - both);
}
