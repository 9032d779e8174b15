// Videos: the same picks from every kind of source, windows, limits, and what a bad clip says.
import { mkdirSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import sharp from "sharp";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { loadVideo, type VideoOptions, video } from "../../lib/media/video.js";
import { soundOf } from "../../lib/media/video-sound.js";
import { abortedAtEveryLook } from "./aborts.js";
import { rejects, temporaryFolder } from "./media-case.js";
import { animation, expectedPicks, frameFolder, greyFrame, greyY4m, which } from "./video-case.js";

const COUNT = 11;

for (const frames of [1, 3, 4, 8, 11, 16]) {
  test(`${frames} frames: equal picks from frames, a folder, Y4M, GIF and WebP of one clip`, async () => {
    using folder = temporaryFolder();
    const want = expectedPicks(COUNT, frames);
    const decoded = { frames: Array.from({ length: COUNT }, (_, k) => greyFrame(k)), fps: 10 };
    const sources = [
      decoded,
      await frameFolder(folder.file("clip"), COUNT),
      greyY4m(COUNT),
      await animation("gif", COUNT, 100),
      await animation("webp", COUNT, 100),
    ];
    for (const source of sources) {
      const got = await loadVideo(video(source, { fps: 10 }), frames);
      assert.equal(which(got.frames), want);
      assert.equal([got.fps, got.seconds, got.hasSound], [10, COUNT / 10, false]);
    }
  });
}

test("one frame stands for all eight when there is no other", async () => {
  using folder = temporaryFolder();
  const png = await sharp(greyFrame(0).data, { raw: { width: 16, height: 12, channels: 3 } })
    .png()
    .toBuffer();
  for (const source of [
    { frames: [greyFrame(0)] },
    await frameFolder(folder.file("one"), 1),
    greyY4m(1),
    await animation("gif", 1, 100),
    png,
  ]) {
    const { frames } = await loadVideo(video(source), 8);
    assert.equal(which(frames), [0, 0, 0, 0, 0, 0, 0, 0]);
    assert.ok(frames.every((frame) => frame === frames[0]));
  }
});

test("frames that are shown longer are picked more often", async () => {
  for (const format of ["gif", "webp"] as const) {
    const clip = await animation(format, 4, [100, 100, 100, 700]);
    const { frames, fps, seconds } = await loadVideo(video(clip), 4);
    assert.equal(which(frames), [1, 3, 3, 3]); // at 125, 375, 625 and 875 ms
    assert.equal([fps, seconds], [4, 1]);
  }
});

test("a GIF that asks for no time at all is shown as browsers do", async () => {
  const { seconds } = await loadVideo(video(await animation("gif", 5, 0)), 2);
  assert.is(seconds, 0.5);
});

test("a window: start and seconds", async () => {
  using folder = temporaryFolder();
  const pick = async (options: VideoOptions, frames: number) => {
    const sources = [greyY4m(20), await animation("gif", 20, 100), await frameFolder(folder.file(`clip-${Math.random()}`), 20)];
    const all = await Promise.all(sources.map((source) => loadVideo(video(source, { fps: 10, ...options }), frames)));
    for (const { seconds } of all) assert.is(seconds?.toFixed(6), all[0]!.seconds?.toFixed(6));
    const picks = all.map((one) => which(one.frames));
    for (const other of picks) assert.equal(other, picks[0]);
    return picks[0];
  };
  assert.equal(await pick({ start: 0.5 }, 3), [7, 12, 17]);
  assert.equal(await pick({ start: 0.5, seconds: 1 }, 2), [7, 12]);
  assert.equal(await pick({ start: 0.3, seconds: 0.1 }, 2), [3, 3]);
  assert.equal(await pick({ start: 1.9, seconds: 60 }, 2), [19, 19]);
  await rejects(loadVideo(video(greyY4m(20), { start: 2 }), 1), "E_MEDIA_OPTION", /2 s/);
  await rejects(loadVideo(video({ frames: [greyFrame(0)] }, { start: 1 }), 1), "E_MEDIA_OPTION", /fps/);
});

test("from a file, a file: URL, a data: URL and bytes", async () => {
  using folder = temporaryFolder();
  const bytes = greyY4m(4);
  writeFileSync(folder.file("clip.any"), bytes); // the name does not matter
  const url = pathToFileURL(folder.file("clip.any"));
  for (const source of [folder.file("clip.any"), url, String(url), bytes, `data:video/y4m;base64,${bytes.toString("base64")}`])
    assert.equal(which((await loadVideo(video(source), 2)).frames), [1, 3]);
});

test("a folder: natural order, other files are let be, only the picked frames are decoded", async () => {
  using folder = temporaryFolder();
  const clip = await frameFolder(folder.file("clip"), 11);
  writeFileSync(`${clip}/notes.txt`, "no picture");
  writeFileSync(`${clip}/.hidden.png`, "no picture");
  mkdirSync(`${clip}/sub.png`);
  assert.equal(which((await loadVideo(video(clip), 11)).frames), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  writeFileSync(`${clip}/frame-2.png`, "no picture");
  assert.equal(which((await loadVideo(video(clip), 1)).frames), [5]);
  await rejects(loadVideo(video(clip), 11), "E_MEDIA_FORMAT", /frame-2\.png/);
});

test("a list of pictures: its own order, and each is a picture like any other", async () => {
  using folder = temporaryFolder();
  const clip = await frameFolder(folder.file("clip"), 4);
  const listed = [3, 0, 2].map((k) => `${clip}/frame-${k + 1}.png`);
  const got = await loadVideo(video(listed, { fps: 10 }), 3);
  assert.equal([which(got.frames), got.fps, got.seconds], [[3, 0, 2], 10, 0.3]);
  assert.is(await soundOf(video(listed)), undefined);
  await rejects(loadVideo(video([]), 1), "E_MEDIA_SOURCE", /at least one picture/);
  await rejects(loadVideo(video(listed, { maxFrames: 2 }), 1), "E_MEDIA_LIMIT", /at most 2 frames/);
  await rejects(loadVideo(video([`${clip}/none.png`]), 1), "E_MEDIA_SOURCE", /none\.png/);
  await rejects(loadVideo(video(listed, { maxBytes: 20 }), 1), "E_MEDIA_LIMIT", /at most 20 bytes/);
});

test("bad clips say what is wrong", async () => {
  using folder = temporaryFolder();
  const load = (source: Parameters<typeof video>[0], options: VideoOptions = {}, frames = 4) => loadVideo(video(source, options), frames);
  mkdirSync(folder.file("empty"));
  await rejects(load(folder.file("empty")), "E_MEDIA_FORMAT", /empty/, /pictures/);
  await rejects(load(folder.file("none.mp4")), "E_MEDIA_SOURCE", /no such file/);
  await rejects(load("https://example.org/clip.mp4"), "E_MEDIA_SOURCE", /network/);
  await rejects(load(new Uint8Array()), "E_MEDIA_FORMAT", /empty/);
  await rejects(load({ frames: [] }), "E_MEDIA_FORMAT", /at least one frame/);
  await rejects(load({ frames: [{ data: new Uint8Array(5), width: 2, height: 2 }] }), "E_MEDIA_FORMAT", /2 × 2/);
  const gif = await animation("gif", 8, 100);
  await rejects(load(gif.subarray(0, 20)), "E_MEDIA_FORMAT");
  await rejects(load(gif.subarray(0, gif.length / 2), {}, 8), "E_MEDIA_FORMAT");
  const webp = await animation("webp", 8, 100);
  await rejects(load(webp.subarray(0, webp.length / 2), {}, 8), "E_MEDIA_FORMAT");
});

test("limits", async () => {
  using folder = temporaryFolder();
  const clips = [greyY4m(8), await animation("gif", 8, 100), await frameFolder(folder.file("clip"), 8)];
  for (const source of [...clips, { frames: Array.from({ length: 8 }, (_, k) => greyFrame(k)) }]) {
    const load = (options: VideoOptions, frames = 2) => loadVideo(video(source, { fps: 10, ...options }), frames);
    await rejects(load({ maxPixels: 191 }), "E_MEDIA_LIMIT", /16 × 12/);
    await rejects(load({ maxFrames: 7 }), "E_MEDIA_LIMIT", /7 frames/);
    await rejects(load({ maxSeconds: 0.7 }), "E_MEDIA_LIMIT", /0\.8 s/);
    await load({ maxPixels: 192, maxFrames: 8, maxSeconds: 0.8 });
    await load({ maxSeconds: 0.7, seconds: 0.5 });
    await rejects(load({}, 300_000), "E_MEDIA_LIMIT", /frames/);
  }
  writeFileSync(folder.file("clip.y4m"), clips[0] as Buffer);
  await rejects(loadVideo(video(folder.file("clip.y4m"), { maxBytes: 100 }), 1), "E_MEDIA_LIMIT", /maxBytes/);
  await rejects(loadVideo(video(clips[1] as Buffer, { maxBytes: 100 }), 1), "E_MEDIA_LIMIT", /maxBytes/);
});

test("options that make no sense are refused", async () => {
  const options: object[] = [
    { start: -1 },
    { start: Number.NaN },
    { seconds: 0 },
    { fps: -1 },
    { maxPixels: Number.NaN },
    { audioTrack: "both" },
  ];
  for (const wrong of options) await rejects(loadVideo(video(greyY4m(2), wrong), 1), "E_MEDIA_OPTION", new RegExp(Object.keys(wrong)[0]!));
  for (const frames of [0, -1, 1.5, Number.NaN]) await rejects(loadVideo(video(greyY4m(2)), frames), "E_MEDIA_OPTION", /frames/);
});

test("an abort stops loading with its reason, before and while frames are decoded", async () => {
  using folder = temporaryFolder();
  const reason = new Error("enough");
  const sources = [greyY4m(30), await animation("gif", 30, 100), await frameFolder(folder.file("clip"), 30), { frames: [greyFrame(0)] }];
  for (const source of sources) assert.is(await loadVideo(video(source), 8, { signal: AbortSignal.abort(reason) }).catch((e) => e), reason);
  for (const source of sources.slice(1, 3)) {
    await abortedAtEveryLook(reason, (signal) => loadVideo(video(source), 30, { signal }), 3);
  }
});

test("what has no sound has no audio part", async () => {
  for (const source of [{ frames: [greyFrame(0)] }, greyY4m(1), await animation("gif", 2, 100)])
    assert.is(await soundOf(video(source)), undefined);
});

test.run();
