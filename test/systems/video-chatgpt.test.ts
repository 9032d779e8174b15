// Video-ChatGPT: pooled rows with gradients, its prompt, its published projection, a clip answered, and what a tagger supports of captions.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { conversationOf } from "../../lib/anymal/prompt.js";
import { backward, noGrad } from "../../lib/core/autograd.js";
import { Tensor } from "../../lib/core/tensor.js";
import { supported } from "../../lib/data/supported.js";
import { convertCheckpoint } from "../../lib/io/convert.js";
import { evenTimeline, pickFrames } from "../../lib/media/clip.js";
import { video } from "../../lib/media/video.js";
import { clipPool } from "../../lib/models/bridges/clip-pool.js";
import { videoChatgpt } from "../../lib/systems/video-chatgpt.js";
import { blink, toy } from "../anymal/toy.js";
import { Case, caseNames, here, near } from "../case.js";
import { floats, fresh, remove, root, torchFile } from "../io/torch-case.js";
import { rejection } from "../train/stages.js";

const test = suite("Video-ChatGPT");
test.after(remove);

for (const name of caseNames(/^video-chatgpt/)) {
  const c = new Case(name);
  for (const key of c.names("in.features.")) {
    const clip = key.slice("in.features.".length);
    test(`${name}: the rows of ${clip} and their gradient`, async () => {
      using x = c.tensor(key, { requiresGrad: true });
      const [F = 0, S = 0] = x.shape;
      using y = clipPool(x.reshape([1, ...x.shape]), 100);
      assert.equal(y.shape.slice(0, 2), [1, Math.max(F, 100) + S]);
      await c.close(`out.tokens.${clip}`, y);
      using g = c.tensor(`in.grad_y.${clip}`);
      backward(y, g.reshape(y.shape));
      await c.close(`grad.features.${clip}`, x.grad!);
      x.grad!.dispose();
    });
  }

  test(`${name}: frames are picked as its loader picks them`, () => {
    for (const { total, wanted, indices } of c.info.frames) {
      const picked = (fps: number | undefined) => pickFrames(evenTimeline(total, fps), { frames: wanted, picks: "between" }, {}, "clip");
      assert.equal([picked(undefined).indices, picked(24).indices], [indices, indices], `${wanted} of ${total}`);
      // In a window: of what is shown there alone.
      const long = evenTimeline(total + 7, 1);
      const within = pickFrames(long, { frames: wanted, picks: "between" }, { start: 4, seconds: total }, "clip").indices;
      assert.equal(
        within,
        indices.map((index: number) => index + 4),
      );
    }
  });

  test(`${name}: the clip stands behind the question, on a line of its own between its marks`, () => {
    for (const { question, patches, text } of c.info.prompts) {
      const { written } = videoChatgpt;
      const [turn] = conversationOf([question, blink("red", "blue")], { written });
      const shown = turn!.content.map((part) => (typeof part === "string" ? part : "<vid_patch>".repeat(patches))).join("");
      assert.is(shown, text);
    }
  });
}

test("the published projection becomes a bridge that a model is assembled on, by the table's name alone", async () => {
  const world = await toy();
  try {
    const width: number = JSON.parse(readFileSync(join(world.llm, "config.json"), "utf8")).hidden_size;
    const layer = new Map([
      ["model.mm_projector.weight", floats([width, 16], 0.1)],
      ["model.mm_projector.bias", floats([width], 0.1)],
      ["model.embed_tokens.weight", floats([3, width], 1)],
    ]);
    const from = join(root, "video_chatgpt-7B.bin");
    torchFile(from, layer);
    assert.is((await convertCheckpoint(from, fresh())).table, undefined);
    const to = fresh();
    const { files, left, made } = await convertCheckpoint(from, to, { table: "video-chatgpt" });
    assert.equal([files, left, made], [["projector.safetensors"], ["model.embed_tokens.weight"], ["projector.json"]]);
    using model = await AnyMAL.assemble({
      ...{ llm: world.llm, device: here, system: "video-chatgpt", prompt: { system: "Look.", written: {} } },
      modalities: { video: { encoder: world.clip, frames: 3, projector: to } },
    });
    const { frames, picks } = model.encoder("video").setup;
    assert.equal([frames, picks], [3, "between"]);
    const clip = blink("red", "blue");
    const [features] = await model.features([clip]);
    // 100 rows for frames and four for places.
    assert.is(model.projector("video").rows(features!.shape), 104);
    using batch = noGrad(() => model.projector("video").forward(Tensor.from(features!.data, [1, ...features!.shape], { device: here })));
    const row = (await batch.data()).slice(3 * width, 4 * width);
    near(
      row,
      Float32Array.from({ length: width }, (_, i) => Math.sin(i) * 0.1),
      1e-6,
      "a row of zeros is the layer's bias",
    );
  } finally {
    world.remove();
  }
});

