// Any other video file, through ffprobe and ffmpeg: ffprobe lists when each frame is shown, ffmpeg decodes up to the picked ones.
import { type Clip, checkFrames, type Timeline } from "./clip.js";
import { MediaError, reasonOf } from "./error.js";
import { findTools, inputArguments, onDisk, run, type ToolOptions, type Tools, textOf } from "./ffmpeg.js";
import { checkArea, type Pixels } from "./image.js";
import { type Packet, shownOf } from "./packets.js";
import { PpmReader } from "./ppm.js";
import type { Loading, MediaSource } from "./source.js";

/** Pixels of the frames that are decoded at one go: 40 frames of 1080p. */
export const AT_ONCE = 84e6;
/** So many frames are rather decoded and left out than skipped with a command of their own. */
export const WORTH_A_SEEK = 300;
const PICKS_PER_COMMAND = 64;

export interface SoundTrack {
  index: number;
  sampleRate: number;
  channels: number;
}
interface Probe {
  video: { index: number; width: number; height: number; ticksPerSecond: number; fps: number | undefined } | undefined;
  sound: SoundTrack | undefined;
  /** Seconds; seeking counts from here. */
  startTime: number;
}
interface Packets {
  /** Presentation time stamps, ascending; undefined where the file has none. */
  stamps: Float64Array | undefined;
  /** The first frame from which frame i can be decoded. */
  keys: Int32Array | undefined;
  timeline: Timeline;
}

export interface FfmpegLimits extends ToolOptions {
  maxPixels: number;
  maxFrames: number;
  maxBytes: number;
}

export async function openWithFfmpeg(source: MediaSource, what: string, options: FfmpegLimits, loading: Loading): Promise<Clip> {
  const file = await onDisk(source, options.maxBytes, loading);
  try {
    const clip = await openFile(file.path, what, options, loading);
    return { ...clip, [Symbol.asyncDispose]: () => file[Symbol.asyncDispose]() };
  } catch (error) {
    await file[Symbol.asyncDispose]();
    throw error;
  }
}

async function openFile(path: string, what: string, options: FfmpegLimits, { signal }: Loading): Promise<Omit<Clip, symbol>> {
  const tools = findTools(options);
  const { video, sound, startTime } = await probe(tools, path, what, signal);
  if (!video) throw notVideo(what, sound ? "only sound" : "no video stream");
  checkArea(what, video.width, video.height, options.maxPixels);
  const { stamps, keys, timeline } = await packetsOf(tools, path, what, video, options.maxFrames, signal);

  const decodeGroup = async (group: readonly number[], seek: boolean, loading: Loading): Promise<Pixels[]> => {
    const wanted = group.map((i) => (stamps ? `eq(pts,${stamps[i]})` : `eq(n,${i})`)).join("+");
    const from = seek && stamps ? ["-noaccurate_seek", "-ss", String(stamps[group[0]!]! / video.ticksPerSecond - startTime)] : [];
    const reader = new PpmReader(what, options.maxPixels, group.length);
    const args = (passthrough: string) => [
      ...["-v", "error", "-nostdin", "-copyts", ...from, ...inputArguments(path), "-map", `0:${video.index}`],
      ...["-vf", `select='${wanted}',scale=flags=bicubic+accurate_rnd+full_chroma_int,format=rgb24`],
      ...[passthrough, "passthrough", "-frames:v", String(group.length), "-c:v", "ppm", "-f", "image2pipe", "pipe:1"],
    ];
    const job = { what, signal: loading.signal, onOutput: (chunk: Uint8Array) => reader.take(chunk) };
    let ended = await run(tools.ffmpeg, args("-fps_mode"), job);
    // Before 5.1 the option had another name.
    if (!ended.ok && /fps_mode/.test(ended.said)) ended = await run(tools.ffmpeg, args("-vsync"), job);
    if (reader.pictures.length === group.length) return reader.pictures;
    // A seek may land behind the frame where a file has no index.
    if (seek) return decodeGroup(group, false, loading);
    throw undecodable(what, group.length, reader.pictures.length, ended.said, "this ffmpeg");
  };
  return {
    timeline,
    perCall: Math.max(1, Math.floor(AT_ONCE / (video.width * video.height))),
    hasSound: sound !== undefined,
    decode: async (indices, loading) => {
      const pictures: Pixels[] = [];
      for (const { group, seek } of groupsOf(indices, keys)) pictures.push(...(await decodeGroup(group, seek, loading)));
      return pictures;
    },
  };
}

/** One command decodes on from pick to pick, unless most of the way can be skipped. */
function groupsOf(indices: readonly number[], keys: Int32Array | undefined): { group: number[]; seek: boolean }[] {
  const groups: { group: number[]; seek: boolean }[] = [];
  let before = -1;
  for (const i of indices) {
    const skipped = (keys?.[i] ?? 0) - before;
    const last = groups.at(-1);
    if (!last || skipped > WORTH_A_SEEK || last.group.length >= PICKS_PER_COMMAND)
      groups.push({ group: [i], seek: keys !== undefined && (last !== undefined || skipped > WORTH_A_SEEK) });
    else last.group.push(i);
    before = i;
  }
  return groups;
}

