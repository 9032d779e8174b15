// Batches a few at a time: the same values as one by one, and never more than a few decoded pictures, sounds or frames in memory.
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type AudioPart, audio, loadAudio, type Sound } from "../../lib/media/audio.js";
import { AudioProcessor } from "../../lib/media/audio-processor.js";
import { fewAtOnce } from "../../lib/media/few.js";
import { image, type Pixels } from "../../lib/media/image.js";
import { ImageProcessor } from "../../lib/media/image-processor.js";
import { imu } from "../../lib/media/imu.js";
import { ImuProcessor } from "../../lib/media/imu-processor.js";
import { loadVideo, video } from "../../lib/media/video.js";
import { VideoProcessor } from "../../lib/media/video-processor.js";
import { rejects } from "./media-case.js";

test("at most so many at once, the results in order, the earliest error after all have ended", async () => {
  let [now, most] = [0, 0];
  const work = async (n: number): Promise<number> => {
    most = Math.max(most, ++now);
    for (let i = 0; i < 5 - (n % 5); ++i) await Promise.resolve();
    --now;
    return n * n;
  };
  const numbers = Array.from({ length: 23 }, (_, i) => i);
  assert.equal(
    await fewAtOnce(numbers, 3, work),
    numbers.map((n) => n * n),
  );
  assert.is(most, 3);
  assert.equal(await fewAtOnce([], 3, work), []);
  const begun: number[] = [];
  const error = await fewAtOnce(numbers, 3, async (n) => {
    begun.push(n);
    await work(n);
    if (n > 3) throw new Error(`of ${n}`);
  }).catch((e: Error) => e);
  assert.is((error as Error).message, "of 4");
  assert.ok(begun.length < 10 && now === 0, `${begun}`);
});

/** An item that counts how many are looked at and not yet dropped: `data` is asked for when the item is loaded. */
function watched<T extends object>(items: readonly T[], key: keyof T): { items: T[]; order: number[] } {
  const order: number[] = [];
  const seen = <V>(i: number, value: V): V => {
    if (!order.includes(i)) order.push(i);
    return value;
  };
  return {
    order,
    items: items.map((item, i) => {
      const copy = { ...item };
      Object.defineProperty(copy, key, { enumerable: true, get: () => seen(i, item[key]) });
      return copy;
    }),
  };
}

const picture = (seed: number): Pixels => ({ width: 40, height: 30, data: Uint8Array.from({ length: 3600 }, (_, i) => (i * seed) % 251) });

test("pictures: a batch is what they are one by one, and a bad one stops what has not begun", async () => {
  const processor = new ImageProcessor({ size: { height: 8, width: 8 }, do_center_crop: false });
  const pictures = Array.from({ length: 12 }, (_, i) => picture(i + 3));
  const { data, shape } = await processor.process(pictures.map((p) => image(p)));
  assert.equal(shape, [12, 3, 8, 8]);
  for (const [i, one] of pictures.entries()) assert.equal(data.slice(i * 192, (i + 1) * 192), (await processor.process([image(one)])).data);
  const { items, order } = watched(pictures, "data");
  items[1] = { width: 1, height: 1, data: new Uint8Array(7) };
  await rejects(processor.process(items.map((p) => image(p))), "E_MEDIA_FORMAT");
  assert.ok(order.length <= 3, `${order} were loaded`);
});

test("sounds: a batch is what they are one by one, drawn crops included", async () => {
  const sound = (seconds: number): Sound => ({
    sampleRate: 8000,
    samples: Float32Array.from({ length: 8000 * seconds }, (_, i) => Math.sin(i * i * seconds)),
  });
  const sounds = [3, 0.5, 4, 1, 5, 2].map(sound);
  for (const truncation of ["fusion", "rand_trunc"]) {
    const config = { sampling_rate: 8000, max_length_s: 1, truncation, padding: "repeatpad", frequency_max: 4000 };
    const batch = await new AudioProcessor(config, "", { crops: { seed: 5 } }).process(sounds.map((s) => audio(s)));
    const given = await new AudioProcessor(config, "").features(sounds, { crops: batch.crops });
    assert.equal(given.data, batch.data);
    const size = batch.data.length / sounds.length;
    for (const [i, one] of sounds.entries()) {
      const alone = await new AudioProcessor(config, "").features([one], { crops: [batch.crops[i]!] });
      assert.equal(alone.data, batch.data.slice(i * size, (i + 1) * size));
    }
    const { items, order } = watched(sounds, "samples");
    items[1] = { sampleRate: 8000, samples: new Float32Array() };
    await rejects(new AudioProcessor(config, "").process(items.map((s) => audio(s))), "E_MEDIA_FORMAT");
    assert.equal(order, [0]);
  }
});

