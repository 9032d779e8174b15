// Pictures: decoding and the processors' numbers against transformers, every format, and what a bad file says.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { image, loadImage, type Pixels } from "../../lib/media/image.js";
import { ImageProcessor } from "../../lib/media/image-processor.js";
import { Case, caseNames } from "../case.js";
import { rejects, temporaryFolder } from "./media-case.js";

/** The part of the values that differ by more than 1e-5, and the largest difference. */
function differences(got: Float32Array, want: ArrayLike<number>): { part: number; worst: number } {
  assert.is(got.length, want.length);
  let [count, worst] = [0, 0];
  for (let i = 0; i < got.length; ++i) {
    const d = Math.abs(got[i]! - want[i]!);
    if (d > 1e-5) ++count;
    worst = Math.max(worst, d);
  }
  return { part: count / got.length, worst };
}

const withPictures = caseNames(/^(clip-vision|siglip-vision|dinov2)/)
  .map((name) => new Case(name))
  .filter((c) => c.info.images);
assert.ok(withPictures.length, "no case has pictures");

for (const c of withPictures) {
  const { name } = c;
  const files: string[] = c.info.images;
  const decoded = (i: number): Pixels => {
    const [height, width] = c.shape(`ref.decoded.${i}`) as [number, number, number];
    return { data: c.values(`ref.decoded.${i}`) as Uint8Array, height, width };
  };

  for (const [i, file] of files.entries()) {
    test(`${name}: ${file} decodes as the reference does`, async () => {
      const got = await loadImage(image(join(c.folder, file)));
      const want = decoded(i);
      assert.equal([got.height, got.width], [want.height, want.width]);
      const worst = got.data.reduce((most, v, k) => Math.max(most, Math.abs(v - want.data[k]!)), 0);
      assert.ok(worst <= (file.endsWith(".png") ? 0 : 2), `differs by ${worst}`);
    });
  }

  test(`${name}: pixel values of the reference's pictures`, async () => {
    const processor = ImageProcessor.fromPretrained(c.folder);
    const { data, shape } = await processor.pixelValues(files.map((_, i) => decoded(i)));
    assert.equal(shape, c.shape("out.pixel_values"));
    const { part, worst } = differences(data, c.values("out.pixel_values"));
    assert.ok(part <= 0.001 && worst < 0.02, `${part} of the values differ, by at most ${worst}`);
  });

  test(`${name}: pixel values from the files`, async () => {
    const processor = ImageProcessor.fromPretrained(c.folder);
    const { data } = await processor.process(files.map((file) => image(join(c.folder, file))));
    const size = data.length / files.length;
    for (const [i, file] of files.entries()) {
      const { part, worst } = differences(
        data.subarray(i * size, (i + 1) * size),
        c.values("out.pixel_values").subarray(i * size, (i + 1) * size),
      );
      if (file.endsWith(".png")) assert.ok(part <= 0.001 && worst < 0.02, `${file}: ${part} of the values differ, by at most ${worst}`);
      else assert.ok(worst < 0.05, `${file}: off by ${worst}`);
    }
  });
}

const ramp = (width: number, height: number, channels = 3): Buffer =>
  Buffer.from(Array.from({ length: width * height * channels }, (_, i) => (i * 37 + (i >> 4) * 11) & 255));
const made = (width = 20, height = 12) => sharp(ramp(width, height), { raw: { width, height, channels: 3 } });

for (const format of ["jpeg", "png", "webp", "avif", "gif", "tiff"] as const) {
  test(`${format} from a file, from bytes and from a data URL`, async () => {
    using folder = temporaryFolder();
    const bytes = await made().toFormat(format).toBuffer();
    writeFileSync(folder.file("x"), bytes);
    const sources = [folder.file("x"), new URL(`file://${folder.file("x")}`), bytes, new Uint8Array(bytes).buffer];
    const [first, ...rest] = await Promise.all(
      [...sources, `data:image/${format};base64,${bytes.toString("base64")}`].map((s) => loadImage(image(s))),
    );
    assert.equal([first!.width, first!.height, first!.data.length], [20, 12, 720]);
    for (const other of rest) assert.equal(other, first);
  });
}

test("a 16-bit grey picture and one bit per pixel become 8-bit RGB", async () => {
  const grey16 = await sharp(ramp(8, 4, 1), { raw: { width: 8, height: 4, channels: 1 } })
    .toColourspace("grey16")
    .png()
    .toBuffer();
  assert.is((await sharp(grey16).metadata()).depth, "ushort");
  const { data } = await loadImage(image(grey16));
  assert.is(data.length, 96);
  for (let i = 0; i < 32; ++i) for (const c of [0, 1, 2]) assert.is(data[3 * i + c], ramp(8, 4, 1)[i]);
  const bilevel = await sharp(ramp(8, 4, 1), { raw: { width: 8, height: 4, channels: 1 } })
    .threshold(128)
    .png({ colours: 2, palette: true })
    .toBuffer();
  for (const v of (await loadImage(image(bilevel))).data) assert.ok(v === 0 || v === 255);
});

test("alpha is dropped, not blended", async () => {
  const png = await sharp(Buffer.from([200, 100, 50, 0, 10, 20, 30, 128]), { raw: { width: 2, height: 1, channels: 4 } })
    .png()
    .toBuffer();
  assert.equal([...(await loadImage(image(png))).data], [200, 100, 50, 10, 20, 30]);
});

