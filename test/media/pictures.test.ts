// Pictures as Pillow reads them: files of every kind, resizes of strips, wrong names, and what is not read.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { featureKey } from "../../lib/data/feature-key.js";
import { image, loadImage } from "../../lib/media/image.js";
import { ImageProcessor } from "../../lib/media/image-processor.js";
import { loadVideo, video } from "../../lib/media/video.js";
import { perTurn } from "../turns.js";
import { abortedAtEveryLook } from "./aborts.js";
import { rejects, temporaryFolder } from "./media-case.js";

/** 16 × 16: CMYK 100, 50, 25, 40 on the left, 0, 200, 255, 0 on the right; written by Pillow, which puts Adobe's mark. */
const INKS =
  "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwACAQEBAQECAQEBAgICAgIEAwICAgIFBAQDBAYFBgYGBQYGBgcJCAYHCQcGBggLCAkKCgoKCgYICwwLCgwJCgoK/8AAFAgAEAAQBEMRAE0RAFkRAEsRAP/EAB8AAAEFAQEBAQEBAAAAAAAAAAABAgMEBQYHCAkKC//EALUQAAIBAwMCBAMFBQQEAAABfQECAwAEEQUSITFBBhNRYQcicRQygZGhCCNCscEVUtHwJDNicoIJChYXGBkaJSYnKCkqNDU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6g4SFhoeIiYqSk5SVlpeYmZqio6Slpqeoqaqys7S1tre4ubrCw8TFxsfIycrS09TV1tfY2drh4uPk5ebn6Onq8fLz9PX29/j5+v/aAA4EQwBNAFkASwAAPwD2yv00r9mK/Vyv2Qr+aev4Z6+oK/G+v6WK/uYr5fr9kK/mnr+GevqCv//Z";

interface Given {
  name: string;
  file: string;
  rgb: string;
  size?: [width: number, height: number];
  from: [width: number, height: number];
  to: [width: number, height: number];
  filter: number;
}
const given: Given[] = JSON.parse(readFileSync(fileURLToPath(new URL("./files/pillow.json", import.meta.url)), "utf8"));
const bytesOf = (text: string) => Uint8Array.from(Buffer.from(text, "base64"));

for (const { name, file, rgb, size } of given.filter((one) => one.size))
  test(`${name}: Pillow's pixels`, async () => {
    const got = await loadImage(image(bytesOf(file), { grey16: "clip" }));
    assert.equal([got.width, got.height], size);
    assert.equal(Array.from(got.data), Array.from(bytesOf(rgb)));
  });

for (const { name, file, rgb, from, to, filter } of given.filter((one) => one.from))
  test(`${name}: Pillow's pixels`, async () => {
    const size = { width: to[0], height: to[1] };
    const plain = { image_processor_type: "SiglipImageProcessor", size, resample: filter, do_rescale: false, do_normalize: false };
    const { data } = await new ImageProcessor(plain).pixelValues([{ data: bytesOf(file), width: from[0], height: from[1] }]);
    const plane = size.width * size.height;
    const got = Array.from({ length: 3 * plane }, (_, i) => data[(i % 3) * plane + Math.floor(i / 3)]);
    assert.equal(got, Array.from(bytesOf(rgb)));
  });

const named = (name: string) => bytesOf(given.find((one) => one.name === name)!.file);

test("a JPEG of inks, Adobe's, by Pillow's formula", async () => {
  const { data, width } = await loadImage(image(bytesOf(INKS)));
  const at = (x: number, y: number) => Array.from(data.subarray(3 * (y * width + x), 3 * (y * width + x) + 3));
  for (const [got, want] of [
    [at(2, 2), [131, 173, 194]],
    [at(13, 13), [255, 55, 0]],
  ] as const)
    assert.ok(
      got.every((v, c) => Math.abs(v - want[c]!) <= 3),
      `${got}, want ${want}`,
    );
  const profiled = await loadImage(image(bytesOf(INKS), { profile: "apply" }));
  assert.not.equal(profiled.data, data, "a press's inks are not Pillow's");
});

