// WebM and Matroska: the elements a decoder of sound needs, each in one piece; a decoder keeps what is not complete and copies it with each further piece.
import { checkSignal, damaged, type Part, type Prepared } from "./counts.js";
import { isDense } from "./flac-frames.js";

const [HEADER, SEGMENT, TRACKS, CLUSTER, BLOCK_GROUP, SIMPLE_BLOCK, BLOCK] = [
  0x1a45dfa3, 0x18538067, 0x1654ae6b, 0x1f43b675, 0xa0, 0xa3, 0xa1,
];
const [TRACK_ENTRY, AUDIO, RATE, OUTPUT_RATE, CHANNELS, BITS] = [0xae, 0xe1, 0xb5, 0x78b5, 0x9f, 0x6264];
const MAX_HEADER = 64 << 10;
/** Blocks of sound are a few KB, at most a frame of FLAC that could not be compressed. */
const MAX_BLOCK = 2 << 20;
/** Small blocks go together, up to this. */
const PIECE = 4 << 10;

interface Element {
  id: number;
  at: number;
  content: number;
  /** Of its content; undefined where the file does not tell. */
  size: number | undefined;
}

export function prepareWebm(bytes: Uint8Array, what: string): Prepared {
  // Elements are left out, so the segment is handed on as of unknown size.
  let head = new Uint8Array();
  const segment = Uint8Array.of(0x18, 0x53, 0x80, 0x67, 0x01, 255, 255, 255, 255, 255, 255, 255);
  for (const { id, at, content, end } of elementsOf(bytes, 0)) {
    if (id === SEGMENT) head = joined(head, segment);
    if (id !== HEADER && id !== TRACKS) continue;
    if (end - at > MAX_HEADER) throw damaged(what, `a header of at most ${MAX_HEADER} bytes`, `${end - at}`);
    head = joined(head, bytes.subarray(at, end));
    if (id === HEADER) continue;
    checkTracks(bytes, content, end, what, 0);
    return { parts: partsOf(head, bytes, end) };
  }
  throw damaged(what, "the tracks of a WebM", "a file without them");
}

function* partsOf(head: Uint8Array, bytes: Uint8Array, begin: number): Generator<Part> {
  yield { bytes: head, isWhole: true };
  let [from, to] = [begin, begin];
  for (const { id, at, content, end } of elementsOf(bytes, begin)) {
    if ((id !== BLOCK_GROUP && id !== SIMPLE_BLOCK) || end - at > MAX_BLOCK || isDense(bytes.subarray(at, end))) continue;
    if (id === BLOCK_GROUP && blocksIn(bytes, content, end) > 1) continue; // it has one; many, and all would be decoded at one go
    if (at !== to || end - from > PIECE) {
      if (to > from) yield { bytes: bytes.subarray(from, to), isWhole: true };
      from = at;
    }
    to = end;
  }
  if (to > from) yield { bytes: bytes.subarray(from, to), isWhole: true };
}

/** One after the other, without regard to what lies in what; of a segment, a cluster and what does not tell its size, the beginning only. */
function* elementsOf(bytes: Uint8Array, from: number): Generator<{ id: number; at: number; content: number; end: number }> {
  for (let at = from; at < bytes.length; ) {
    const element = elementAt(bytes, at);
    if (!element) return;
    const { id, content, size } = element;
    const isOpened = id === SEGMENT || id === CLUSTER || (id === BLOCK_GROUP && size === undefined);
    if (!isOpened && (size === undefined || content + size > bytes.length)) return;
    const end = isOpened ? content : content + size!;
    if (!(id === BLOCK_GROUP && isOpened)) yield { id, at, content, end };
    at = end;
  }
}

function blocksIn(bytes: Uint8Array, from: number, to: number): number {
  let blocks = 0;
  for (let at = from; at < to; ) {
    const element = elementAt(bytes, at);
    if (element?.size === undefined) break;
    if (element.id === BLOCK) ++blocks;
    at = element.content + element.size;
  }
  return blocks;
}

/** Rates and channels of every track, however deep the elements lie that hold them. */
function checkTracks(bytes: Uint8Array, from: number, to: number, what: string, depth: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let [rate, channels] = [8000, 1]; // what the format means where nothing is said
  for (let at = from; at < to; ) {
    const element = elementAt(bytes, at);
    if (!element || element.size === undefined || element.content + element.size > to) return;
    const { id, content, size } = element;
    at = content + element.size;
    if ((id === TRACK_ENTRY || id === AUDIO) && depth < 4) checkTracks(bytes, content, at, what, depth + 1);
    const isFloat = size === 4 || size === 8;
    if ((id === RATE || id === OUTPUT_RATE) && isFloat) rate = size === 4 ? view.getFloat32(content) : view.getFloat64(content);
    if (id === CHANNELS) channels = numberAt(bytes, content, at);
    if (id === BITS && numberAt(bytes, content, at) > 64)
      throw damaged(what, "samples of at most 64 bits", `${numberAt(bytes, content, at)}`);
    checkSignal(what, rate, channels);
  }
}

const numberAt = (bytes: Uint8Array, from: number, to: number): number => bytes.subarray(from, to).reduce((n, byte) => n * 256 + byte, 0);

/** https://www.rfc-editor.org/rfc/rfc8794#section-4: an id of up to four bytes with its marker, a size of up to eight without. */
function elementAt(bytes: Uint8Array, at: number): Element | undefined {
  const idLength = Math.clz32(bytes[at]!) - 23;
  if (idLength > 4 || at + idLength >= bytes.length) return undefined;
  const id = numberAt(bytes, at, at + idLength);
  const sizeAt = at + idLength;
  const length = Math.clz32(bytes[sizeAt]!) - 23;
  if (length > 8 || sizeAt + length > bytes.length) return undefined;
  const first = bytes[sizeAt]! & (0xff >> length);
  const rest = bytes.subarray(sizeAt + 1, sizeAt + length);
  const isUnknown = first === 0xff >> length && rest.every((byte) => byte === 255);
  return { id, at, content: sizeAt + length, size: isUnknown ? undefined : rest.reduce((n, byte) => n * 256 + byte, first) };
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(a.length + b.length);
  all.set(a);
  all.set(b, a.length);
  return all;
}