test("sounds: a file that takes long to load gets the crop that its place draws", async () => {
  const file = readFileSync(new URL("./files/tones.flac", import.meta.url));
  const decoded = await loadAudio(audio(file));
  const config = { sampling_rate: decoded.sampleRate, max_length_s: 0.1, truncation: "rand_trunc", frequency_max: 4000 };
  const cropsOf = async (first: AudioPart) => {
    const parts = [first, ...[1, 2, 3].map(() => audio(decoded)), first];
    return (await new AudioProcessor(config, "", { crops: { seed: 5 } }).process(parts)).crops;
  };
  assert.equal(await cropsOf(audio(file)), await cropsOf(audio(decoded)));
});

test("recordings: a batch is what they are one by one, and a bad one stops what has not begun", async () => {
  const processor = new ImuProcessor({ sampling_rate: 50, window_samples: 30 });
  const recordings = Array.from({ length: 9 }, (_, i) => ({
    sampleRate: 50,
    samples: Float32Array.from({ length: 6 * (20 + 5 * i) }, (_, j) => Math.sin(i + j / 7)),
  }));
  const { data, shape } = await processor.process(recordings.map((r) => imu(r)));
  assert.equal(shape, [9, 6, 30]);
  for (const [i, one] of recordings.entries()) assert.equal(data.slice(i * 180, (i + 1) * 180), (await processor.process([imu(one)])).data);
  const { items, order } = watched(recordings, "samples");
  items[1] = { sampleRate: 50, samples: new Float32Array(7) };
  await rejects(processor.process(items.map((r) => imu(r))), "E_MEDIA_FORMAT");
  assert.ok(order.length <= 3, `${order} were loaded`);
});

test("frames: made one by one, what they are together; and the pixels of all have a limit", async () => {
  const frames = Array.from({ length: 6 }, (_, i) => picture(i + 3));
  const processor = new VideoProcessor(new ImageProcessor({ size: { height: 8, width: 8 }, do_center_crop: false }), { frames: 9 });
  const { data, shape } = await processor.process([video({ frames })]);
  const loaded = await loadVideo(video({ frames }), 9);
  const together = await processor.clipValues(loaded.frames);
  assert.equal(shape, [1, 9, 3, 8, 8]);
  assert.equal(data, together.data);
  assert.is((await loadVideo(video({ frames }, { maxPixels: 1200 }), 6)).frames.length, 6);
  const many = Array.from({ length: 9 }, (_, i) => picture(i + 3));
  await rejects(loadVideo(video({ frames: many }, { maxPixels: 1200 }), 9), "E_MEDIA_LIMIT", /9600 pixels together/);
  assert.equal((await processor.process([video({ frames: many }, { maxPixels: 1200 })])).shape, [1, 9, 3, 8, 8]);
});

/** Of frames as large as the screen, whose pixels are not looked at. */
function gif(width: number, height: number, frames: number): Buffer {
  const sizes = Buffer.alloc(4);
  sizes.writeUInt16LE(width, 0);
  sizes.writeUInt16LE(height, 2);
  const head = Buffer.concat([Buffer.from("GIF89a"), sizes, Buffer.from([0x80, 0, 0, 0, 0, 0, 255, 255, 255])]);
  const frame = Buffer.concat([Buffer.from([0x2c, 0, 0, 0, 0]), sizes, Buffer.from([0, 2, 2, 0x44, 1, 0])]);
  return Buffer.concat([head, ...Array<Buffer>(frames).fill(frame), Buffer.from([0x3b])]);
}

test("a GIF of many large frames is refused before the first is decoded", async () => {
  for (const frames of [2, 4, 300])
    await rejects(loadVideo(video(gif(6000, 6000, 300)), frames), "E_MEDIA_LIMIT", /up to those that are picked/);
});

test.run();
