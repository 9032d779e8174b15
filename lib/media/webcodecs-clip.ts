// MP4, MOV, WebM and MKV where no ffmpeg is: through @napi-rs/webcodecs in a process of its own, which lists the packets and decodes up to the picked ones.
// The frames are those that ffmpeg-clip.ts picks.
import { fileURLToPath } from "node:url";
import { type Clip, checkFrames } from "./clip.js";
import { onDisk, run } from "./ffmpeg.js";
import { AT_ONCE, cutOff, type FfmpegLimits, notVideo, undecodable, WORTH_A_SEEK } from "./ffmpeg-clip.js";
import { checkArea, type Pixels } from "./image.js";
import { type MovieHeader, movieHeader } from "./movie-header.js";
import { type Packet, shownOf } from "./packets.js";
import { PpmReader } from "./ppm.js";
import { type Loading, type MediaSource, openSource } from "./source.js";

const DECODER = fileURLToPath(new URL("./clip-decoder.mjs", import.meta.url));
/** Electron's own program is Node.js with this. */
const ENV = { ELECTRON_RUN_AS_NODE: "1" };
/** Bytes of what a track and a packet are told in. */
const MOST_LINE = 1024;
/** Clocks that are finer than this are told too coarsely to be found again. */
const FINEST = 400_000;

interface NumberedPacket extends Packet {
  /** In the file's order, in which they are decoded. */
  number: number;
  isShown: boolean;
}
interface Track {
  width: number;
  height: number;
  hasSound: boolean;
}

/** Packets that are decoded together, and which of the pictures that come of them are wanted. */
interface Segment {
  from: number;
  to: number;
  wanted: number[];
}

export async function openWithWebcodecs(
  library: string,
  source: MediaSource,
  what: string,
  limits: FfmpegLimits,
  loading: Loading,
): Promise<Clip> {
  const file = await onDisk(source, limits.maxBytes, loading);
  try {
    const clip = await openFile(library, file.path, what, limits, loading);
    return { ...clip, [Symbol.asyncDispose]: () => file[Symbol.asyncDispose]() };
  } catch (error) {
    await file[Symbol.asyncDispose]();
    throw error;
  }
}

async function openFile(library: string, path: string, what: string, limits: FfmpegLimits, loading: Loading): Promise<Omit<Clip, symbol>> {
  const header = await headerOf(path, what, limits.maxBytes);
  if (header.missing) throw cutOff(what, `${header.missing} bytes are missing`);
  const { track, packets } = await packetsOf(library, path, what, header, limits, loading);
  const visible = packets.filter(({ isShown, stamp }) => isShown && stamp >= 0); // what an edit list leaves out comes before 0
  if (!visible.length) throw notVideo(what, "no frames");
  const { packets: shown = visible, timeline } = shownOf(visible, ticksOf(header), undefined);

  return {
    timeline,
    perCall: Math.max(1, Math.floor(AT_ONCE / (track.width * track.height))),
    hasSound: track.hasSound,
    decode: async (indices, { signal }) => {
      const segments = segmentsOf(
        packets,
        indices.map((i) => (shown[i] as NumberedPacket).number),
      );
      const reader = new PpmReader(what, limits.maxPixels, indices.length);
      const args = [DECODER, library, "decode", header.kind, path, JSON.stringify(segments), String(limits.maxPixels)];
      const job = { what, signal, env: ENV, onOutput: (chunk: Uint8Array) => reader.take(chunk) };
      const { said } = await run(process.execPath, args, job);
      if (reader.pictures.length < indices.length)
        throw undecodable(what, indices.length, reader.pictures.length, said, "@napi-rs/webcodecs");
      return reader.pictures.map((picture) => turned(picture, header.turns));
    },
  };
}

async function headerOf(path: string, what: string, maxBytes: number): Promise<MovieHeader> {
  const file = await openSource(path, maxBytes);
  try {
    return await movieHeader(file, what);
  } finally {
    await file.close();
  }
}

