// Y4M: colours against the known values of the standards, chroma where each layout has it, and headers that lie.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { RandomAccess } from "../../lib/media/source.js";
import { loadVideo, video } from "../../lib/media/video.js";
import { openY4m } from "../../lib/media/y4m.js";
import { rejects } from "./media-case.js";
import { greyOf, greyY4m, HEIGHT, WIDTH, y4m } from "./video-case.js";

type Triple = readonly [number, number, number];
/** R, G, B, then Y, Cb, Cr as BT.601 gives them in limited and (as in JPEG) in full range. */
const BARS: readonly (readonly [Triple, Triple, Triple])[] = [
  [
    [255, 255, 255],
    [235, 128, 128],
    [255, 128, 128],
  ],
  [
    [0, 0, 0],
    [16, 128, 128],
    [0, 128, 128],
  ],
  [
    [255, 0, 0],
    [81, 90, 240],
    [76, 85, 255],
  ],
  [
    [0, 255, 0],
    [145, 54, 34],
    [150, 44, 21],
  ],
  [
    [0, 0, 255],
    [41, 240, 110],
    [29, 255, 107],
  ],
  [
    [255, 255, 0],
    [210, 16, 146],
    [226, 0, 149],
  ],
  [
    [0, 255, 255],
    [170, 166, 16],
    [179, 171, 0],
  ],
  [
    [255, 0, 255],
    [106, 202, 222],
    [105, 212, 235],
  ],
];
const LAYOUTS: Record<string, (w: number, h: number) => [number, number]> = {
  "420": (w, h) => [(w + 1) >> 1, (h + 1) >> 1],
  "420jpeg": (w, h) => [(w + 1) >> 1, (h + 1) >> 1],
  "420mpeg2": (w, h) => [(w + 1) >> 1, (h + 1) >> 1],
  "420paldv": (w, h) => [(w + 1) >> 1, (h + 1) >> 1],
  "422": (w, h) => [(w + 1) >> 1, h],
  "411": (w, h) => [(w + 3) >> 2, h],
  "444": (w, h) => [w, h],
  "444alpha": (w, h) => [w, h],
};
const only = async (bytes: Uint8Array) => (await loadVideo(video(bytes), 1)).frames[0]!;

for (const [layout, chroma] of Object.entries(LAYOUTS)) {
  test(`C${layout}: colour bars in limited and full range, odd sizes`, async () => {
    const [w, h] = [7, 5];
    const [cw, ch] = chroma(w, h);
    for (const [rgb, limited, full] of BARS)
      for (const [range, [y, u, v]] of [
        ["LIMITED", limited],
        ["FULL", full],
      ] as const) {
        const alpha = layout === "444alpha" ? [new Uint8Array(w * h).fill(9)] : [];
        const planes = [new Uint8Array(w * h).fill(y), new Uint8Array(cw * ch).fill(u), new Uint8Array(cw * ch).fill(v), ...alpha];
        const { data, width, height } = await only(y4m(`W${w} H${h} F25:1 C${layout} XCOLORRANGE=${range}`, [Buffer.concat(planes)]));
        assert.equal([width, height, data.length], [w, h, w * h * 3]);
        for (const [i, got] of data.entries())
          assert.ok(Math.abs(got - rgb[i % 3]!) <= 2, `${range} ${rgb}: got ${got} in channel ${i % 3}`);
      }
  });
}

test("Cmono: limited range without a word, full range when said", async () => {
  const grey = (tags: string) => only(y4m(`W2 H2 ${tags}`, [Uint8Array.of(16, 235, 126, 0)]));
  assert.equal(
    [...(await grey("Cmono")).data],
    [0, 255, 128, 0].flatMap((v) => [v, v, v]),
  );
  assert.equal(
    [...(await grey("Cmono XCOLORRANGE=FULL")).data],
    [16, 235, 126, 0].flatMap((v) => [v, v, v]),
  );
});

test("chroma lies where the layout says", async () => {
  // Cb rises by 40 per luma sample: blue shows where each chroma sample was taken to be. [layout, chroma size, want of a row or column]
  const cases: [string, "x" | "y", number[], number[]][] = [
    ["420jpeg", "x", [100, 160], [100, 115, 145, 160]],
    ["420jpeg", "y", [100, 160], [100, 115, 145, 160]],
    ["420mpeg2", "x", [100, 160], [100, 130, 160, 160]],
    ["420mpeg2", "y", [100, 160], [100, 115, 145, 160]],
    ["420paldv", "x", [100, 160], [100, 130, 160, 160]],
    ["420paldv", "y", [100, 160], [100, 130, 160, 160]],
    ["422", "x", [100, 160], [100, 130, 160, 160]],
    ["422", "y", [100, 120, 140, 160], [100, 120, 140, 160]],
    ["444", "x", [100, 120, 140, 160], [100, 120, 140, 160]],
    ["411", "x", [100], [100, 100, 100, 100]],
  ];
  for (const [layout, axis, samples, want] of cases) {
    const [cw, ch] = LAYOUTS[layout]!(4, 4);
    const cb = Uint8Array.from({ length: cw * ch }, (_, i) => samples[axis === "x" ? i % cw : Math.floor(i / cw)]!);
    const planes = Buffer.concat([new Uint8Array(16).fill(128), cb, new Uint8Array(cw * ch).fill(128)]);
    const { data } = await only(y4m(`W4 H4 C${layout} XCOLORRANGE=FULL`, [planes]));
    for (let i = 0; i < 16; ++i) {
      const blue = 128 + 1.772 * (want[axis === "x" ? i % 4 : i >> 2]! - 128);
      assert.ok(Math.abs(data[3 * i + 2]! - blue) <= 1, `C${layout} along ${axis}, sample ${i}: ${data[3 * i + 2]}, want ${blue}`);
    }
  }
});

