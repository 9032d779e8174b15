// A scene of coloured shapes as 64 × 64 pixels. Edges come from signed distances; all shapes of one size cover about the same area, so that
// only their form tells them apart.
import type { Pixels } from "../../media/image.js";
import type { Draw } from "../draw.js";
import { type ImageScene, PLACES, type Thing } from "./scenes.js";

export const FRAME = 64;
const CELL = FRAME / 2;
/** Pixels that a thing keeps from the edge of its cell or of the frame. */
const MARGIN = 0.5;

const BASE: Record<Thing["color"], readonly [number, number, number]> = {
  red: [222, 38, 40],
  green: [40, 178, 58],
  blue: [48, 78, 232],
  yellow: [237, 222, 44],
  purple: [158, 48, 198],
  orange: [237, 132, 26],
  white: [236, 236, 236],
  cyan: [46, 208, 222],
};

interface Form {
  /** Signed distance from the outline, negative within, in the form's own unit. y points up. */
  distance(x: number, y: number): number;
  /** Own units for a size of 1: all forms then have about the area of a circle of radius 1 (the pointed ones a little less). */
  unit: number;
  /** What is shown at the thing's centre, in own units: the middle of the bounding box. */
  middle: readonly [number, number];
  /** Half of the larger side of the bounding box when turned by up to 12°, for a size of 1. */
  reach: number;
}

const box = (x: number, y: number, w: number, h: number): number => Math.max(Math.abs(x) - w, Math.abs(y) - h);
const length = (x: number, y: number): number => Math.sqrt(x * x + y * y);

const FORMS: Record<Thing["shape"], Form> = {
  circle: { distance: (x, y) => length(x, y) - 1, unit: 1, middle: [0, 0], reach: 1 },
  square: { distance: (x, y) => box(x, y, 1, 1), unit: 0.887, middle: [0, 0], reach: 1.051 },
  triangle: {
    distance: (x, y) => Math.max(0.866025 * Math.abs(x) + 0.5 * y, -y) - 0.5,
    unit: 1.48,
    middle: [0, 0.25],
    reach: 1.485,
  },
  star: { distance: star, unit: 1.42, middle: [0, 0.095], reach: 1.43 },
  cross: { distance: (x, y) => Math.min(box(x, y, 1, 0.36), box(x, y, 0.36, 1)), unit: 1.154, middle: [0, 0], reach: 1.214 },
  ring: { distance: (x, y) => Math.abs(length(x, y) - 0.775) - 0.225, unit: 1.197, middle: [0, 0], reach: 1.197 },
  heart: { distance: heart, unit: 1.876, middle: [0, 0.553], reach: 1.2 },
  moon: { distance: (x, y) => Math.max(length(x, y) - 1, 0.78 - length(x - 0.53, y)), unit: 1.388, middle: [-0.185, 0], reach: 1.445 },
};

/** Five points at distance 1, notches at distance NOTCH. */
const NOTCH = 0.5;
const [NOTCH_X, NOTCH_Y] = [NOTCH * Math.sin(Math.PI / 5), NOTCH * Math.cos(Math.PI / 5)];
function star(x: number, y: number): number {
  // Folded into the half of one point: between the tip (0, 1) and the notch (NOTCH_X, NOTCH_Y).
  const angle = Math.atan2(Math.abs(x), y);
  const fold = Math.abs(angle - ((2 * Math.PI) / 5) * Math.round(angle / ((2 * Math.PI) / 5)));
  const r = length(x, y);
  const [px, py] = [r * Math.sin(fold), r * Math.cos(fold)];
  const [ex, ey] = [NOTCH_X, NOTCH_Y - 1];
  // The line through both: outside is where the cross product is negative.
  return (ex * (1 - py) + ey * px) / -length(ex, ey);
}

/** Two quarter turns of a circle over a corner that stands on (0, 0). */
function heart(x: number, y: number): number {
  const ax = Math.abs(x);
  if (ax + y > 1) return length(ax - 0.25, y - 0.75) - Math.SQRT2 / 4;
  const along = 0.5 * Math.max(ax + y, 0);
  return Math.min(length(ax, y - 1), length(ax - along, y - along)) * Math.sign(ax - y);
}

/** How one thing looks, in every frame that shows it. */
export interface Look {
  form: Form;
  rgb: readonly number[];
  /** The radius of a circle of the same area. */
  size: number;
  angle: number;
  /** Pixels from its centre to the farthest side of its bounding box. */
  reach: number;
}
export function drawLook({ color, shape }: Thing, draw: Draw): Look {
  const form = FORMS[shape];
  const size = draw.between(7.6, 9.4);
  const rgb = BASE[color].map((v) => Math.min(255, v + draw.between(-18, 18)));
  return { form, rgb, size, angle: (draw.between(-12, 12) * Math.PI) / 180, reach: size * form.reach };
}

