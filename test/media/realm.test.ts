// Media given as arrays and buffers of other realms (Jest, node:vm), as shared memory, and inside of a Proxy.
import { runInNewContext } from "node:vm";
import sharp from "sharp";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { featureKey } from "../../lib/data/feature-key.js";
import { audio, loadAudio, resampled } from "../../lib/media/audio.js";
import { AudioProcessor } from "../../lib/media/audio-processor.js";
import { image, loadImage } from "../../lib/media/image.js";
import { ImageProcessor } from "../../lib/media/image-processor.js";
import { imu, loadImu } from "../../lib/media/imu.js";
import { loadVideo, video } from "../../lib/media/video.js";
import { rejects } from "./media-case.js";
import { s16, wavFile } from "./wav-file.js";

const foreign = (code: string, given: object = {}): never => runInNewContext(code, given) as never;
const png = await sharp(Buffer.from(Array.from({ length: 36 }, (_, i) => i * 7)), { raw: { width: 4, height: 3, channels: 3 } })
  .png()
  .toBuffer();
const wav = wavFile(s16([100, -200, 300]));

/** The same bytes in every shape that they can come in. */
function shapes(bytes: Uint8Array): [string, never][] {
  const list = { list: Array.from(bytes) };
  const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
  shared.set(bytes);
  const padded = Uint8Array.from([1, 2, ...bytes, 3]);
  return [
    ["a Uint8Array of another realm", foreign("new Uint8Array(list)", list)],
    ["an ArrayBuffer of another realm", foreign("new Uint8Array(list).buffer", list)],
    ["a DataView of another realm", foreign("new DataView(new Uint8Array(list).buffer)", list)],
    ["a SharedArrayBuffer of another realm", foreign("const s = new SharedArrayBuffer(list.length); new Uint8Array(s).set(list); s", list)],
    ["shared memory", shared as never],
    ["a DataView", new DataView(padded.buffer, 2, bytes.length) as never],
    ["a Uint8ClampedArray", Uint8ClampedArray.from(bytes) as never],
    ["a part of a Buffer", Buffer.from(padded).subarray(2, -1) as never],
  ];
}

for (const [name, bytes] of shapes(png))
  test(`a picture's file as ${name}`, async () => assert.equal(await loadImage(image(bytes)), await loadImage(image(png))));
for (const [name, bytes] of shapes(wav))
  test(`a sound's file as ${name}`, async () => assert.equal(await loadAudio(audio(bytes)), await loadAudio(audio(wav))));
for (const [name, bytes] of shapes(png))
  test(`the key of features, from ${name}`, async () =>
    assert.is(await featureKey(image(bytes), "x"), await featureKey(image(Uint8Array.from(png)), "x")));

test("pixels, frames, samples and motion of another realm", async () => {
  const data = Uint8Array.from({ length: 12 }, (_, i) => 20 * i);
  const want = { data, width: 2, height: 2 };
  for (const given of ["new Uint8Array(d)", "new Uint8ClampedArray(d)", "new Uint8Array(d).buffer", "Array.from(d)"]) {
    const pixels = foreign(`({ data: ${given}, width: 2, height: 2 })`, { d: data });
    assert.equal(await loadImage(image(pixels)), want, given);
    assert.equal((await loadVideo(video(foreign("({ frames: [p] })", { p: pixels })), 1)).frames, [want], given);
    const processor = new ImageProcessor({ crop_size: 2, size: 2 });
    assert.equal(await processor.pixelValues([pixels]), await processor.pixelValues([want]), given);
  }
  const sound = foreign("({ samples: new Float32Array([0.5, -0.25]), sampleRate: 8000 })");
  assert.equal((await loadAudio(audio(sound))).samples, Float32Array.of(0.5, -0.25));
  assert.equal(await resampled(sound, 16000), await resampled({ samples: Float32Array.of(0.5, -0.25), sampleRate: 8000 }, 16000));
  const memory = new Float32Array(new SharedArrayBuffer(8));
  memory.set([0.5, -0.25]);
  const mel = new AudioProcessor({ max_length_s: 0.1, sampling_rate: 8000, fft_window_size: 64, hop_length: 32, frequency_max: 4000 });
  const shared = (await mel.features([{ samples: memory, sampleRate: 8000 }])).data;
  assert.equal(shared, (await mel.features([{ samples: Float32Array.from(memory), sampleRate: 8000 }])).data);
  const motion = Array.from({ length: 60 }, (_, i) => i / 8);
  for (const kind of ["Float32Array", "Float64Array"]) {
    const given = foreign(`new ${kind}(motion)`, { motion });
    assert.equal((await loadImu(imu(given, { sampleRate: 100 }))).samples, Float32Array.from(motion));
    assert.equal((await loadImu(imu({ samples: given, sampleRate: 100 }))).samples, Float32Array.from(motion));
  }
});

test("options, media and lists inside of a Proxy", async () => {
  const proxied = <T extends object>(value: T): T => new Proxy(value, {});
  const { data, width, height } = await loadImage(image(png));
  const want = { data: Uint8Array.from(data), width, height };
  assert.equal((await loadImage(proxied(image(png, proxied({ maxPixels: 100 }))))).data, data);
  await rejects(loadImage(image(png, proxied({ maxPixels: 11 }))), "E_MEDIA_LIMIT");
  assert.equal(await loadImage(image(proxied({ ...want }))), want);
  const sound = { samples: Float32Array.of(0.5, -0.25), sampleRate: 8000 };
  assert.equal(await loadAudio(audio(proxied(sound))), sound);
  assert.equal((await loadVideo(video(proxied({ frames: proxied([proxied(want)]) })), 1)).frames, [want]);
});

test("a Proxy around bytes, and arrays of other numbers, are refused by name", async () => {
  await rejects(loadImage(image(new Proxy(png, {}))), "E_MEDIA_SOURCE", /got a Proxy/);
  await rejects(loadAudio(audio(new Proxy(wav, {}))), "E_MEDIA_SOURCE", /got a Proxy/);
  await rejects(loadImu(imu(new Proxy(new Float32Array(600), {}), { sampleRate: 100 })), "E_MEDIA_SOURCE", /got a Proxy/);
  await rejects(loadImage(image(foreign("new Int16Array(600)"))), "E_MEDIA_SOURCE", /got Int16Array of 600/);
  await rejects(loadAudio(audio({ samples: new Proxy(new Float32Array(4), {}), sampleRate: 8000 })), "E_MEDIA_FORMAT", /a Proxy at 8000/);
  await rejects(loadAudio(audio({ samples: foreign("new Int16Array(4)"), sampleRate: 8000 })), "E_MEDIA_FORMAT", /Int16Array of 4/);
  const levels = { data: new Float32Array(12).fill(0.5) as never, width: 2, height: 2 };
  await rejects(loadImage(image(levels)), "E_MEDIA_FORMAT", /Float32Array of 12.*levels from 0 to 255/);
  await rejects(new ImageProcessor().pixelValues([levels]), "E_MEDIA_FORMAT", /levels/);
  await rejects(loadImage(image({ ...levels, data: [0.5] as never })), "E_MEDIA_FORMAT", /levels/);
});

test("a URL of another library", async () => {
  const url = { href: `data:image/png;base64,${png.toString("base64")}`, [Symbol.toStringTag]: "URL" };
  assert.equal(await loadImage(image(url as never)), await loadImage(image(png)));
});

test.run();
