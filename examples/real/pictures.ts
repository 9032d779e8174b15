// Pictures of 32 × 32: mirrored, moved, larger or smaller, lighter or darker, with a piece cut out.
import { type ImagePart, loadImage, type Pixels } from "../../lib/index.js";
import type { Sense } from "./sense.js";

const SIDE = 32;
const PLANE = SIDE * SIDE;
const MIDDLE = (SIDE - 1) / 2;

export const PICTURES: Sense<Pixels> = {
  name: "image",
  shape: [3, SIDE, SIDE],
  widths: [16, 48, 96, 128],
  stride: 1,
  steps: 1000,
  learningRate: 3e-3,
  load: (part) => loadImage(part as ImagePart),

  see({ data, width, height }) {
    if (width !== SIDE || height !== SIDE) throw new RangeError(`expected pictures of ${SIDE} × ${SIDE}, got ${width} × ${height}`);
    const grid = new Float32Array(3 * PLANE);
    for (let i = 0; i < PLANE; ++i) for (let c = 0; c < 3; ++c) grid[c * PLANE + i] = ((data[3 * i + c] as number) / 255 - 0.5) * 4;
    return grid;
  },

  vary(grid, into, draw) {
    const mirror = draw.chance(0.5) ? -1 : 1;
    const [right, down] = [draw.below(7) - 3, draw.below(7) - 3];
    const zoom = draw.between(0.9, 1.15);
    const [gain, light] = [draw.between(0.8, 1.2), draw.between(-0.2, 0.2)];
    const [holeX, holeY, hole] = [draw.below(SIDE), draw.below(SIDE), draw.chance(0.3) ? 4 : 0];
    for (let y = 0; y < SIDE; ++y)
      for (let x = 0; x < SIDE; ++x) {
        const fromX = Math.round((mirror * (x - MIDDLE)) / zoom + MIDDLE + right);
        const fromY = Math.round((y - MIDDLE) / zoom + MIDDLE + down);
        const inside = fromX >= 0 && fromY >= 0 && fromX < SIDE && fromY < SIDE;
        const isCut = Math.abs(x - holeX) < hole && Math.abs(y - holeY) < hole;
        for (let c = 0; c < 3; ++c)
          into[c * PLANE + y * SIDE + x] = inside && !isCut ? (grid[c * PLANE + fromY * SIDE + fromX] as number) * gain + light : 0;
      }
  },
};
