// lib/media/wav.ts: chunks in any order, every coding of samples, sizes that lie.
import { loadAudio } from "../../../lib/media/audio.js";
import { isWav } from "../../../lib/media/wav.js";
import { joined } from "../input.js";
import type { Random } from "../random.js";
import { type Field, HOSTILE, type Seed, type Target } from "../target.js";

interface Format {
  tag: number;
  bits: number;
  channels: number;
  rate: number;
  extensible?: boolean;
}
type Chunk = readonly [id: string, content: Uint8Array, size?: number];

function formatChunk({ tag, bits, channels, rate, extensible = false }: Format): Uint8Array {
  const view = new DataView(new ArrayBuffer(extensible ? 40 : 16));
  view.setUint16(0, extensible ? 0xfffe : tag, true);
  view.setUint16(2, channels, true);
  view.setUint32(4, rate, true);
  view.setUint16(12, channels * Math.ceil(bits / 8), true);
  view.setUint16(14, bits, true);
  if (extensible) {
    view.setUint16(24, tag, true);
    new Uint8Array(view.buffer).set(Buffer.from("000000001000800000aa00389b71", "hex"), 26);
  }
  return new Uint8Array(view.buffer);
}

function riff(chunks: readonly Chunk[], magic = "RIFF"): Seed {
  const fields: Field[] = [{ at: 4, bytes: 4 }];
  let at = 12;
  const parts = chunks.map(([id, content, size = content.length]) => {
    const head = new DataView(new ArrayBuffer(8));
    new Uint8Array(head.buffer).set(new TextEncoder().encode(id).subarray(0, 4));
    head.setUint32(4, size, true);
    fields.push({ at: at + 4, bytes: 4 });
    if (id === "fmt ") for (const [where, bytes] of [[8, 2], [10, 2], [12, 4], [20, 2], [22, 2]] as const) fields.push({ at: at + where, bytes }); // biome-ignore format: one table
    const part = joined(new Uint8Array(head.buffer), content, new Uint8Array(content.length & 1));
    at += part.length;
    return part;
  });
  const head = new DataView(new ArrayBuffer(12));
  new Uint8Array(head.buffer).set(new TextEncoder().encode(magic));
  head.setUint32(4, at - 8, true);
  new Uint8Array(head.buffer).set(new TextEncoder().encode("WAVE"), 8);
  return { bytes: joined(new Uint8Array(head.buffer), ...parts), fields };
}

const ramp = (length: number) => Uint8Array.from({ length }, (_, i) => i * 3);
const sound = (format: Format, ...before: Chunk[]): Seed => riff([...before, ["fmt ", formatChunk(format)], ["data", ramp(240)]]);

function build(random: Random): Uint8Array {
  const format: Format = {
    tag: random.pick([1, 1, 3, 6, 7, 2, 0x55, random.below(65536)]),
    bits: random.pick([8, 16, 24, 32, 64, 12, 0, random.below(65536)]),
    channels: random.pick([1, 2, 6, 0, 65535]),
    rate: random.pick([8000, 48000, 0, 1, 2 ** 32 - 1, random.bits()]),
    extensible: random.chance(0.2),
  };
  const size = () => (random.chance(0.25) ? Number(random.pick(HOSTILE) & 0xffffffffn) : undefined);
  const chunk = (id: string, content: Uint8Array): Chunk => {
    const told = size();
    return told === undefined ? [id, content] : [id, content, told];
  };
  const chunks = [chunk("fmt ", formatChunk(format)), chunk("data", random.bytes(random.below(400)))];
  for (let n = random.below(3); n > 0; --n)
    chunks.splice(
      random.below(chunks.length + 1),
      0,
      chunk(random.pick(["LIST", "fact", "data", "fmt ", "\0\0\0\0"]), random.bytes(random.below(40))),
    );
  if (random.chance(0.1)) chunks.reverse();
  return riff(chunks, random.pick(["RIFF", "RIFF", "RF64", "RIFX"])).bytes;
}

export const wav: Target = {
  name: "wav",
  seeds: [
    sound({ tag: 1, bits: 16, channels: 1, rate: 8000 }),
    sound({ tag: 1, bits: 24, channels: 2, rate: 44100, extensible: true }),
    sound({ tag: 3, bits: 32, channels: 1, rate: 48000 }, ["LIST", ramp(13)]),
    sound({ tag: 7, bits: 8, channels: 1, rate: 8000 }),
  ],
  build,
  async run(bytes, path) {
    if (!isWav(bytes)) return; // what is no WAV goes to decoders of other formats
    await loadAudio({ modality: "audio", source: path, options: { maxSeconds: 60 } });
  },
};