test("frame headers with parameters, tags that say nothing here", async () => {
  const frames = [3, 4].map((k) => new Uint8Array(WIDTH * HEIGHT).fill(greyOf(k)));
  const bytes = y4m(`W${WIDTH} H${HEIGHT} F30000:1001 Ib A10:11 Cmono XYSCSS=MONO XCOLORRANGE=FULL Xany`, frames, "FRAME Ip XCOMMENT\n");
  const got = await loadVideo(video(bytes), 2);
  assert.equal(
    got.frames.map(({ data }) => data[0]),
    [greyOf(3), greyOf(4)],
  );
  assert.is(got.fps, 30000 / 1001);
  assert.is((await loadVideo(video(greyY4m(2, "F0:0")), 2)).fps, undefined);
  assert.is((await loadVideo(video(greyY4m(2, "F0:0"), { fps: 5 }), 2)).fps, 5);
});

test("only the picked frames are read", async () => {
  const bytes = greyY4m(100);
  let read = 0;
  let closed = 0;
  const file: RandomAccess = {
    size: bytes.length,
    read: async (into, at) => {
      const part = bytes.subarray(at, at + into.length);
      into.set(part);
      read += part.length;
      return part.length;
    },
    close: async () => void ++closed,
  };
  const clip = await openY4m(file, "counted", { maxPixels: 1e6, maxFrames: 1000 }, undefined, {});
  const walked = read;
  assert.ok(walked < 6000, `${walked} bytes for the headers`);
  const pictures = await clip.decode([5, 90], {});
  assert.equal(
    pictures.map(({ data }) => data[0]),
    [greyOf(5), greyOf(90) & 255],
  );
  assert.is(read - walked, 2 * WIDTH * HEIGHT);
  await clip[Symbol.asyncDispose]();
  assert.is(closed, 1);
  await rejects(
    openY4m(file, "counted", { maxPixels: 1, maxFrames: 1000 }, undefined, {}).then(() => {}),
    "E_MEDIA_LIMIT",
  );
  assert.is(closed, 2);
});

test("headers that lie and files that were cut", async () => {
  const load = (bytes: Uint8Array, options = {}) => loadVideo(video(bytes, options), 1);
  const whole = greyY4m(3);
  await rejects(load(whole.subarray(0, whole.length - 1)), "E_MEDIA_FORMAT", /frame 2/, /cut off/);
  await rejects(load(whole.subarray(0, whole.length - WIDTH * HEIGHT - 3)), "E_MEDIA_FORMAT", /frame 2/);
  await rejects(load(whole.subarray(0, 30)), "E_MEDIA_FORMAT", /line of text/);
  await rejects(load(y4m("W16 H12 Cmono", [])), "E_MEDIA_FORMAT", /at least one frame/);
  await rejects(load(y4m("W999999999 H999999999", [new Uint8Array(8)])), "E_MEDIA_LIMIT", /999999999/);
  await rejects(load(y4m("W999999999 H999999999", [new Uint8Array(8)]), { maxPixels: Infinity }), "E_MEDIA_FORMAT", /frame 0/);
  await rejects(load(y4m("W99999999999 H2", [])), "E_MEDIA_FORMAT", /W with a size/);
  for (const size of ["W0 H4", "W4 H0", "W4", "H4", "W-4 H4", "W4.5 H4", "W0x10 H4"])
    await rejects(load(y4m(size, [new Uint8Array(64)])), "E_MEDIA_FORMAT", /size from 1/);
  await rejects(load(y4m("W2 H2 C420p10", [new Uint8Array(12)])), "E_MEDIA_FORMAT", /420p10/, /8-bit/);
  await rejects(load(y4m("W2 H2 Cmono", [new Uint8Array(4)], "FRAMES")), "E_MEDIA_FORMAT", /FRAME before frame 0/);
  await rejects(load(Buffer.concat([whole, Buffer.from("rubbish")])), "E_MEDIA_FORMAT", /frame 3/);
  await rejects(load(Buffer.from(`YUV4MPEG2 ${"X".repeat(5000)}\n`)), "E_MEDIA_FORMAT", /4096/);
});

test.run();
