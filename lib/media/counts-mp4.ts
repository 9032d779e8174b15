// MP4 and M4A: every table's count against the length of its box, the samples against the length of the file, and the movie's header put before what it tells of.
// Boxes: ISO/IEC 14496-12.
import { checkCount, checkSignal, damaged, type Prepared } from "./counts.js";
import { outerBoxes, typeAt, type Visit, walkBoxes } from "./counts-mp4-boxes.js";
import { checkFragments } from "./counts-mp4-fragments.js";
import { checkSamples, type Track } from "./counts-mp4-samples.js";

/** Bytes of an entry behind version, flags and count. */
const TABLES: ReadonlyMap<string, number> = new Map(Object.entries({ stco: 4, co64: 8, stsc: 12, stts: 8, ctts: 8, stss: 4 }));
const CODINGS =
  /^(mp4a|alac|\.mp3|fLaC|Opus|sowt|twos|in24|in32|fl32|fl64|lpcm|ipcm|fpcm|raw |NONE|ulaw|alaw|samr|sawb|ac-3|ec-3|dts[cehl])$/;
const MAX_MOVIE = 16 << 20;
/** Of sizes that are all the same, in all tracks: a decoder writes each of them down, a heap that is full may end the whole process. */
const MAX_SAMPLES = 1 << 25;

export function prepareMp4(bytes: Uint8Array, what: string): Prepared {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const movie = movieIn(view);
  if (!movie || movie.isLong || movie.end > bytes.length)
    throw damaged(what, "an MP4 with a whole moov box", "none: it was cut or never finished");
  checkCount(what, "moov (bytes)", movie.end - movie.at, MAX_MOVIE);
  const head = bytes.slice(movie.at, movie.end);
  const headView = new DataView(head.buffer);
  headView.setUint32(0, head.length); // it may have been "up to the end"
  const { tracks, usualSize } = checkMovie(headView, bytes.length, what);
  const alike = tracks.reduce((sum, track) => sum + (track.alike ?? 0), 0);
  checkCount(what, "stsz of all tracks", alike, MAX_SAMPLES);
  for (const track of tracks) checkSamples(headView, track, bytes, what);
  if (usualSize !== undefined) checkFragments(view, usualSize, what);
  // A decoder that meets the header last copies and parses all before it with each further piece.
  moveOffsets(headView, tracks, movie, what);
  return {
    parts: [{ bytes: head, isWhole: true }, { bytes: bytes.subarray(0, movie.at) }, { bytes: bytes.subarray(movie.end) }],
  };
}

function movieIn(view: DataView): { at: number; end: number; isLong: boolean } | undefined {
  for (const box of outerBoxes(view)) if (box.type === "moov") return box;
  return undefined;
}

/** Its tracks, each table looked at; and the size of samples that come in fragments without one, the largest where there are several. */
function checkMovie(view: DataView, fileSize: number, what: string): { tracks: Track[]; usualSize: number | undefined } {
  const tracks: Track[] = [];
  let usualSize: number | undefined;
  const visit: Visit = (type, body, end, depth) => {
    if (type === "trak") tracks.push({});
    else if (type === "trex") usualSize = Math.max(usualSize ?? 0, body + 20 <= end ? view.getUint32(body + 16) : 0);
    else if (type === "stsd") descriptions(body, end, depth);
    else checkBox(view, type, body, end, tracks.at(-1), fileSize, what);
  };
  const descriptions = (body: number, end: number, depth: number): void => {
    if (body + 8 > end) return;
    let at = body + 8;
    for (let left = view.getUint32(body + 4); left > 0 && at + 16 <= end; --left) {
      const size = view.getUint32(at);
      if (size < 16) return;
      if (at + size > end) throw damaged(what, "sample descriptions inside of stsd", `one of ${size} bytes`);
      const track = tracks.at(-1);
      if (track && CODINGS.test(typeAt(view, at + 4))) track.isSound = true;
      walkBoxes(view, at + headerOf(view, at, size, what), at + size, what, visit, depth + 1);
      at += size;
    }
  };
  walkBoxes(view, 0, view.byteLength, what, visit);
  return { tracks, usualSize };
}

