// Films where no ffmpeg is: the frames, times and sizes that ffmpeg gives (test/media/files/clips), and files that are no good.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { MediaError } from "../../lib/media/error.js";
import { webcodecsPath } from "../../lib/media/libraries.js";
import { movieHeader } from "../../lib/media/movie-header.js";
import { openSource } from "../../lib/media/source.js";
import { loadVideo, type VideoOptions, video } from "../../lib/media/video.js";
import { ASKED, type Grid, gridOf } from "./clip-grid.js";
import { rejects, temporaryFolder } from "./media-case.js";
import { y4m } from "./video-case.js";

const clip = (name: string) => fileURLToPath(new URL(`files/clips/${name}`, import.meta.url));
const EXPECTED: Record<string, Grid[]> = JSON.parse(readFileSync(clip("expected.json"), "utf8"));
/** Levels: chroma between its samples is filled in another way. */
const NEAR = 3;
const NEAR_EDGES = 12;

// No ffmpeg, whatever is installed; and a folder of our own for temporary files.
const scratch = temporaryFolder();
Object.assign(process.env, { PATH: scratch.path, TMPDIR: scratch.path, TEMP: scratch.path });
delete process.env.ANYMAL_FFMPEG;
delete process.env.ANYMAL_FFPROBE;
test.after(() => scratch[Symbol.dispose]());

/** A test that needs the library; without it it counts as skipped and says so. */
function real(name: string, body: () => Promise<void>): void {
  if (webcodecsPath() !== undefined) return void test(name, body);
  test.skip(name, body);
  console.log(`skipped: ${name} (@napi-rs/webcodecs is not installed)`);
}

for (const [name, grids] of Object.entries(EXPECTED))
  real(`${name}: the frames that ffmpeg gives`, async () => {
    for (const [i, [frames, options]] of ASKED.entries()) {
      const got = await gridOf(clip(name), frames, options);
      const { frames: want, ...rest } = grids[i] as Grid;
      const { frames: had, ...told } = got;
      assert.equal(told, rest, `${name}, ${frames} frames`);
      const near = name === "turned.mov" ? NEAR_EDGES : NEAR;
      for (const [k, fields] of want.entries())
        for (const [at, level] of fields.entries())
          assert.ok(Math.abs((had[k]?.[at] as number) - level) <= near, `${name}, frame ${k} of ${frames}: ${had[k]} is not ${fields}`);
    }
  });

real("bytes go through a copy that is removed; limits are those of other films", async () => {
  const bytes = readFileSync(clip("b-frames.mp4"));
  const { frames } = await loadVideo(video(bytes), 3);
  assert.equal(frames, (await loadVideo(video(clip("b-frames.mp4")), 3)).frames);
  const load = (options: VideoOptions) => loadVideo(video(bytes, options), 3);
  await rejects(load({ maxPixels: 100 }), "E_MEDIA_LIMIT", /at most 100 pixels/);
  await rejects(load({ maxFrames: 10 }), "E_MEDIA_LIMIT", /at most 10 frames/);
  await rejects(load({ maxBytes: 1000 }), "E_MEDIA_LIMIT", /at most 1000 bytes/);
  await rejects(load({ maxSeconds: 0.5 }), "E_MEDIA_LIMIT", /at most 0\.5 s/);
  assert.equal(
    readdirSync(tmpdir()).filter((one) => one.startsWith("anymal-video-")),
    [],
  );
});

real("an abort ends the process that decodes", async () => {
  const stop = new AbortController();
  const reason = new Error("enough");
  const loading = loadVideo(video(clip("vp9.webm")), 3, { signal: stop.signal }).catch((error) => error);
  setTimeout(() => stop.abort(reason), 20);
  assert.is(await loading, reason);
});

real("damaged films end in an error that names them, or in pictures, and never in anything else", async () => {
  using folder = temporaryFolder();
  for (const name of ["b-frames.mp4", "vp9.webm"]) {
    const whole = readFileSync(clip(name));
    const cut = folder.file(`cut-${name}`);
    writeFileSync(cut, whole.subarray(0, Math.floor(whole.length * 0.9)));
    await rejects(loadVideo(video(cut), 4), "E_MEDIA_FORMAT", /cut-/, /a whole file/);
    for (const seed of [1, 2, 3]) {
      const bytes = Buffer.from(whole);
      for (let i = 0, at = 7919 * seed; i < 12; ++i, at += 104_729 * seed) bytes[64 + (at % (bytes.length - 64))] = (at >> 3) & 255;
      const path = folder.file(`${seed}-${name}`);
      writeFileSync(path, bytes);
      const made = await loadVideo(video(path), 4).catch((error) => error);
      if (!(made instanceof Error)) assert.is(made.frames.length, 4);
      else assert.ok(made instanceof MediaError && made.message.includes(path), String(made));
    }
  }
  for (const content of [
    Buffer.concat([Buffer.from([0, 0, 0, 16]), Buffer.from("ftypisom"), Buffer.alloc(64)]),
    Buffer.from("\x1aE\xdf\xa3and so on", "latin1"),
  ]) {
    const path = folder.file("nothing.mp4");
    writeFileSync(path, content);
    await rejects(loadVideo(video(path), 4), "E_MEDIA_FORMAT", /nothing\.mp4/);
  }
});