test("grey of 16 bits: an encoder's processor clips as Pillow does, loadImage scales, and the option decides both", async () => {
  const file = await sharp(Uint16Array.of(40, 255, 256, 65535), { raw: { width: 4, height: 1, channels: 1 } })
    .toColourspace("grey16")
    .png()
    .toBuffer();
  const levels = async (options: object) => Array.from((await loadImage(image(file, options))).data).filter((_, i) => i % 3 === 0);
  assert.equal(await levels({}), [0, 0, 1, 255]);
  assert.equal(await levels({ grey16: "clip" }), [40, 255, 255, 255]);
  const processor = new ImageProcessor({ do_resize: false, do_center_crop: false, do_rescale: false, do_normalize: false });
  const values = async (options: object) => Array.from((await processor.process([image(file, options)])).data.subarray(0, 4));
  assert.equal(await values({}), [40, 255, 255, 255]);
  assert.equal(await values({ grey16: "scale" }), [0, 0, 1, 255]);
  assert.not.equal(await featureKey(image(file), "x"), await featureKey(image(file, { grey16: "scale" }), "x"));
});

test("a profile is applied where that is asked for", async () => {
  const p3 = await sharp({ create: { width: 2, height: 2, channels: 3, background: { r: 255, g: 0, b: 0 } } })
    .withIccProfile("p3")
    .png()
    .toBuffer();
  const [ignored, applied] = [await loadImage(image(p3)), await loadImage(image(p3, { profile: "apply" }))];
  assert.ok(ignored.data[0]! < 245 && applied.data[0]! >= 254, `${ignored.data[0]} and ${applied.data[0]}`);
});

test("the first bytes decide, whatever the name", async () => {
  using folder = temporaryFolder();
  for (const [name, kind] of [
    ["bmp.jpg", "bmp 40 24 0"],
    ["bmp.png", "bmp 124 32 3"],
    ["gif.jpg", "gif transparent"],
    ["tiff.bmp", "tiff CMYK None"],
    ["png.heic", "png RGBA"],
  ] as const) {
    writeFileSync(folder.file(name), named(kind));
    assert.equal(await loadImage(image(folder.file(name))), await loadImage(image(named(kind))));
  }
  using frames = temporaryFolder();
  writeFileSync(frames.file("1.bmp"), named("bmp 40 24 0"));
  assert.is((await loadVideo(video(frames.path), 1)).frames.length, 1);
});

test("kinds that are not read are named, with what to do", async () => {
  const iso = (...brands: string[]) =>
    Buffer.concat([Buffer.from([0, 0, 0, 8 + 4 * brands.length]), Buffer.from(`ftyp${brands.join("")}`), Buffer.alloc(64)]);
  for (const [bytes, ...words] of [
    [iso("heic", "\0\0\0\0", "mif1", "heic"), /HEIC/, /heif-convert/],
    [iso("mif1", "\0\0\0\0", "mif1", "heic"), /HEIC/, /sips/],
    [iso("isom", "\0\0\x02\0", "mp41"), /isom/, /video/],
    [Buffer.from("\0\0\0\x0cjP  \r\n\x87\n", "latin1"), /JPEG 2000/, /magick/],
    [Buffer.from("\xff\x0a\xfa\x1f", "latin1"), /JPEG XL/, /djxl/],
    [Buffer.from("8BPS\0\x01"), /PSD/],
    [Buffer.from("%PDF-1.7"), /PDF/, /pdftoppm/],
    [Buffer.from("<!DOCTYPE html><html>"), /web page/, /fetch/],
    [Buffer.from('<?xml version="1.0"?>\n<svg xmlns="x">'), /SVG/],
    [Buffer.from('{"error": "not found"}'), /JSON/],
    [Buffer.from("version https://git-lfs.github.com/spec/v1\n"), /Git LFS/, /git lfs pull/],
  ] as const)
    await rejects(loadImage(image(bytes)), "E_MEDIA_FORMAT", ...words);
  await rejects(loadImage(image(Buffer.from("BM is how this text begins, no bitmap"))), "E_MEDIA_FORMAT", /another kind/);
  await rejects(loadImage(image(named("png L"), { grey16: "both" as never })), "E_MEDIA_OPTION", /grey16/);
});

