// The tiny world's scenes: what training never meets, and that all else is met.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Draw } from "../../lib/data/draw.js";
import {
  ACTIVITIES,
  COLORS,
  drawScene,
  INSTRUMENTS,
  isHeldOut,
  NOTES,
  type Scene,
  SHAPES,
  SPEEDS,
  TURNS,
} from "../../lib/data/world/scenes.js";
import { worldScene } from "../../lib/data/world/write.js";

/** The combinations of values that may be held out, as words. */
function combinations(scene: Scene): string[] {
  if (scene.modality === "image") return scene.things.map(({ color, shape }) => `${color} ${shape}`);
  if (scene.modality === "video") return [`${scene.color} ${scene.shape}`];
  return [scene.modality === "audio" ? `${scene.instrument} ${scene.note}` : `${scene.activity} ${scene.turn} ${scene.speed}`];
}
const ALL = {
  image: COLORS.length * SHAPES.length,
  video: COLORS.length * SHAPES.length,
  audio: INSTRUMENTS.length * NOTES.length,
  imu: ACTIVITIES.length * TURNS.length * SPEEDS.length,
};

for (const modality of ["image", "video", "audio", "imu"] as const) {
  test(`${modality}: an eighth of the combinations is held out, every other one is trained on`, () => {
    const met = { train: new Set<string>(), heldout: new Set<string>() };
    for (const split of ["train", "heldout"] as const)
      for (let i = 0; i < 3000; ++i) {
        const { scene } = worldScene(7, modality, split, i);
        assert.is(isHeldOut(scene), split === "heldout");
        // Of a held-out picture, only the first thing is what training never meets.
        for (const one of split === "train" ? combinations(scene) : combinations(scene).slice(0, 1)) met[split].add(one);
      }
    assert.equal(
      [...met.heldout].filter((one) => met.train.has(one)),
      [],
    );
    assert.is(met.heldout.size, ALL[modality] / 8);
    assert.is(met.train.size, (ALL[modality] * 7) / 8);
  });
}

test("every colour and every shape is in a held-out pair", () => {
  const held = Array.from({ length: 2000 }, (_, i) => combinations(drawScene("video", new Draw(i), { held: "only" }))[0]!.split(" "));
  for (const [at, words] of [COLORS, SHAPES].entries()) assert.is(new Set(held.map((pair) => pair[at])).size, words.length);
});

test("no colour, shape or place twice in a picture", () => {
  for (let i = 0; i < 1000; ++i) {
    const scene = drawScene("image", new Draw(3, `${i}`), { things: 3 });
    if (scene.modality !== "image") throw new Error(scene.modality);
    for (const key of ["color", "shape", "place"] as const) assert.is(new Set(scene.things.map((thing) => thing[key])).size, 3);
  }
});

test.run();
