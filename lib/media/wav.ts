// WAV: where the samples lie and how they are coded. Reads headers only; chunks may come in any order and of any kind.
import { MediaError } from "./error.js";
import type { RandomAccess } from "./source.js";

/** Numbers of native/media/pcm.h. */
const ENCODINGS = { u8: 0, s16: 1, s24: 2, s32: 3, f32: 4, f64: 5, alaw: 6, mulaw: 7 } as const;
type Encoding = keyof typeof ENCODINGS;

export interface WavLayout {
  encoding: number;
  isFloat: boolean;
  channels: number;
  sampleRate: number;
  /** Bytes of one sample of every channel. */
  frameBytes: number;
  dataAt: number;
  frames: number;
}

const [PCM, FLOAT, ALAW, MULAW, EXTENSIBLE] = [1, 3, 6, 7, 0xfffe];
// The rest of every GUID of WAVE_FORMAT_EXTENSIBLE that stands for a plain format number.
const GUID_TAIL = "000000001000800000aa00389b71";
/** Names that no samples begin with by chance. */
const KNOWN = /^(fmt |data|LIST|fact|PEAK|cue |smpl|inst|bext|iXML|id3 |ID3 |JUNK|junk|PAD |_PMX|acid|cart|plst|axml|chna|SAUR|afsp|DISP)$/;
const UNKNOWN = 0xffffffff;
const WAVE64 = "riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb";
const MAX_CHUNKS = 10_000;

export function isWav(head: Uint8Array): boolean {
  const text = latin1(head.subarray(0, 12));
  return /^(RIFF|RF64|BW64|RIFX)....WAVE$/s.test(text) || text === WAVE64;
}

/** A chunk as each kind of header tells it. */
interface Chunk {
  id: string;
  /** Of its content, and where the next chunk begins. */
  at: number;
  size: number;
  next: number;
}

/** The layout; undefined for a compressed format that another decoder may know. */
export async function readWavLayout(file: RandomAccess, what: string): Promise<WavLayout | undefined> {
  const head = new Uint8Array(12);
  await file.read(head, 0);
  if (latin1(head.subarray(0, 4)) === "RIFX")
    return bad(what, "little-endian samples (RIFF)", "a big-endian WAV (RIFX)", "convert it to RIFF");
  let format: Omit<WavLayout, "dataAt" | "frames"> | "other" | undefined;
  let data: { at: number; bytes: number } | undefined;
  let sizes: LongSizes | undefined;
  const chunkAt = latin1(head) === WAVE64 ? wave64Chunk : riffChunk;
  let at = chunkAt === wave64Chunk ? 40 : 12;
  for (let k = 0; k < MAX_CHUNKS && !(format && data); ++k) {
    const chunk = await chunkAt(file, at, sizes);
    if (!chunk) break;
    const content = async (most: number) => {
      const bytes = new Uint8Array(Math.min(chunk.size, most));
      return bytes.subarray(0, await file.read(bytes, chunk.at));
    };
    at = chunk.next;
    if (chunk.id === "fmt ") format = parseFormat(await content(40), what);
    else if (chunk.id === "ds64") sizes = parseLongSizes(await content(1 << 16));
    else if (chunk.id === "data") {
      data = { at: chunk.at, bytes: await dataBytes(file, chunk) };
      at = Math.max(at, data.at + data.bytes);
    }
  }
  if (format === "other") return undefined;
  if (!format) return bad(what, 'a WAV with a "fmt " chunk', "none", "the file is damaged: make it again");
  if (!data) return bad(what, 'a WAV with a "data" chunk', "none", "the file is cut: make it again");
  const frames = Math.floor(data.bytes / format.frameBytes);
  return { ...format, dataAt: data.at, frames };
}

/** RF64's and BW64's sizes of chunks whose own is all ones, by id. */
type LongSizes = ReadonlyMap<string, number>;

function parseLongSizes(chunk: Uint8Array): LongSizes {
  const sizes = new Map<string, number>();
  if (chunk.length < 28) return sizes;
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.length);
  const entries = Math.min(view.getUint32(24, true), Math.floor((chunk.length - 28) / 12));
  for (let at = 28, i = 0; i < entries; ++i, at += 12) sizes.set(latin1(chunk.subarray(at, at + 4)), long(view, at + 4));
  return sizes.set("data", long(view, 8));
}

/** Sizes beyond any file stay beyond it. */
const long = (view: DataView, at: number): number => Number(view.getBigUint64(at, true));

