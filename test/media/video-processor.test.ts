// Clips to an encoder's input: the numbers of the reference, and num_frames from either file.
import { writeFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Pixels } from "../../lib/media/image.js";
import { ImageProcessor } from "../../lib/media/image-processor.js";
import { video } from "../../lib/media/video.js";
import { VideoProcessor } from "../../lib/media/video-processor.js";
import { Case, caseNames } from "../case.js";
import { rejects, temporaryFolder } from "./media-case.js";
import { greyFrame, greyOf, greyY4m } from "./video-case.js";

for (const name of caseNames(/^(viclip|videomae)$/)) {
  const c = new Case(name);
  test(`${name}: pixel values of the reference's clips`, async () => {
    const clips = c.names("in.frames.").map((tensor) => {
      const [count, height, width] = c.shape(tensor) as [number, number, number, number];
      const [data, size] = [c.values(tensor) as Uint8Array, height * width * 3];
      return {
        frames: Array.from({ length: count }, (_, i): Pixels => ({ data: data.subarray(i * size, (i + 1) * size), width, height })),
      };
    });
    const processor = VideoProcessor.fromPretrained(c.folder);
    assert.is(processor.frames, clips[0]!.frames.length);
    const { data, shape } = await processor.process(clips.map((clip) => video(clip)));
    assert.equal(shape, [...c.shape("out.pixel_values")]);
    const want = c.values("out.pixel_values");
    const off = data.reduce((count, v, i) => count + Number(Math.abs(v - want[i]!) > 1e-5), 0);
    const worst = data.reduce((most, v, i) => Math.max(most, Math.abs(v - want[i]!)), 0);
    assert.ok(off <= 0.001 * data.length && worst < 0.02, `${off} of ${data.length} values differ, by at most ${worst}`);
  });
}

const plain = new ImageProcessor({ size: 4, crop_size: 4, do_normalize: false });

test("(N, frames, 3, H, W), clip by clip and frame by frame", async () => {
  const { data, shape } = await new VideoProcessor(plain, { frames: 2 }).process([video(greyY4m(4)), video(greyY4m(1))]);
  assert.equal(shape, [2, 2, 3, 4, 4]);
  for (const [i, k] of [1, 3, 0, 0].entries())
    for (const v of data.subarray(i * 48, (i + 1) * 48)) assert.ok(Math.abs(v - greyOf(k) / 255) < 1e-6, `frame ${i}: ${v}`);
});

test("num_frames: from preprocessor_config.json, else from config.json, else from the caller", async () => {
  using folder = temporaryFolder();
  const write = (file: string, content: object) => writeFileSync(folder.file(file), JSON.stringify(content));
  write("preprocessor_config.json", { video_processor_type: "VideoMAEVideoProcessor", size: { shortest_edge: 6 }, crop_size: 6 });
  await rejects((async () => VideoProcessor.fromPretrained(folder.path))(), "E_MEDIA_OPTION", /num_frames/);
  write("config.json", { vision_config: { num_frames: 3 } });
  assert.is(VideoProcessor.fromPretrained(folder.path).frames, 3);
  write("config.json", { num_frames: 5 });
  assert.is(VideoProcessor.fromPretrained(folder.path).frames, 5);
  write("preprocessor_config.json", { image_processor_type: "CLIPImageProcessor", num_frames: 4, size: 6, crop_size: 6 });
  assert.is(VideoProcessor.fromPretrained(folder.path).frames, 4);
  const chosen = VideoProcessor.fromPretrained(folder.path, { frames: 2 });
  assert.equal((await chosen.process([video({ frames: [greyFrame(1)] })])).shape, [1, 2, 3, 6, 6]);
  writeFileSync(folder.file("config.json"), "{");
  write("preprocessor_config.json", {});
  await rejects((async () => VideoProcessor.fromPretrained(folder.path))(), "E_MEDIA_OPTION", /config\.json/);
});

test("what cannot be processed is refused", async () => {
  for (const frames of [0, 1.5, Number.NaN])
    await rejects((async () => new VideoProcessor(plain, { frames }))(), "E_MEDIA_OPTION", /frames/);
  await rejects(new VideoProcessor(plain, { frames: 2 }).process([]), "E_MEDIA_OPTION", /video/);
  const asIs = new VideoProcessor(new ImageProcessor({ do_resize: false, do_center_crop: false }), { frames: 1 });
  const small = { frames: [{ data: new Uint8Array(12), width: 2, height: 2 }] };
  await rejects(asIs.process([video(small), video(greyY4m(1))]), "E_MEDIA_OPTION", /video 1/);
  const reason = new Error("enough");
  assert.is(await asIs.process([video(small)], { signal: AbortSignal.abort(reason) }).catch((e) => e), reason);
});

test.run();