const ticksOf = ({ ticksPerSecond }: MovieHeader): number => (ticksPerSecond <= FINEST ? ticksPerSecond : 1_000_000);

async function packetsOf(
  library: string,
  path: string,
  what: string,
  header: MovieHeader,
  { maxFrames, maxPixels }: FfmpegLimits,
  { signal }: Loading,
): Promise<{ track: Track; packets: NumberedPacket[] }> {
  let track: Track | undefined;
  const packets: NumberedPacket[] = [];
  // Microseconds were cut off below; between them and the next lies one tick.
  const ticks = (microseconds: number) => Math.round((microseconds * ticksOf(header)) / 1_000_000);
  const take = (line: string) => {
    if (!track) {
      track = JSON.parse(line) as Track;
      if (!track.width || !track.height) throw notVideo(what, track.hasSound ? "only sound" : "no video stream");
      checkArea(what, track.width, track.height, maxPixels);
      return;
    }
    const [stamp, duration, key, isShown] = JSON.parse(line) as [number, number | null, boolean, boolean];
    packets.push({ number: packets.length, stamp: ticks(stamp), duration: ticks(duration ?? 0), key, isShown });
    checkFrames(packets.length, maxFrames, what);
  };
  let rest = "";
  const onOutput = (chunk: Uint8Array): undefined => {
    const lines = (rest + Buffer.from(chunk).toString("latin1")).split("\n");
    rest = (lines.pop() as string).slice(0, MOST_LINE);
    for (const line of lines) take(line);
  };
  const { ok, said } = await run(process.execPath, [DECODER, library, "probe", header.kind, path], { what, signal, env: ENV, onOutput });
  if (!ok || !track) throw notVideo(what, said || "a file whose reader ended");
  return { track, packets };
}

/** Of each wanted packet its way from the last packet that nothing before is needed for. Most of the way between two may be skipped. */
function segmentsOf(packets: readonly NumberedPacket[], numbers: readonly number[]): Segment[] {
  // Behind a key frame may come some that are shown before it and build on what was before.
  const starts = new Int32Array(packets.length);
  const isStart = new Uint8Array(packets.length);
  for (let i = packets.length - 1, earliest = Infinity; i >= 0; --i) {
    const { key, stamp } = packets[i] as NumberedPacket;
    isStart[i] = Number(key && stamp <= earliest);
    earliest = Math.min(earliest, stamp);
  }
  for (let i = 1; i < packets.length; ++i) starts[i] = isStart[i] ? i : (starts[i - 1] as number);
  const groups: { from: number; to: number; numbers: number[] }[] = [];
  for (const number of numbers) {
    const [from, last] = [starts[number] as number, groups.at(-1)];
    if (!last || from > last.to + WORTH_A_SEEK) groups.push({ from, to: number, numbers: [number] });
    else {
      last.to = Math.max(last.to, number);
      last.numbers.push(number);
    }
  }
  return groups.map(({ from, to, numbers: own }) => {
    const order = packets
      .slice(from, to + 1)
      .filter(({ isShown }) => isShown)
      .sort((a, b) => a.stamp - b.stamp);
    const places = new Map(order.map(({ number }, place) => [number, place]));
    return { from, to, wanted: own.map((number) => places.get(number) as number) };
  });
}

/** By quarters, clockwise. */
function turned(picture: Pixels, turns: number): Pixels {
  if (!turns) return picture;
  const { data, width, height } = picture;
  const [W, H] = turns === 2 ? [width, height] : [height, width];
  const made = new Uint8Array(data.length);
  for (let y = 0, at = 0; y < H; ++y)
    for (let x = 0; x < W; ++x, at += 3) {
      const [column, row] = turns === 1 ? [y, height - 1 - x] : turns === 2 ? [width - 1 - x, height - 1 - y] : [width - 1 - y, x];
      const from = 3 * (row * width + column);
      made[at] = data[from] as number;
      made[at + 1] = data[from + 1] as number;
      made[at + 2] = data[from + 2] as number;
    }
  return { data: made, width: W, height: H };
}