async function riffChunk(file: RandomAccess, at: number, sizes: LongSizes | undefined): Promise<Chunk | undefined> {
  const header = new Uint8Array(8);
  if ((await file.read(header, at)) < 8) return undefined;
  const id = latin1(header.subarray(0, 4));
  const short = new DataView(header.buffer).getUint32(4, true);
  const size = (short === UNKNOWN ? sizes?.get(id) : undefined) ?? short;
  const end = at + 8 + size;
  if (size % 2 === 0) return { id, at: at + 8, size, next: end };
  // A byte follows an odd chunk, which some writers forget.
  const name = new Uint8Array(4);
  await file.read(name, end);
  return { id, at: at + 8, size, next: KNOWN.test(latin1(name)) ? end : end + 1 };
}

/** Sony Wave64: ids and sizes are longer, a size counts its header too, and chunks begin at multiples of eight. */
async function wave64Chunk(file: RandomAccess, at: number): Promise<Chunk | undefined> {
  const header = new Uint8Array(24);
  if ((await file.read(header, at)) < 24) return undefined;
  const size = Math.max(0, long(new DataView(header.buffer), 16) - 24);
  return { id: latin1(header.subarray(0, 4)), at: at + 24, size, next: at + 24 + 8 * Math.ceil(size / 8) };
}

// A writer that did not know the size leaves 0 or all ones: then the samples are the last thing in the file. A file that was cut keeps what is there.
async function dataBytes(file: RandomAccess, { at, size }: Chunk): Promise<number> {
  const left = Math.max(0, file.size - at);
  if (size > 0) return Math.min(size, left);
  const next = new Uint8Array(4);
  await file.read(next, at);
  return KNOWN.test(latin1(next)) ? 0 : left;
}

function parseFormat(chunk: Uint8Array, what: string): Omit<WavLayout, "dataAt" | "frames"> | "other" {
  if (chunk.length < 16)
    return bad(what, 'at least 16 bytes in the "fmt " chunk', `${chunk.length}`, "the file is cut or damaged: make it again");
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.length);
  let tag = view.getUint16(0, true);
  const [channels, sampleRate] = [view.getUint16(2, true), view.getUint32(4, true)];
  const [align, bits] = [view.getUint16(12, true), view.getUint16(14, true)];
  if (tag === EXTENSIBLE) {
    if (chunk.length < 40 || Buffer.from(chunk.subarray(26, 40)).toString("hex") !== GUID_TAIL)
      return bad(what, "PCM, float, A-law or µ-law samples", "another extensible format", "convert it to 16-bit PCM");
    tag = view.getUint16(24, true);
  }
  if (![PCM, FLOAT, ALAW, MULAW].includes(tag)) return "other";
  const encoding = encodingOf(tag, bits);
  if (!encoding)
    return bad(what, "8, 16, 24 or 32-bit integers, 32 or 64-bit floats", `${bits} bits, format ${tag}`, "convert it to 16-bit PCM");
  if (channels < 1 || sampleRate < 1 || sampleRate > 10_000_000)
    return bad(
      what,
      "channels, and a rate up to 10 MHz",
      `${channels} channels at ${sampleRate} Hz`,
      "the header is damaged: make it again",
    );
  const frameBytes = channels * bytesOfSample(encoding);
  if (align !== 0 && align !== frameBytes)
    return bad(what, `${frameBytes} bytes for ${channels} × ${bits} bits`, `a block of ${align}`, "convert it to 16-bit PCM");
  return { encoding: ENCODINGS[encoding], isFloat: tag === FLOAT, channels, sampleRate, frameBytes };
}

// Fewer bits than the container holds are left-aligned in it: 20 bits read as 24, 12 as 16.
function encodingOf(tag: number, bits: number): Encoding | undefined {
  if (tag === ALAW) return bits === 8 || bits === 0 ? "alaw" : undefined;
  if (tag === MULAW) return bits === 8 || bits === 0 ? "mulaw" : undefined;
  if (tag === FLOAT) return bits === 32 ? "f32" : bits === 64 ? "f64" : undefined;
  return ([undefined, "u8", "s16", "s24", "s32"] as const)[Math.ceil(bits / 8)];
}
const bytesOfSample = (encoding: Encoding): number => [1, 2, 3, 4, 4, 8, 1, 1][ENCODINGS[encoding]]!;

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");

function bad(what: string, wanted: string, got: string, remedy: string): never {
  throw new MediaError("E_MEDIA_FORMAT", what, wanted, got, remedy);
}