export function undecodable(what: string, wanted: number, got: number, said: string, who: string): MediaError {
  const remedy = `play it: it is damaged, or ${who} lacks its codec`;
  return new MediaError("E_MEDIA_FORMAT", what, `${wanted} frames that can be decoded`, `${got}${said && ` (${said})`}`, remedy);
}

export function cutOff(what: string, said: string): MediaError {
  const remedy = "copy it again, or keep what is there: ffmpeg -i it -c copy new";
  return new MediaError("E_MEDIA_FORMAT", what, "a whole file", `one that was cut (${said})`, remedy);
}

export function notVideo(what: string, got: string, cause?: unknown): MediaError {
  return new MediaError("E_MEDIA_FORMAT", what, "a video file", got, "play it: it is damaged or of another kind", { cause });
}

export async function probe(tools: Tools, path: string, what: string, signal: AbortSignal | undefined): Promise<Probe> {
  const stream = "stream=index,codec_type,width,height,time_base,avg_frame_rate,sample_rate,channels:stream_disposition=attached_pic";
  const args = ["-v", "error", "-show_entries", `format=start_time:${stream}`, "-of", "json", ...inputArguments(path)];
  const { ok, said, text } = await textOf(tools.ffprobe, args, { what, signal });
  if (!ok)
    throw notVideo(
      what,
      reasonOf(
        said
          .split("\n")
          .at(-1)!
          .replace(/^file:.*?: (?=[A-Z])/, ""),
      ),
    );
  const { streams = [], format = {} } = parse(text, what);
  const video = streams.find((s) => s.codec_type === "video" && !s.disposition?.attached_pic && Number(s.width) > 0);
  const sound = streams.find((s) => s.codec_type === "audio" && Number(s.sample_rate) > 0);
  const [over, under] = String(video?.time_base ?? "1/1")
    .split("/")
    .map(Number) as [number, number];
  return {
    video: video && {
      index: Number(video.index),
      width: Number(video.width),
      height: Number(video.height),
      ticksPerSecond: under / over,
      fps: rate(video.avg_frame_rate),
    },
    sound: sound && { index: Number(sound.index), sampleRate: Number(sound.sample_rate), channels: Number(sound.channels) || 1 },
    startTime: Number(format.start_time) || 0,
  };
}

interface Described {
  streams?: (Record<string, unknown> & { disposition?: { attached_pic?: number } })[];
  format?: Record<string, unknown>;
}
function parse(text: string, what: string): Described {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw notVideo(what, `a description that cannot be read (${reasonOf(cause)})`, cause);
  }
}
function rate(text: unknown): number | undefined {
  const [over, under] = String(text).split("/").map(Number) as [number, number?];
  const value = over / (under ?? 1);
  return Number.isFinite(value) && value > 0 ? value : undefined;
}

// One line a packet; what is not known reads N/A.
const [PTS, DURATION, FLAGS] = [/\bpts=(-?\d+)/, /\bduration=(\d+)/, /\bflags=([^|\s]+)/];

/** Reads the whole file's packets, decodes none. */
async function packetsOf(
  tools: Tools,
  path: string,
  what: string,
  { index, ticksPerSecond, fps }: NonNullable<Probe["video"]>,
  maxFrames: number,
  signal: AbortSignal | undefined,
): Promise<Packets> {
  const seen: Packet[] = [];
  const take = (line: string) => {
    const flags = FLAGS.exec(line)?.[1];
    // Outside of what the file's edit list shows.
    if (!flags || flags.includes("D")) return;
    seen.push({ stamp: Number(PTS.exec(line)?.[1] ?? "NaN"), duration: Number(DURATION.exec(line)?.[1] ?? 0), key: flags.startsWith("K") });
    checkFrames(seen.length, maxFrames, what);
  };
  let rest = "";
  const onOutput = (chunk: Uint8Array): undefined => {
    const lines = (rest + Buffer.from(chunk).toString("latin1")).split("\n");
    rest = lines.pop()!;
    for (const line of lines) take(line);
  };
  const entries = ["-show_entries", "packet=pts,duration,flags", "-of", "compact=p=0:nk=0"];
  const args = ["-v", "error", "-select_streams", String(index), ...entries, ...inputArguments(path)];
  const { ok, said, cut } = await run(tools.ffprobe, args, { what, signal, onOutput });
  if (cut) throw cutOff(what, said);
  if (!seen.length || !ok) throw notVideo(what, said || "no frames");
  const { packets, timeline } = shownOf(seen, ticksPerSecond, fps);
  if (!packets) return { stamps: undefined, keys: undefined, timeline };
  const keys = new Int32Array(packets.length);
  for (const [i, { key }] of packets.entries()) keys[i] = key ? i : (keys[i - 1] ?? 0);
  return { stamps: Float64Array.from(packets, ({ stamp }) => stamp), keys, timeline };
}
