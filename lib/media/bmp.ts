// Windows and OS/2 bitmaps, as Pillow reads them: 1, 4, 8, 16, 24 and 32 bits, run lengths, masks, rows upwards or downwards.
import type { Pieces } from "../core/turns.js";
import { MediaError } from "./error.js";
import type { Pixels } from "./image.js";

interface Header {
  width: number;
  height: number;
  topDown: boolean;
  bits: number;
  compression: number;
  /** Red, green, blue in a pixel of 16 or 32 bits. */
  masks: readonly [number, number, number];
  /** Red, green and blue of each index. */
  palette: Uint8Array;
  dataAt: number;
}

const [RGB, RLE8, RLE4, BITFIELDS, ALPHA_BITFIELDS] = [0, 1, 2, 3, 6];
const OS2 = 12;
const PLAIN = { 16: [0x7c00, 0x3e0, 0x1f], 24: [0xff0000, 0xff00, 0xff], 32: [0xff0000, 0xff00, 0xff] } as const;

/** Width and height, before a pixel is looked at. */
export function bmpSize(bytes: Uint8Array, what: string): { width: number; height: number } {
  return readHeader(bytes, what);
}

/** Pixels between two turns of the event loop. */
const PIECE = 1 << 16;

/** In pieces: a header of a kilobyte may claim a hundred million pixels. */
export function* decodeBmp(bytes: Uint8Array, what: string): Pieces<Pixels> {
  const header = readHeader(bytes, what);
  const { width, height, bits, compression, palette } = header;
  const data = new Uint8Array(width * height * 3);
  if (bits <= 8) {
    const indices = yield* compression === RGB ? plainIndices(bytes, header, what) : runs(bytes, header, what);
    for (let i = 0; i < indices.length; ++i) {
      if (i % PIECE === 0) yield;
      const from = 3 * indices[i]!;
      for (let c = 0; c < 3; ++c) data[3 * i + c] = palette[from + c]!;
    }
  } else yield* direct(bytes, header, data, what);
  yield;
  return { data: header.topDown ? data : upwards(data, width * 3, height), width, height };
}

function bad(what: string, expected: string, got: string, remedy = "write it again: it is damaged or cut"): MediaError {
  return new MediaError("E_MEDIA_FORMAT", what, `a BMP with ${expected}`, got, remedy);
}

function readHeader(bytes: Uint8Array, what: string): Header {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const size = bytes.length < 18 ? 0 : view.getUint32(14, true);
  if (bytes.length < 14 + size || ![OS2, 40, 52, 56, 64, 108, 124].includes(size))
    throw bad(what, "a header of a known size", size ? `${size} in ${bytes.length} bytes` : `${bytes.length} bytes`);
  const old = size === OS2;
  const width = old ? view.getUint16(18, true) : view.getInt32(18, true);
  const tall = old ? view.getUint16(20, true) : view.getInt32(22, true);
  const bits = view.getUint16(old ? 24 : 28, true);
  const compression = old ? RGB : view.getUint32(30, true);
  const height = Math.abs(tall);
  if (width < 1 || height < 1) throw bad(what, "sides from 1 on", `${width} × ${tall}`);
  if (![1, 4, 8, 16, 24, 32].includes(bits)) throw bad(what, "1, 4, 8, 16, 24 or 32 bits", `${bits}`, "save it with 24 bits");
  const coded = (bits === 8 && compression === RLE8) || (bits === 4 && compression === RLE4);
  const masked = bits >= 16 && (compression === BITFIELDS || compression === ALPHA_BITFIELDS);
  if (compression !== RGB && !coded && !masked)
    throw bad(what, "plain, run-length or masked pixels", `compression ${compression} at ${bits} bits`, "save it without compression");
  const masksAt = 14 + 40; // in a longer header, or right behind a short one
  const maskBytes = masked && size === 40 ? (compression === ALPHA_BITFIELDS ? 16 : 12) : 0;
  if (masked && bytes.length < masksAt + 12) throw bad(what, "masks", "the end of the file");
  const asked = masked ? [0, 4, 8].map((at) => view.getUint32(masksAt + at, true)) : [0, 0, 0];
  const masks = (asked.every((mask) => !mask) ? (PLAIN[bits as 16] ?? PLAIN[24]) : asked) as [number, number, number];
  const entry = old ? 3 : 4;
  const colours = bits > 8 ? 0 : Math.min((old ? 0 : view.getUint32(46, true)) || 1 << bits, 65536);
  const paletteAt = 14 + size + maskBytes;
  const palette = new Uint8Array(3 * 256); // what no entry is there for is black
  for (let i = 0; i < Math.min(colours, 256) && paletteAt + i * entry + 3 <= bytes.length; ++i)
    for (let c = 0; c < 3; ++c) palette[3 * i + c] = bytes[paletteAt + i * entry + 2 - c]!;
  // As Pillow: right behind the header there is the palette, whatever the file says.
  const said = view.getUint32(10, true);
  const dataAt = said === 0 || (said === 14 + size && bits <= 8) ? paletteAt + entry * colours : said;
  return { width, height, topDown: tall < 0, bits, compression, masks, palette, dataAt };
}

