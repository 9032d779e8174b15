// lib/media/video.ts: animations and Y4M; what ffmpeg reads is not read here.
import { isPicture } from "../../../lib/media/animation.js";
import { loadVideo } from "../../../lib/media/video.js";
import { joined } from "../input.js";
import { pictures } from "../media-files.js";
import type { Random } from "../random.js";
import type { Target } from "../target.js";

const read = (path: string) => loadVideo({ modality: "video", source: path, options: { maxPixels: 2 ** 18, maxFrames: 1000 } }, 3);
const limits = { mostSeconds: 5, mostBytes: 256 * 2 ** 20 };

export const clips: Target = {
  name: "clips",
  seeds: pictures("gif animated", "gif transparent", "webp RGB lossless", "png RGB").map((bytes) => ({
    bytes,
    fields: [6, 8, 10, 13, 19, 24].map((at) => ({ at, bytes: 2 as const })),
  })),
  ...limits,
  async run(bytes, path) {
    if (isPicture(bytes)) await read(path);
  },
};

const text = (line: string): Uint8Array => new TextEncoder().encode(line);
/** 4 × 2 in 4:2:0, two frames. */
const small = (colours: string, frame: number): Uint8Array =>
  joined(text(`YUV4MPEG2 W4 H2 F25:1 ${colours}\n`), ...[0, 1].flatMap((n) => [text("FRAME\n"), new Uint8Array(frame).fill(90 * n)]));

function build(random: Random): Uint8Array {
  const number = () => String(random.pick([1, 2, 4, 5, 16, 0, -1, 2 ** 31, 1e15, "x", "", "1e3"]));
  const colours = [
    "420",
    "420jpeg",
    "420mpeg2",
    "420paldv",
    "422",
    "411",
    "444",
    "444alpha",
    "mono",
    "420p10",
    "constructor",
    "__proto__",
    "",
  ];
  const tags = [`W${number()}`, `H${number()}`, `F${number()}:${number()}`, `C${random.pick(colours)}`, "Ip", "A1:1", "XCOLORRANGE=FULL"];
  const header = tags.filter(() => random.chance(0.9)).join(random.pick([" ", " ", "  "]));
  const [w, h] = [/W(\d+)/, /H(\d+)/].map((tag) => Math.min(64, Number(tag.exec(header)?.[1] ?? 4))) as [number, number];
  const frame = Math.round(w * h * random.pick([1, 1.5, 2, 3, 4])) + random.pick([0, 0, 0, 1]);
  const frames = Array.from({ length: random.below(4) }, () => [
    text(random.pick(["FRAME\n", "FRAME\n", "FRAME Ip\n", "FRAM"])),
    random.bytes(frame),
  ]);
  return joined(text(`YUV4MPEG2 ${header}\n`), ...frames.flat());
}

export const y4m: Target = {
  name: "y4m",
  seeds: [["C420jpeg", 12] as const, ["C444", 24] as const, ["Cmono", 8] as const, ["C444alpha", 32] as const].map(([colours, frame]) => ({
    bytes: small(colours, frame),
    fields: [],
  })),
  build,
  async run(bytes, path) {
    if (text("YUV4MPEG2").every((byte, i) => bytes[i] === byte)) await read(path);
  },
};
