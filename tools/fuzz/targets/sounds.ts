// lib/media/compressed-audio.ts and what looks at a file before it: counts of boxes and chunks that lie, frames that are damaged. Decoders run in a worker.
import { loadAudio } from "../../../lib/media/audio.js";
import { mediaFile } from "../media-files.js";
import type { Field, Seed, Target } from "../target.js";

/** Where an MP4's boxes, an AIFF's, a CAF's or a WAV's chunks begin: sizes before the name, counts behind it. */
const NAMES = /moov|trak|mdhd|mvhd|stsd|stsz|stco|stsc|stts|elst|esds|COMM|SSND|desc|data|fmt |OpusHead|vorbis|fLaC/g;

function seed(bytes: Uint8Array): Seed {
  const fields: Field[] = [];
  for (const { index } of Buffer.from(bytes).toString("latin1").matchAll(NAMES))
    for (const at of [-4, 4, 8, 12, 16, 20])
      if (index + at >= 0 && index + at + 4 <= bytes.length) fields.push({ at: index + at, bytes: 4 });
  return { bytes, fields };
}

/** Two packets of silence. */
function caf(): Uint8Array {
  const desc = Buffer.alloc(32);
  desc.writeDoubleBE(8000, 0);
  desc.write("ima4", 8, "latin1");
  for (const [i, value] of [0, 34, 64, 1, 0].entries()) desc.writeUInt32BE(value, 12 + 4 * i);
  const chunk = (name: string, content: Uint8Array) => {
    const head = Buffer.alloc(12);
    head.write(name, 0, "latin1");
    head.writeUInt32BE(content.length, 8);
    return Buffer.concat([head, content]);
  };
  return Buffer.concat([Buffer.from("caff\0\x01\0\0", "latin1"), chunk("desc", desc), chunk("data", Buffer.alloc(72))]);
}

const KINDS = ["flac", "mp3", "ogg", "opus", "m4a", "mp4", "webm", "aiff"].map((kind) => `tones.${kind}`);

export const sounds: Target = {
  name: "sounds",
  seeds: [...[...KINDS, "tones-adpcm.wav"].map((name) => seed(mediaFile(name))), seed(Uint8Array.from(caf()))],
  mostSeconds: 10,
  mostBytes: 512 * 2 ** 20, // a worker that is started, and the modules it loads
  async run(_bytes, path) {
    await loadAudio({ modality: "audio", source: path, options: { maxSeconds: 60, maxSamples: 2 ** 20 } });
  },
};