test("the rule goes with the model and to what reads its clips, and another one is refused", async () => {
  const world = await toy();
  try {
    const projector = { type: "clip-pool", temporal: 3 } as const;
    const assembled = (more: object) =>
      AnyMAL.assemble({ llm: world.llm, device: here, system: "video-chatgpt", modalities: { video: { encoder: world.clip, frames: 4, projector, ...more } } }); // biome-ignore format: one line
    using model = await assembled({});
    using other = await assembled({ picks: "middles" });
    // Of ten frames the third of four is the sixth there, and the seventh here.
    const level = (v: number) => ({ data: new Uint8Array(16 * 16 * 3).fill(v * 25), width: 16, height: 16 });
    const clip = video({ frames: Array.from({ length: 10 }, (_, i) => level(i)), fps: 5 });
    const rows = async (of: AnyMAL) => (await of.features([clip]))[0]!.data;
    const [between, middles] = [await rows(model), await rows(other)];
    const frame = between.length / 4;
    const alike = [0, 1, 2, 3].map((i) => [frame * i, frame * (i + 1)].map(Math.round)).map(([a, b]) => String(between.slice(a, b)) === String(middles.slice(a, b))); // biome-ignore format: one line
    assert.equal(alike, [true, true, false, true]);
    assert.is.not(await model.encoder("video").key(), await other.encoder("video").key());
    await model.save(world.path("picks"));
    using again = await AnyMAL.fromPretrained(world.path("picks"), { device: here });
    assert.equal([again.encoder("video").setup, await rows(again)], [model.encoder("video").setup, between]);
    const path = join(world.path("picks"), "anymal.json");
    writeFileSync(path, readFileSync(path, "utf8").replace('"between"', '"beside"'));
    assert.match(
      (await rejection(() => AnyMAL.fromPretrained(world.path("picks"), { device: here }))).message,
      /video\.picks to be middles or between/,
    );
    assert.match((await rejection(() => assembled({ picks: "first" }))).message, /middles or between, for video/);
    const image = { image: { encoder: world.clip, picks: "between" as const } };
    assert.match((await rejection(() => AnyMAL.assemble({ llm: world.llm, device: here, modalities: image }))).message, /for video/);
  } finally {
    world.remove();
  }
});

test("statements are kept whose things the tagger saw, in whichever number, and tags of several words are one", () => {
  const vocabulary = ["dog", "cat", "fire", "fire truck", "bus", "glass", "box", "baby", "street"];
  const all = [
    "A dog runs.",
    "Two dogs and a cat",
    "a red Fire Truck, parked",
    "a fire burns",
    "boxes of glasses",
    "babies near a bus",
    "it is nice",
  ];
  const keep = (tags: string[], more = {}) => supported(all, tags, { vocabulary, ...more });
  assert.equal(keep(["dog", "street"]), ["A dog runs."]);
  assert.equal(keep(["dogs", "cat"]), ["A dog runs.", "Two dogs and a cat"]);
  assert.equal(keep(["fire truck"]), ["a red Fire Truck, parked"]);
  assert.equal(keep(["glass", "box"]), ["boxes of glasses"]);
  assert.equal(keep(["baby", "bus"], { least: 2 }), ["babies near a bus"]);
  assert.equal(keep([], { least: 0 }), ["it is nice"]);
  assert.equal(supported(["a zebra"], ["zebra"], { vocabulary: ["dog"] }), ["a zebra"]);
  assert.throws(() => supported(all, [], { vocabulary: [] }), /the tags that the tagger knows/);
  assert.throws(() => keep([], { most: 1 }), /known are vocabulary, least/);
  assert.throws(() => keep([], { least: -1 }), /0 or more/);
});

test.run();
