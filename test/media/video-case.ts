// Clips for the video tests: frame k can be told by its grey, and Y4M files are written by hand.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import * as assert from "uvu/assert";
import type { Pixels } from "../../lib/media/image.js";

export const [WIDTH, HEIGHT] = [16, 12];
/** Frame k of a test clip: one grey, and none other has it. */
export const greyOf = (k: number): number => 10 + 7 * k;

export const greyFrame = (k: number): Pixels => ({
  data: new Uint8Array(WIDTH * HEIGHT * 3).fill(greyOf(k)),
  width: WIDTH,
  height: HEIGHT,
});

/** Which frames of the test clip these are. */
export function which(pictures: readonly Pixels[], tolerance = 0): number[] {
  return pictures.map(({ data, width, height }, i) => {
    assert.equal([width, height, data.length], [WIDTH, HEIGHT, WIDTH * HEIGHT * 3]);
    const k = Math.round((data[0]! - 10) / 7);
    for (const v of data) assert.ok(Math.abs(v - greyOf(k)) <= tolerance, `picture ${i}: ${v} is not the grey of frame ${k}`);
    return k;
  });
}

export function y4m(header: string, frames: readonly Uint8Array[], frameHeader = "FRAME\n"): Buffer {
  return Buffer.concat([Buffer.from(`YUV4MPEG2 ${header}\n`), ...frames.flatMap((frame) => [Buffer.from(frameHeader), frame])]);
}
export const greyY4m = (count: number, rate = "F10:1"): Buffer =>
  y4m(
    `W${WIDTH} H${HEIGHT} ${rate} Ip A1:1 Cmono XCOLORRANGE=FULL`,
    Array.from({ length: count }, (_, k) => new Uint8Array(WIDTH * HEIGHT).fill(greyOf(k))),
  );

/** An animation of the test clip. */
export async function animation(format: "gif" | "webp", count: number, delay: number | number[]): Promise<Buffer> {
  const data = Buffer.concat(Array.from({ length: count }, (_, k) => greyFrame(k).data));
  const made = sharp(data, { raw: { width: WIDTH, height: HEIGHT * count, channels: 3, pageHeight: HEIGHT } });
  return format === "gif" ? made.gif({ delay }).toBuffer() : made.webp({ lossless: true, delay }).toBuffer();
}

/** frame-1.png, frame-2.png … frame-10.png. */
export async function frameFolder(at: string, count: number): Promise<string> {
  mkdirSync(at);
  for (let k = 0; k < count; ++k) {
    const { data } = greyFrame(k);
    writeFileSync(
      join(at, `frame-${k + 1}.png`),
      await sharp(data, { raw: { width: WIDTH, height: HEIGHT, channels: 3 } })
        .png()
        .toBuffer(),
    );
  }
  return at;
}

/** The rule, in whole numbers. */
export const expectedPicks = (count: number, frames: number): number[] =>
  Array.from({ length: frames }, (_, i) => Math.floor(((2 * i + 1) * count) / (2 * frames)));
