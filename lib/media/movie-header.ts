// What an MP4, a MOV, a WebM or an MKV tells of itself before its packets: the clock that its times are counted by, how its pictures are turned, whether all
// of it is there. ISO/IEC 14496-12, sections 8.3.2 and 8.4.2; RFC 8794 for EBML.
import { typeAt, walkBoxes } from "./counts-mp4-boxes.js";
import { MediaError } from "./error.js";
import type { RandomAccess } from "./source.js";

export interface MovieHeader {
  kind: "mp4" | "webm";
  /** Of the first track of pictures; a film without one is counted in microseconds. */
  ticksPerSecond: number;
  /** Clockwise, in quarters. */
  turns: number;
  /** Bytes that the file tells of and does not have. */
  missing: number;
}

const MICROSECONDS = 1_000_000;
const MOST_MOVIE = 64 << 20;
const EBML = 0x1a45dfa3;
const SEGMENT = 0x18538067;

export async function movieHeader(file: RandomAccess, what: string): Promise<MovieHeader> {
  const head = await bytesAt(file, 0, 4096);
  return head.byteLength > 4 && head.getUint32(0) === EBML ? webmHeader(head, file.size) : mp4Header(file, what);
}

async function bytesAt(file: RandomAccess, at: number, length: number): Promise<DataView> {
  const bytes = new Uint8Array(Math.max(0, Math.min(length, file.size - at)));
  let done = 0;
  for (let n = 1; n && done < bytes.length; done += n) n = await file.read(bytes.subarray(done), at + done);
  return new DataView(bytes.buffer, 0, done);
}

async function mp4Header(file: RandomAccess, what: string): Promise<MovieHeader> {
  let track: Pick<MovieHeader, "ticksPerSecond" | "turns"> | undefined;
  let [at, end] = [0, 0];
  for (; at + 8 <= file.size; at = end) {
    const head = await bytesAt(file, at, 16);
    const told = head.getUint32(0);
    const isLong = told === 1 && head.byteLength === 16;
    const size = told === 0 ? file.size - at : isLong ? Number(head.getBigUint64(8)) : told;
    if (size < (isLong ? 16 : 8)) break;
    end = at + size;
    if (typeAt(head, 4) !== "moov" || end > file.size || track) continue;
    if (size > MOST_MOVIE)
      throw new MediaError(
        "E_MEDIA_LIMIT",
        what,
        `a description of at most ${MOST_MOVIE} bytes`,
        `${size}`,
        "the file is damaged: make it again",
      );
    track = trackIn(await bytesAt(file, at + (isLong ? 16 : 8), size - (isLong ? 16 : 8)), what);
  }
  return { kind: "mp4", ticksPerSecond: MICROSECONDS, turns: 0, ...track, missing: Math.max(0, end - file.size) };
}

/** The first of pictures. */
function trackIn(movie: DataView, what: string): Pick<MovieHeader, "ticksPerSecond" | "turns"> | undefined {
  const tracks: { ticksPerSecond?: number; turns?: number; isVideo?: boolean }[] = [];
  walkBoxes(movie, 0, movie.byteLength, what, (type, body, end) => {
    if (type === "trak") tracks.push({});
    const track = tracks.at(-1);
    if (!track) return;
    const isLong = body < end && movie.getUint8(body) === 1;
    const matrix = body + (isLong ? 52 : 40);
    if (type === "tkhd" && matrix + 36 <= end) track.turns = turnsOf(movie.getInt32(matrix), movie.getInt32(matrix + 4));
    const clock = body + (isLong ? 20 : 12);
    if (type === "mdhd" && clock + 4 <= end) track.ticksPerSecond = movie.getUint32(clock);
    if (type === "hdlr" && body + 12 <= end) track.isVideo ??= typeAt(movie, body + 8) === "vide";
  });
  const { ticksPerSecond, turns = 0 } = tracks.find(({ isVideo }) => isVideo) ?? {};
  return ticksPerSecond ? { ticksPerSecond, turns } : undefined;
}

/** Of the matrix' first row (a, b). What is no quarter is none. */
const turnsOf = (a: number, b: number): number => (a === 0 && b > 0 ? 1 : a < 0 && b === 0 ? 2 : a === 0 && b < 0 ? 3 : 0);

/** Times are whole milliseconds, and so microseconds too. */
function webmHeader(view: DataView, size: number): MovieHeader {
  let missing = 0;
  for (let at = 0; at + 12 <= view.byteLength; ) {
    const idBytes = Math.clz32(view.getUint8(at)) - 23;
    const first = view.getUint8(at + idBytes);
    const lengthBytes = Math.clz32(first) - 23;
    if (idBytes > 4 || lengthBytes > 8 || at + idBytes + lengthBytes > view.byteLength) break;
    let length = first & (0xff >> lengthBytes);
    let isUnknown = length === 0xff >> lengthBytes;
    for (let i = 1; i < lengthBytes; ++i) {
      const byte = view.getUint8(at + idBytes + i);
      length = length * 256 + byte;
      isUnknown &&= byte === 0xff;
    }
    const end = at + idBytes + lengthBytes + length;
    if (idBytes === 4 && view.getUint32(at) === SEGMENT) {
      missing = isUnknown ? 0 : Math.max(0, end - size);
      break;
    }
    at = end;
  }
  return { kind: "webm", ticksPerSecond: MICROSECONDS, turns: 0, missing };
}
