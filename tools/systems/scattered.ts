// Pictures whose things stand anywhere, larger and smaller. In the world's own pictures each thing stands near the middle of a quarter: who names the quarter
// is right for nine boxes of ten, and one of another picture is right for one in five.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Box } from "../../lib/data/boxes.js";
import { Draw } from "../../lib/data/draw.js";
import { encodePicture } from "../../lib/data/world/encode.js";
import { boxOf, drawBackground, drawLook, FRAME, type Look, paint, type Standing } from "../../lib/data/world/render-image.js";
import { drawScene, type ImageScene } from "../../lib/data/world/scenes.js";

export interface Placed {
  /** Within the folder of the world's pictures. */
  image: string;
  things: { text: string; box: Box }[];
}
/** Pixels between two things at least, and from the frame. */
const APART = 1;

export interface Scattered {
  name: string;
  /** With a combination in front that no training meets. */
  held: boolean;
  count: number;
  seed: number;
}

/** Pictures in `<data>/image/<name>/`. */
export async function writeScattered(data: string, { name, held, count, seed }: Scattered): Promise<Placed[]> {
  await mkdir(join(data, "image", name), { recursive: true });
  const pictures: Placed[] = [];
  for (let index = 0; index < count; ++index) {
    const draw = new Draw(seed, `scattered/${name}/${index}`);
    const { things } = drawScene("image", draw, { held: held ? "only" : "never" }) as ImageScene;
    const looks = () => things.map((thing) => resized(drawLook(thing, draw), draw));
    let standing = scattered(looks(), draw);
    while (!standing) standing = scattered(looks(), draw);
    const image = `${name}/${String(index).padStart(5, "0")}.png`;
    await writeFile(join(data, "image", image), await encodePicture(paint(drawBackground(draw), standing), "png"));
    pictures.push({
      image,
      things: things.map(({ color, shape }, i) => ({ text: `${color} ${shape}`, box: boxOf(standing[i] as Standing) })),
    });
  }
  return pictures;
}

function resized(look: Look, draw: Draw): Look {
  const times = draw.between(1.1, 1.45);
  return { ...look, size: look.size * times, reach: look.reach * times };
}

/** All places at which nothing touches anything are as likely. Nothing where none was found: two large things leave few, the largest none. */
function scattered(looks: readonly Look[], draw: Draw): Standing[] | undefined {
  for (let tries = 0; tries < 100; ++tries) {
    const standing = looks.map((look): Standing => {
      const at = () => draw.between(look.reach + APART, FRAME - look.reach - APART);
      return { look, x: at(), y: at() };
    });
    const apart = (a: Standing, b: Standing) => Math.max(Math.abs(a.x - b.x), Math.abs(a.y - b.y)) >= a.look.reach + b.look.reach + APART;
    if (standing.every((one, i) => standing.slice(i + 1).every((other) => apart(one, other)))) return standing;
  }
  return undefined;
}
