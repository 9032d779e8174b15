// Rendered media as the bytes of common files.
import type { Sound } from "../../media/audio.js";
import type { Pixels } from "../../media/image.js";
import type { ImuRecording } from "../../media/imu.js";
import { sharpFor } from "../../media/libraries.js";
import type { Frames } from "../../media/video.js";

export type PictureFormat = "png" | "jpg";
export type ClipFormat = "gif" | "webp";

export function encodePicture({ data, width, height }: Pixels, format: PictureFormat): Promise<Uint8Array> {
  const picture = sharpFor("a picture to write")(data, { raw: { width, height, channels: 3 } });
  // Colours at full resolution: at 64 pixels, halved ones would bleed.
  return (format === "png" ? picture.png() : picture.jpeg({ quality: 92, chromaSubsampling: "4:4:4" })).toBuffer();
}

export function encodeClip({ frames, fps = 8 }: Frames, format: ClipFormat): Promise<Uint8Array> {
  const { width, height } = frames[0]!;
  const pages = Buffer.concat(frames.map(({ data }) => data));
  const clip = sharpFor("a clip to write")(pages, { raw: { width, height: height * frames.length, channels: 3, pageHeight: height } });
  const timing = { loop: 0, delay: frames.map(() => Math.round(1000 / fps)) };
  // Sixteen colours are enough for a thing on a dark ground, and are found five times as fast as 256.
  const encoded =
    format === "gif" ? clip.gif({ ...timing, effort: 1, colours: 16, dither: 0 }) : clip.webp({ ...timing, effort: 0, quality: 90 });
  return encoded.toBuffer();
}

/** A WAV of 16-bit samples, one channel. */
export function encodeWav({ samples, sampleRate }: Sound): Uint8Array {
  const bytes = new Uint8Array(44 + 2 * samples.length);
  const header = Buffer.from(bytes.buffer);
  header.write("RIFF", 0, "latin1");
  header.writeUInt32LE(bytes.length - 8, 4);
  header.write("WAVEfmt ", 8, "latin1");
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20); // PCM
  header.writeUInt16LE(1, 22); // channels
  header.writeUInt32LE(sampleRate, 24);
  header.writeUInt32LE(2 * sampleRate, 28);
  header.writeUInt16LE(2, 32);
  header.writeUInt16LE(16, 34);
  header.write("data", 36, "latin1");
  header.writeUInt32LE(2 * samples.length, 40);
  // Little-endian, as every machine is that this package runs on; what is stored loses its fraction.
  const values = new Int16Array(bytes.buffer, 44);
  for (let i = 0; i < samples.length; ++i) values[i] = 32767 * samples[i]! + (samples[i]! < 0 ? -0.5 : 0.5);
  return bytes;
}

const COLUMNS = "time,accel_x,accel_y,accel_z,gyro_x,gyro_y,gyro_z";
const THOUSANDTHS = Array.from({ length: 1000 }, (_, i) => `.${String(i).padStart(3, "0")}`);
/** Three decimals, from whole numbers: several times as fast as toFixed. */
function decimal(value: number): string {
  const n = Math.round(Math.abs(value) * 1000);
  return (value < 0 && n > 0 ? "-" : "") + Math.floor(n / 1000) + THOUSANDTHS[n % 1000]!;
}

/** Seconds, m/s² and rad/s, one row a sample. */
export function encodeCsv({ samples, sampleRate }: ImuRecording): string {
  const n = samples.length / 6;
  let text = `${COLUMNS}\n`;
  for (let t = 0; t < n; ++t) {
    text += decimal(t / sampleRate);
    for (let c = 0; c < 6; ++c) text += `,${decimal(samples[c * n + t]!)}`;
    text += "\n";
  }
  return text;
}
