// MP4, MOV, WebM and MKV through @napi-rs/webcodecs, in a process of its own: a file that brings a decoder down takes nothing else with it.
//   clip-decoder.mjs LIBRARY probe KIND FILE           a line of JSON for the track, then one a packet in the file's order: [µs, duration in µs or null, is key]
//   clip-decoder.mjs LIBRARY decode KIND FILE SEGMENTS MOST   binary PPM pictures. SEGMENTS: of each the packets from and to, and which of its pictures are wanted
// KIND is "mp4" or "webm". What goes wrong is told in one line on standard error.
import { once } from "node:events";
import { setImmediate as turn, setTimeout as wait } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { ppmOf } from "./clip-pixels.mjs";

/** Packets that are read at once, and that a decoder has at once. */
const [READ, HELD] = [64, 16];
/** A file that gives nothing for so long gives nothing any more. */
const PATIENCE_MS = 30_000;
const QUIET_MS = 20;

const [library, job, kind, file, segments = "[]", most = "0"] = process.argv.slice(2);
const { Mp4Demuxer, MkvDemuxer, VideoDecoder } = await import(pathToFileURL(library).href);

let failed;
let lastSign = performance.now();
const sign = () => (lastSign = performance.now());
const fail = (error) => {
  failed ??= error;
};
/** Nothing is left running, whatever a library holds open. */
const end = (error) => {
  if (error) process.stderr.write(`${String(error?.message ?? error).split("\n")[0]}\n`, () => process.exit(1));
  else process.stdout.write("", () => process.exit(0));
};
setInterval(() => {
  if (performance.now() - lastSign > PATIENCE_MS) end(`no picture for ${PATIENCE_MS / 1000} s`);
}, 1000).unref();

/** Who reads goes on before more is written. */
async function write(data) {
  sign();
  if (!process.stdout.write(data)) await once(process.stdout, "drain");
}

async function opened() {
  const waiting = [];
  const demuxer = new (kind === "mp4" ? Mp4Demuxer : MkvDemuxer)({ videoOutput: (chunk) => waiting.push(chunk), error: fail });
  await demuxer.load(file);
  const config = demuxer.videoDecoderConfig;
  async function* packets() {
    for (;;) {
      if (demuxer.state !== "ended") await demuxer.demuxAsync(READ);
      await turn();
      // The last ones may come behind the end of the file.
      if (demuxer.state === "ended" && !waiting.length) await wait(QUIET_MS);
      if (failed) throw failed;
      if (demuxer.state === "ended" && !waiting.length) return;
      yield* waiting.splice(0);
      sign();
    }
  }
  return { config, tracks: demuxer.tracks, packets: packets() };
}

/** VP8 has packets that show nothing: others build on them. */
async function isShown(chunk, codec) {
  if (!/^vp0?8/.test(codec)) return true;
  const bytes = new Uint8Array(chunk.byteLength);
  chunk.copyTo(bytes);
  return (bytes[0] & 0x10) !== 0;
}

async function probe() {
  const { config, tracks, packets } = await opened();
  const hasSound = tracks.some(({ trackType }) => trackType === "audio");
  await write(`${JSON.stringify({ width: config?.codedWidth, height: config?.codedHeight, hasSound })}\n`);
  if (!config) return;
  for await (const chunk of packets) {
    const { timestamp, duration, type } = chunk;
    await write(`${JSON.stringify([timestamp, duration, type === "key", await isShown(chunk, config.codec)])}\n`);
  }
}

/** The pictures that a decoder makes of some packets, in the order in which they are shown: its own times are those of the packets as they came. */
class Shown {
  #pictures = [];
  #decoder;
  count = 0;

  constructor(config, wanted) {
    this.wanted = new Set(wanted);
    this.#decoder = new VideoDecoder({
      output: (frame) => {
        sign();
        if (this.wanted.has(this.count++)) this.#pictures.push(frame);
        else frame.close();
      },
      error: fail,
    });
    this.#decoder.configure({ ...config, hardwareAcceleration: "prefer-software" });
  }

  async take(chunk) {
    this.#decoder.decode(chunk);
    while (this.#decoder.decodeQueueSize > HELD && !failed) await turn();
    await this.#give();
  }
  async end() {
    await this.#decoder.flush();
    await turn();
    await this.#give();
    this.#decoder.close();
  }
  async #give() {
    if (failed) throw failed;
    for (const frame of this.#pictures.splice(0)) {
      await write(await ppmOf(frame, Number(most)));
      frame.close();
    }
  }
}

async function decode() {
  const left = JSON.parse(segments);
  const { config, packets } = await opened();
  let [number, shown, fed] = [0, undefined, 0];
  for await (const chunk of packets) {
    const [segment] = left;
    if (!segment) break;
    if (number >= segment.from) {
      shown ??= new Shown(config, segment.wanted);
      await shown.take(chunk);
      if (await isShown(chunk, config.codec)) ++fed;
    }
    if (number++ < segment.to) continue;
    await shown.end();
    if (shown.count !== fed) throw new Error(`${shown.count} of ${fed} pictures can be decoded`);
    [shown, fed] = [undefined, 0];
    left.shift();
  }
}

process.stdout.on("error", () => process.exit(0)); // nobody reads any more
await (job === "probe" ? probe() : decode()).then(() => end(), end);