/** A dark, greyish, lightly noisy background. */
export interface Background {
  rgb: readonly number[];
  noise: number;
  /** Where the noise begins: frames of one clip share their grain. */
  grain: number;
}
export function drawBackground(draw: Draw): Background {
  const grey = draw.between(20, 55);
  return { rgb: [0, 1, 2].map(() => grey + draw.between(-6, 6)), noise: draw.between(2, 7), grain: draw.below(2 ** 31) | 1 };
}

/** Where frames are painted before they become bytes, one after the other. */
const canvas = new Float32Array(FRAME * FRAME * 3);

export function paint({ rgb, noise, grain }: Background, things: readonly { look: Look; x: number; y: number }[]): Pixels {
  const [r, g, b] = rgb as [number, number, number];
  for (let i = 0; i < canvas.length; i += 3) {
    canvas[i] = r - noise;
    canvas[i + 1] = g - noise;
    canvas[i + 2] = b - noise;
  }
  for (const { look, x, y } of things) paintThing(look, x, y);
  const data = new Uint8ClampedArray(canvas.length);
  const step = noise / 511.5;
  // xorshift, a pixel's three channels from one state: a draw each would take longer than all the rest.
  let state = grain;
  for (let i = 0; i < canvas.length; i += 3) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    data[i] = canvas[i]! + step * (state & 1023);
    data[i + 1] = canvas[i + 1]! + step * ((state >>> 10) & 1023);
    data[i + 2] = canvas[i + 2]! + step * ((state >>> 20) & 1023);
  }
  return { data: new Uint8Array(data.buffer), width: FRAME, height: FRAME };
}

function paintThing(look: Look, x: number, y: number): void {
  const [r, g, b] = look.rgb as [number, number, number];
  for (const { row, column, cover } of covered(look, x, y, 0)) {
    const at = 3 * (row * FRAME + column);
    const part = Math.min(1, cover);
    canvas[at]! += part * (r - canvas[at]!);
    canvas[at + 1]! += part * (g - canvas[at + 1]!);
    canvas[at + 2]! += part * (b - canvas[at + 2]!);
  }
}

/** Pixels of which it covers more than `least`. */
function* covered({ form, size, angle, reach }: Look, x: number, y: number, least: number) {
  const scale = size * form.unit;
  const [sin, cos] = [Math.sin(angle) / scale, Math.cos(angle) / scale];
  const [mx, my] = form.middle;
  const [left, right] = [Math.max(0, Math.floor(x - reach - 1)), Math.min(FRAME - 1, Math.ceil(x + reach + 1))];
  const [top, bottom] = [Math.max(0, Math.floor(y - reach - 1)), Math.min(FRAME - 1, Math.ceil(y + reach + 1))];
  for (let row = top; row <= bottom; ++row) {
    const dy = y - row - 0.5;
    for (let column = left; column <= right; ++column) {
      const dx = column + 0.5 - x;
      const cover = 0.5 - scale * form.distance(cos * dx + sin * dy + mx, cos * dy - sin * dx + my);
      if (cover > least) yield { row, column, cover };
    }
  }
}

/**
 * Where along one axis a thing stands: near the middle of its cell. Alone in its picture it may wander towards the middle of the frame, over
 * the cell's edge, but never out of the frame; its centre stays well within its cell.
 */
function position(far: boolean, reach: number, alone: boolean, draw: Draw): number {
  const middle = far ? CELL * 1.5 : CELL * 0.5;
  const room = CELL / 2 - MARGIN - reach;
  const outward = Math.min(alone ? 6 : 2.5, room);
  const inward = alone ? 6 : outward;
  return middle + (far ? -draw.between(-outward, inward) : draw.between(-outward, inward));
}

/** A thing at its place: pixels of its centre. */
export interface Standing {
  look: Look;
  x: number;
  y: number;
}

/** 64 × 64 pixels of the scene; sizes, positions, angles, colours and the background vary with the draws. */
export const renderImage = (scene: ImageScene, draw: Draw): Pixels => renderPlaced(scene, draw).pixels;

/** The same, and where each thing is: [x1, y1, x2, y2] in pixels, around all that it covers by half or more. */
export function renderPlaced(scene: ImageScene, draw: Draw): { pixels: Pixels; boxes: [number, number, number, number][] } {
  const background = drawBackground(draw);
  const things = scene.things.map((thing): Standing => {
    const look = drawLook(thing, draw);
    const place = PLACES.indexOf(thing.place);
    const at = (far: boolean) => position(far, look.reach, scene.things.length === 1, draw);
    return { look, x: at(place % 2 === 1), y: at(place >= 2) };
  });
  return { pixels: paint(background, things), boxes: things.map(boxOf) };
}

/** Around all that it covers by half or more, in pixels. */
export function boxOf({ look, x, y }: Standing): [number, number, number, number] {
  const box: [number, number, number, number] = [FRAME, FRAME, 0, 0];
  for (const { row, column } of covered(look, x, y, 0.5)) {
    box[0] = Math.min(box[0], column);
    box[1] = Math.min(box[1], row);
    box[2] = Math.max(box[2], column + 1);
    box[3] = Math.max(box[3], row + 1);
  }
  return box;
}