test("a TIFF in YCbCr without JPEG is refused: its numbers would be taken for RGB", async () => {
  const tiff = Buffer.from(named("tiff by hand rgb 1"));
  const little = tiff[0] === 0x49;
  const directory = little ? tiff.readUInt32LE(4) : tiff.readUInt32BE(4);
  const at = directory + 2 + 4 * 12 + 8; // the fifth tag: photometric
  if (little) tiff.writeUInt16LE(6, at);
  else tiff.writeUInt16BE(6, at);
  await rejects(loadImage(image(tiff)), "E_MEDIA_FORMAT", /YCbCr/, /RGB first/);
});

test("inks and 16-bit grey that are cut are refused like every other picture", async () => {
  for (const bytes of [named("tiff CMYK None"), named("tiff I;16 None"), named("png I;16"), bytesOf(INKS)]) {
    const cut = image(bytes.subarray(0, Math.floor(bytes.length * 0.7)), { grey16: "clip" });
    await rejects(loadImage(cut), "E_MEDIA_FORMAT");
  }
});

test("bitmaps and GIFs that are cut, that lie, or are too large", async () => {
  for (const name of given.map((one) => one.name).filter((name) => /^(bmp|gif)/.test(name))) {
    const bytes = named(name);
    const whole = await loadImage(image(bytes));
    for (let length = 0; length < bytes.length; length += 1 + Math.floor(bytes.length / 40)) {
      const got = await loadImage(image(bytes.subarray(0, length))).catch((error) => error);
      if (!(got instanceof Error)) assert.equal([got.width, got.height], [whole.width, whole.height], name);
      else assert.match((got as { code?: string }).code ?? "", /^E_MEDIA/, `${name} cut at ${length}: ${got.stack}`);
    }
    if (name === "gif opaque" || name === "gif grey")
      await rejects(loadImage(image(bytes.subarray(0, bytes.length * 0.6))), "E_MEDIA_FORMAT");
    await rejects(loadImage(image(bytes, { maxPixels: whole.width * whole.height - 1 })), "E_MEDIA_LIMIT");
  }
  const huge = Buffer.from(named("bmp 40 8 1"));
  huge.writeInt32LE(1_000_000, 18);
  huge.writeInt32LE(1_000_000, 22);
  await rejects(loadImage(image(huge)), "E_MEDIA_LIMIT", /1000000 × 1000000/);
  let state = 7;
  const random = (n: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  for (let k = 0; k < 600; ++k) {
    const names = given.filter(({ name }) => /^(bmp|gif)/.test(name));
    const bytes = Buffer.from(named(names[random(names.length)]!.name));
    for (let n = 1 + random(4); n > 0; --n) bytes[random(Math.min(bytes.length, 80))] = random(256);
    const got = await loadImage(image(bytes, { maxPixels: 1e6 })).catch((error) => error);
    if (got instanceof Error) assert.match((got as { code?: string }).code ?? "", /^E_MEDIA/, `${got.stack}`);
  }
});

test("small files of many pixels leave the event loop free, and end by an abort", async () => {
  const bmp = Buffer.from(named("bmp 40 8 1"));
  bmp.writeInt32LE(1200, 18);
  bmp.writeInt32LE(1200, 22);
  bmp.writeUInt16LE(256, bmp.readUInt32LE(10)); // a run of none and the end's mark
  const gif = Buffer.from(named("gif part"));
  for (const at of [6, 8]) gif.writeUInt16LE(1200, at);
  for (const bytes of [bmp, gif]) {
    const { value, turns, most } = await perTurn(() => loadImage(image(bytes)));
    assert.is(value.width, 1200);
    assert.ok(turns > 20, `${turns} turns`);
    assert.ok(most.blocks < 1e6, `${most.blocks} blocks in one turn, of them ${most.where}`);
    const reason = new Error("enough");
    await abortedAtEveryLook(reason, (signal) => loadImage(image(bytes), { signal }), 20);
  }
});

test.run();