function rowsOf(bytes: Uint8Array, { width, height, bits, dataAt }: Header, what: string): { stride: number } {
  const stride = 4 * Math.ceil((width * bits) / 32);
  // The padding of the last row may be missing.
  const needed = stride * (height - 1) + Math.ceil((width * bits) / 8);
  if (bytes.length - dataAt < needed) throw bad(what, `${needed} bytes of pixels`, `${Math.max(0, bytes.length - dataAt)}`);
  return { stride };
}

function* plainIndices(bytes: Uint8Array, header: Header, what: string): Pieces<Uint8Array> {
  const { width, height, bits, dataAt } = header;
  const { stride } = rowsOf(bytes, header, what);
  const indices = new Uint8Array(width * height);
  const [perByte, mask] = [8 / bits, (1 << bits) - 1];
  for (let y = 0; y < height; ++y)
    for (let x = 0; x < width; ++x) {
      if ((y * width + x) % PIECE === 0) yield;
      const byte = bytes[dataAt + y * stride + Math.floor(x / perByte)]!;
      indices[y * width + x] = (byte >> (8 - bits * ((x % perByte) + 1))) & mask;
    }
  return indices;
}

/** Pairs of a count and an index, or a zero and an escape. What is skipped has index 0. */
function* runs(bytes: Uint8Array, { width, height, compression, dataAt }: Header, what: string): Pieces<Uint8Array> {
  const indices = new Uint8Array(width * height);
  const half = compression === RLE4;
  let [x, y, at] = [0, 0, dataAt];
  // What a run has beyond the row is left out.
  const put = (count: number, value: (i: number) => number) => {
    for (let i = 0; i < Math.min(count, width - x); ++i) indices[y * width + x + i] = value(i);
    x += count;
  };
  for (let codes = 0; y < height; ++codes) {
    if (codes % 1024 === 0) yield;
    const [count, value] = [bytes[at], bytes[at + 1]];
    if (count === undefined || value === undefined) {
      if (y === height - 1 && x >= width) break; // the end's mark is missing, no pixel is
      throw bad(what, "runs up to the end", `an end in row ${y}`);
    }
    at += 2;
    if (count) put(count, (i) => (half ? (i % 2 ? value & 15 : value >> 4) : value));
    else if (value === 0) [x, y] = [0, y + 1];
    else if (value === 1) break;
    else if (value === 2) {
      [x, y] = [x + (bytes[at] ?? 0), y + (bytes[at + 1] ?? 0)];
      at += 2;
    } else {
      const from = at;
      put(value, (i) => {
        const byte = bytes[from + (half ? i >> 1 : i)] ?? 0;
        return half ? (i % 2 ? byte & 15 : byte >> 4) : byte;
      });
      const length = half ? (value + 1) >> 1 : value;
      at += length + (length & 1);
    }
  }
  return indices;
}

function* direct(bytes: Uint8Array, header: Header, data: Uint8Array, what: string): Pieces<void> {
  const { width, height, bits, masks, dataAt } = header;
  const { stride } = rowsOf(bytes, header, what);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const size = bits / 8;
  const pixel = (at: number): number =>
    size === 2
      ? view.getUint16(at, true)
      : size === 4
        ? view.getUint32(at, true)
        : bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16);
  const channels = masks.map((mask) => {
    const shift = mask ? 31 - Math.clz32(mask & -mask) : 0;
    return { shift, top: mask >>> shift };
  });
  for (let y = 0; y < height; ++y)
    for (let x = 0; x < width; ++x) {
      if ((y * width + x) % PIECE === 0) yield;
      const value = pixel(dataAt + y * stride + x * size);
      for (let c = 0; c < 3; ++c) {
        const { shift, top } = channels[c]!;
        data[3 * (y * width + x) + c] = top ? Math.floor((((value >>> shift) & top) * 255) / top) : 0;
      }
    }
}

function upwards(data: Uint8Array, stride: number, height: number): Uint8Array {
  const turned = new Uint8Array(data.length);
  for (let y = 0; y < height; ++y) turned.set(data.subarray(y * stride, (y + 1) * stride), (height - 1 - y) * stride);
  return turned;
}
