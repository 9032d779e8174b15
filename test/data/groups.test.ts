// What the encoders of models/tiny are trained and judged on: scenes that differ in one attribute, never a held-out one, captions that fit one scene.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Draw } from "../../lib/data/draw.js";
import { caption } from "../../lib/data/world/language.js";
import { drawScene, isHeldOut } from "../../lib/data/world/scenes.js";
import { attributesOf, choices, type Encodable, groupedScenes, pairedScenes, variants } from "../../tools/pretrain/groups.js";

const MODALITIES: Encodable[] = ["image", "audio", "imu"];

for (const modality of MODALITIES) {
  test(`${modality}: a batch holds no held-out combination and no caption twice`, () => {
    for (let step = 0; step < 60; ++step) {
      const scenes = groupedScenes(modality, 64, new Draw(1, `batch ${step}`));
      assert.is(scenes.length, 64);
      assert.is(new Set(scenes.map((scene) => caption(scene))).size, 64);
      assert.not.ok(scenes.some(isHeldOut));
    }
  });

  test(`${modality}: captions that tell a part fit exactly one scene of their batch`, () => {
    let partial = 0;
    for (let step = 0; step < 60; ++step) {
      const { scenes, captions } = pairedScenes(modality, 64, new Draw(2, `pairs ${step}`));
      assert.is(scenes.length, captions.length);
      assert.is(new Set(captions).size, captions.length);
      assert.not.ok(scenes.some(isHeldOut));
      if (captions[0] === caption(scenes[0]!)) continue;
      ++partial;
      assert.ok(captions.length >= 2);
    }
    assert.ok(modality === "image" ? partial === 0 : partial > 15 && partial < 45, `${partial} of 60 batches tell a part`);
  });

  test(`${modality}: the variants of a scene differ in one word's place, and one of them is the scene`, () => {
    const draw = new Draw(3, modality);
    for (let i = 0; i < 100; ++i) {
      const scene = drawScene(modality, draw);
      for (const attribute of attributesOf(modality)) {
        const { captions, right } = choices(scene, attribute);
        assert.is(captions[right], caption(scene));
        assert.is(new Set(captions).size, captions.length);
        assert.is(captions.length, variants(scene, attribute).length);
      }
    }
  });
}

test.run();