test("of an animation the first frame", async () => {
  const frames = sharp(Buffer.concat([Buffer.alloc(48, 250), Buffer.alloc(48, 5)]), {
    raw: { width: 4, height: 8, channels: 3, pageHeight: 4 },
  });
  const { width, height, data } = await loadImage(image(await frames.gif({ loop: 0 }).toBuffer()));
  assert.equal([width, height, data[0]], [4, 4, 250]);
});

test("a picture that is far longer than wide costs only what the crop shows", async () => {
  const long = { data: new Uint8Array(3 * 200_000).fill(90), width: 1, height: 200_000 };
  const { data, shape } = await new ImageProcessor().pixelValues([long]);
  assert.equal(shape, [1, 3, 224, 224]);
  assert.ok(data.every((v) => Number.isFinite(v)));
});

test("a picture smaller than the crop gets a black border", async () => {
  const processor = new ImageProcessor({ do_resize: false, do_normalize: false, crop_size: 4 });
  const { data } = await processor.pixelValues([{ data: new Uint8Array(3).fill(255), width: 1, height: 1 }]);
  const at = Array.from(data.subarray(0, 16), (v, i) => (v ? i : -1)).filter((i) => i >= 0);
  assert.equal(at, [2 * 4 + 2]); // the reference pads the larger half before
});

test("older configurations: plain numbers for sizes", async () => {
  const processor = new ImageProcessor({ feature_extractor_type: "CLIPFeatureExtractor", size: 30, crop_size: 28 });
  assert.equal(processor.size, { height: 28, width: 28 });
  assert.equal((await processor.process([image(await made().png().toBuffer())])).shape, [1, 3, 28, 28]);
});

test("bad pictures say what is wrong", async () => {
  using folder = temporaryFolder();
  const png = await made().png().toBuffer();
  const jpeg = await sharp(ramp(200, 200), { raw: { width: 200, height: 200, channels: 3 } })
    .jpeg()
    .toBuffer();
  await rejects(loadImage(image(folder.file("none.png"))), "E_MEDIA_SOURCE", /none\.png/, /no such file/);
  await rejects(loadImage(image(folder.path)), "E_MEDIA_SOURCE", /a folder/);
  await rejects(loadImage(image("https://example.org/cat.jpg")), "E_MEDIA_SOURCE", /network/);
  await rejects(loadImage(image(new Uint8Array())), "E_MEDIA_FORMAT", /empty/);
  await rejects(loadImage(image(Buffer.from("no picture at all"))), "E_MEDIA_FORMAT");
  await rejects(loadImage(image(jpeg.subarray(0, jpeg.length / 2))), "E_MEDIA_FORMAT");
  await rejects(loadImage(image(png.subarray(0, 60))), "E_MEDIA_FORMAT");
  const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"/>');
  await rejects(loadImage(image(svg)), "E_MEDIA_FORMAT", /svg/);
  await rejects(loadImage(image("data:image/png;base64,@@@@")), "E_MEDIA_FORMAT", /base64/);
  await rejects(loadImage(image(png, { maxPixels: 239 })), "E_MEDIA_LIMIT", /20 × 12/);
  await rejects(loadImage(image(png, { maxBytes: 10 })), "E_MEDIA_LIMIT", /maxBytes/);
  await rejects(loadImage(image({ data: new Uint8Array(11), width: 2, height: 2 })), "E_MEDIA_FORMAT", /2 × 2/);
});

for (const side of [100_000, 1_000_000])
  test(`a header that claims ${side} × ${side} is refused before anything is decoded`, async () => {
    const png = Buffer.from(await made().png().toBuffer());
    png.writeUInt32BE(side, 16); // IHDR width and height; the checksum follows
    png.writeUInt32BE(side, 20);
    png.writeUInt32BE(crc32(png.subarray(12, 29)), 29);
    await rejects(loadImage(image(png)), "E_MEDIA_LIMIT", new RegExp(`${side} × ${side}`));
  });

function crc32(bytes: Uint8Array): number {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let k = 0; k < 8; ++k) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return ~crc >>> 0;
}

test("a processor that is not known or not whole is refused", async () => {
  using folder = temporaryFolder();
  const throws = (f: () => unknown) => rejects((async () => f())(), "E_MEDIA_OPTION");
  await throws(() => new ImageProcessor({ image_processor_type: "DonutImageProcessor" }));
  await throws(() => new ImageProcessor({ size: { longest_edge: 3 } }));
  await throws(() => new ImageProcessor({ image_mean: [0.5, 0.5] }));
  await throws(() => ImageProcessor.fromPretrained(folder.path));
  writeFileSync(folder.file("preprocessor_config.json"), "{");
  await throws(() => ImageProcessor.fromPretrained(folder.path));
});

test("an abort stops loading with its reason", async () => {
  const reason = new Error("enough");
  const error = await loadImage(image(await made().png().toBuffer()), { signal: AbortSignal.abort(reason) }).catch((e) => e);
  assert.is(error, reason);
});

test("the pool does the work: the event loop stays free", async () => {
  const big = { data: new Uint8Array(3 * 4000 * 3000), width: 4000, height: 3000 };
  const processor = new ImageProcessor();
  let ticks = 0;
  const timer = setInterval(() => ++ticks, 1);
  await processor.pixelValues([big, big]);
  clearInterval(timer);
  assert.ok(ticks >= 2, `${ticks} timer calls while the pictures were made`);
});

test.run();
