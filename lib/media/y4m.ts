// Raw video with a line of text before it (YUV4MPEG2): only headers are walked, and only the picked frames are read.
import { native } from "../core/native.js";
import { type Clip, checkFrames, evenTimeline } from "./clip.js";
import { MediaError } from "./error.js";
import { checkArea, type Pixels } from "./image.js";
import type { Loading, RandomAccess } from "./source.js";

export const Y4M_MAGIC = "YUV4MPEG2";
const HEADER_LIMIT = 4096;
const FRAME_HEADER_LIMIT = 1024;

/** How chroma lies under luma: samples per step, and where the first one sits, counted in luma samples. */
interface Layout {
  stepX: number;
  stepY: number;
  offsetX?: number;
  offsetY?: number;
  planes: 1 | 3 | 4;
}
const CENTRED: Layout = { stepX: 2, stepY: 2, offsetX: 0.5, offsetY: 0.5, planes: 3 };
const LAYOUTS: Readonly<Record<string, Layout>> = {
  "420": CENTRED,
  "420jpeg": CENTRED,
  "420mpeg2": { stepX: 2, stepY: 2, offsetY: 0.5, planes: 3 },
  "420paldv": { stepX: 2, stepY: 2, planes: 3 },
  "422": { stepX: 2, stepY: 1, planes: 3 },
  "411": { stepX: 4, stepY: 1, planes: 3 },
  "444": { stepX: 1, stepY: 1, planes: 3 },
  "444alpha": { stepX: 1, stepY: 1, planes: 4 },
  mono: { stepX: 1, stepY: 1, planes: 1 },
};

interface Header {
  width: number;
  height: number;
  fps: number | undefined;
  layout: Layout;
  fullRange: boolean;
  /** Bytes of the header's line. */
  length: number;
}

export interface Y4mLimits {
  maxPixels: number;
  maxFrames: number;
}

/** Takes over `file`, and closes it. */
export async function openY4m(
  file: RandomAccess,
  what: string,
  limits: Y4mLimits,
  rate: number | undefined,
  loading: Loading,
): Promise<Clip> {
  try {
    return await readClip(file, what, limits, rate, loading);
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function readClip(file: RandomAccess, what: string, limits: Y4mLimits, rate: number | undefined, { signal }: Loading): Promise<Clip> {
  const header = parseHeader(await lineAt(file, 0, HEADER_LIMIT, what), what);
  const { width, height, layout } = header;
  checkArea(what, width, height, limits.maxPixels);
  const chroma =
    layout.planes === 1 ? { width: 0, height: 0 } : { width: ceilDiv(width, layout.stepX), height: ceilDiv(height, layout.stepY) };
  // An alpha plane comes last and is left out.
  const used = width * height + 2 * chroma.width * chroma.height;
  const frameBytes = used + (layout.planes === 4 ? width * height : 0);
  const offsets = await walk(file, header.length, frameBytes, limits.maxFrames, what, signal);

  const decodeOne = async (at: number, { signal }: Loading): Promise<Pixels> => {
    signal?.throwIfAborted();
    const planes = new Uint8Array(used);
    for (let done = 0; done < used; ) {
      const n = await file.read(planes.subarray(done), at + done);
      if (!n) throw bad(what, "a whole frame", "the file ended", "it was cut while it was read: try again");
      done += n;
    }
    const { stepX, stepY, offsetX = 0, offsetY = 0 } = layout;
    const rgb = await native().media_yuv(
      planes,
      width,
      height,
      chroma.width,
      chroma.height,
      stepX,
      stepY,
      offsetX,
      offsetY,
      header.fullRange,
    );
    return { data: new Uint8Array(rgb), width, height };
  };
  return {
    timeline: evenTimeline(offsets.length, header.fps ?? rate),
    hasSound: false,
    decode: async (indices, loading) => {
      const pictures: Pixels[] = [];
      for (const i of indices) pictures.push(await decodeOne(offsets[i]!, loading));
      return pictures;
    },
    [Symbol.asyncDispose]: () => file.close(),
  };
}

const ceilDiv = (a: number, b: number) => Math.ceil(a / b);

function bad(what: string, expected: string, got: string, remedy = "write it again: it is damaged or of another kind"): MediaError {
  return new MediaError("E_MEDIA_FORMAT", what, expected, got, remedy);
}

/** The text up to the end of the line, without it. */
async function lineAt(file: RandomAccess, at: number, limit: number, what: string): Promise<string> {
  const bytes = new Uint8Array(limit);
  const n = await file.read(bytes, at);
  const end = bytes.subarray(0, n).indexOf(10);
  if (end < 0) throw bad(what, `a line of text of at most ${limit} bytes`, n < limit ? "the end of the file" : "none");
  return Buffer.from(bytes.buffer, 0, end).toString("latin1");
}

function parseHeader(line: string, what: string): Header {
  const [magic, ...fields] = line.split(" ");
  if (magic !== Y4M_MAGIC) throw bad(what, Y4M_MAGIC, JSON.stringify(magic!.slice(0, 16)));
  const tag = (letter: string) => fields.find((field) => field.startsWith(letter))?.slice(1);
  const side = (letter: string) => {
    const text = tag(letter) ?? "";
    if (!/^[1-9]\d{0,8}$/.test(text)) throw bad(what, `${letter} with a size from 1 on`, JSON.stringify(text.slice(0, 16)));
    return Number(text);
  };
  const colours = tag("C") ?? "420";
  const layout = Object.hasOwn(LAYOUTS, colours) ? LAYOUTS[colours] : undefined;
  if (!layout)
    throw bad(
      what,
      `8-bit colours among ${Object.keys(LAYOUTS).join(", ")}`,
      JSON.stringify(colours.slice(0, 16)),
      "convert it first: ffmpeg -i in.y4m -pix_fmt yuv420p out.y4m",
    );
  const [over, under] = (tag("F") ?? "0:0").split(":").map(Number) as [number, number];
  const fps = over / under;
  const fullRange = fields.includes("XCOLORRANGE=FULL");
  return {
    width: side("W"),
    height: side("H"),
    fps: Number.isFinite(fps) && fps > 0 ? fps : undefined,
    layout,
    fullRange,
    length: line.length + 1,
  };
}

/** Where the planes of each frame begin. */
async function walk(
  file: RandomAccess,
  from: number,
  frameBytes: number,
  maxFrames: number,
  what: string,
  signal: AbortSignal | undefined,
): Promise<number[]> {
  const offsets: number[] = [];
  const head = new Uint8Array(6);
  for (let at = from; at < file.size; ) {
    signal?.throwIfAborted();
    checkFrames(offsets.length + 1, maxFrames, what);
    const n = await file.read(head, at);
    const text = Buffer.from(head.buffer, 0, n).toString("latin1");
    // FRAME may carry parameters of its own.
    const length = text === "FRAME\n" ? 6 : text === "FRAME " ? (await lineAt(file, at, FRAME_HEADER_LIMIT, what)).length + 1 : 0;
    if (!length) throw bad(what, `FRAME before frame ${offsets.length}`, JSON.stringify(text));
    if (at + length + frameBytes > file.size)
      throw bad(what, `${frameBytes} bytes in frame ${offsets.length}`, `${file.size - at - length}`, "write it again: it was cut off");
    offsets.push(at + length);
    at += length + frameBytes;
  }
  if (!offsets.length) throw bad(what, "at least one frame", "none");
  return offsets;
}