real("whoever names an ffmpeg means it", async () => {
  await rejects(
    loadVideo(video(clip("vp9.webm"), { ffmpeg: "/no/such/ffmpeg", ffprobe: "/no/such/ffprobe" }), 2),
    "E_MEDIA_TOOL",
    /webcodecs/,
  );
});

test("what a film tells of itself: its clock, its turn, what is missing", async () => {
  const headerOf = async (bytes: Uint8Array) => movieHeader(await openSource(bytes, 1e9), "film");
  const told = async (name: string) => headerOf(readFileSync(clip(name)));
  assert.equal(await told("b-frames.mp4"), { kind: "mp4", ticksPerSecond: 30_000, turns: 0, missing: 0 });
  assert.equal(await told("turned.mov"), { kind: "mp4", ticksPerSecond: 10_240, turns: 3, missing: 0 });
  assert.equal(await told("vp9.webm"), { kind: "webm", ticksPerSecond: 1_000_000, turns: 0, missing: 0 });
  for (const name of ["b-frames.mp4", "vp9.webm"]) {
    const whole = readFileSync(clip(name));
    assert.is((await headerOf(whole.subarray(0, whole.length - 100))).missing, 100);
  }
});

test("pictures become RGB as those of Y4M do, in any layout of their planes", async () => {
  const file = new URL("../../lib/media/clip-pixels.mjs", import.meta.url).href;
  const { ppmOf } = (await import(file)) as { ppmOf(frame: object, most: number): Promise<Buffer> };
  const [width, height] = [7, 5];
  const plane = (w: number, h: number, seed: number) => Uint8Array.from({ length: w * h }, (_, i) => 16 + ((i * 37 + seed * 91) % 220));
  const LAYOUTS = { I420: ["420mpeg2", 4, 3], I422: ["422", 4, 5], I444: ["444", 7, 5] } as const;
  for (const [format, [colours, w, h]] of Object.entries(LAYOUTS)) {
    const planes = [plane(width, height, 1), plane(w, h, 2), plane(w, h, 3)] as const;
    const whole = Buffer.concat(planes);
    const want = (await loadVideo(video(y4m(`W${width} H${height} F1:1 Ip C${colours}`, [whole])), 1)).frames[0]!;
    const frame = (form: string, bytes: Uint8Array, layouts: object) => ({
      ...{ format: form, visibleRect: { x: 0, y: 0, width, height }, colorSpace: { matrix: null, fullRange: null } },
      allocationSize: () => bytes.length,
      copyTo: async (into: Uint8Array) => {
        into.set(bytes);
        return layouts;
      },
    });
    const check = async (one: object, what: string) => {
      const ppm = await ppmOf(one, 1000);
      const got = ppm.subarray(ppm.length - 3 * width * height);
      for (const [i, level] of want.data.entries()) assert.ok(Math.abs(got[i]! - level) <= 1, `${what} ${i}: ${got[i]}, not ${level}`);
    };
    const at = [0, planes[0].length, planes[0].length + planes[1].length];
    const layouts = at.map((offset, p) => ({ offset, stride: p ? w : width }));
    await check(frame(format, whole, layouts), format);
    const deep = new Uint16Array(Array.from(whole, (level) => 4 * level));
    const doubled = layouts.map(({ offset, stride }) => ({ offset: 2 * offset, stride: 2 * stride }));
    await check(frame(`${format}P10`, new Uint8Array(deep.buffer), doubled), `${format}P10`);
    if (format !== "I420") continue;
    const pairs = Uint8Array.from({ length: 2 * w * h }, (_, i) => planes[1 + (i % 2)]![i >> 1]!);
    const packed = [layouts[0], { offset: at[1], stride: 2 * w }];
    await check(frame("NV12", Buffer.concat([planes[0], pairs]), packed), "NV12");
    let failed: unknown;
    await ppmOf(frame("I420", whole, layouts), 10).catch((error) => (failed = error));
    assert.match(String(failed), /more than 10 pixels/);
  }
});

test("the file that decodes is where it is looked for", () => {
  assert.ok(existsSync(join(fileURLToPath(new URL("../../lib/media/", import.meta.url)), "clip-decoder.mjs")));
});

test.run();