/** Bytes before the boxes of a description of sound, which has three versions. */
function headerOf(view: DataView, at: number, size: number, what: string): number {
  if (size < 36) return size;
  const version = view.getUint16(at + 16);
  if (!CODINGS.test(typeAt(view, at + 4))) return version === 1 ? 52 : version === 2 && size >= 40 ? view.getUint32(at + 36) || 72 : 36;
  if (version !== 2) {
    // A rate of 0 is the track's.
    checkSignal(what, view.getUint16(at + 32) || 1, view.getUint16(at + 24) || 1);
    return version === 1 ? 52 : 36;
  }
  if (size < 72) throw damaged(what, "72 bytes in a sound description of version 2", `${size}`);
  checkSignal(what, view.getFloat64(at + 40), view.getUint32(at + 48));
  checkCount(what, "a sample (bits)", view.getUint32(at + 56), 64);
  return view.getUint32(at + 36) || 72;
}

function checkBox(view: DataView, type: string, body: number, end: number, track: Track | undefined, fileSize: number, what: string): void {
  const entry = type === "elst" ? (view.getUint8(body) === 1 ? 20 : 12) : TABLES.get(type);
  if (entry !== undefined) {
    if (body + 8 > end) throw damaged(what, `a count in ${type}`, `${end - body} bytes`);
    checkCount(what, type, view.getUint32(body + 4), (end - body - 8) / entry);
  }
  if (type === "stsz") {
    if (body + 12 > end) throw damaged(what, "a count in stsz", `${end - body} bytes`);
    const [size, count] = [view.getUint32(body + 4), view.getUint32(body + 8)];
    // One size for all takes no room, whatever the count. Of a file that was cut, the samples that are there.
    if (size === 0) checkCount(what, "stsz", count, (end - body - 12) / 4);
    else if (count > fileSize) checkCount(what, "stsz", count, fileSize / size);
    else view.setUint32(body + 8, Math.min(count, Math.ceil(fileSize / size)));
    if (size && track) track.alike = view.getUint32(body + 8);
    if (size && track?.sizes !== undefined) throw damaged(what, "one table of sizes a track", "several");
  }
  if (type === "esds") checkDescriptors(view, body + 4, end, what);
  if (type === "alac") checkCookie(view, end, what);
  if (!track) return;
  if (type === "stsz") track.sizes = body;
  else if (type === "stsc") track.chunks = body;
  else if (type === "stco" || type === "co64") track.offsets = { body, isLong: type === "co64" };
}

/** Lengths of MPEG-4 descriptors, seven bits a byte: more than four bytes would overflow in a decoder, and lead it backwards. */
function checkDescriptors(view: DataView, from: number, end: number, what: string): void {
  for (let at = from; at < end - 2; ) {
    const tag = view.getUint8(at++);
    let [length, digits, byte] = [0, 0, 0];
    do {
      byte = view.getUint8(at++);
      length = length * 128 + (byte & 0x7f);
      if (++digits > 4) throw damaged(what, "a length of at most four bytes in esds", "a longer one");
    } while (byte & 0x80 && at < end);
    if (tag === 5) return;
    at += tag === 3 ? 3 : tag === 4 ? 13 : length;
  }
}

/** Apple Lossless: its last 24 bytes say how long a frame is, and room for that is made for each. */
function checkCookie(view: DataView, end: number, what: string): void {
  if (end < 24) return;
  const at = end - 24;
  checkCount(what, "a frame of ALAC", view.getUint32(at), 1 << 16);
  checkSignal(what, view.getUint32(at + 20), view.getUint8(at + 9));
  checkCount(what, "a sample of ALAC (bits)", view.getUint8(at + 5), 32);
}

/** What lay before the header lies its length further on, now that it comes first. */
function moveOffsets(view: DataView, tracks: readonly Track[], movie: { at: number; end: number }, what: string): void {
  for (const { offsets } of tracks) {
    if (!offsets) continue;
    const count = view.getUint32(offsets.body + 4);
    for (let i = 0; i < count; ++i) {
      const at = offsets.body + 8 + i * (offsets.isLong ? 8 : 4);
      const offset = offsets.isLong ? Number(view.getBigUint64(at)) : view.getUint32(at);
      if (offset >= movie.at) continue;
      const moved = offset + movie.end - movie.at;
      if (offsets.isLong) view.setBigUint64(at, BigInt(moved));
      else if (moved < 2 ** 32) view.setUint32(at, moved);
      else throw damaged(what, "offsets below 4 GB", `${moved}`);
    }
  }
}
