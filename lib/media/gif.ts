// The first picture of a GIF, as Pillow reads it: a transparent pixel keeps the palette's colour, which other decoders clear to black.
import type { Pieces } from "../core/turns.js";
import { MediaError } from "./error.js";
import type { Pixels } from "./image.js";

interface Frame {
  left: number;
  top: number;
  width: number;
  height: number;
  interlaced: boolean;
  /** Red, green and blue of each index. */
  palette: Uint8Array;
  transparent: number | undefined;
  /** Where the code size stands, followed by the blocks of codes. */
  codesAt: number;
}

function bad(what: string, expected: string, got: string): MediaError {
  return new MediaError("E_MEDIA_FORMAT", what, `a GIF with ${expected}`, got, "make or copy it again: it is damaged or cut");
}

/** Of the screen, or of the first picture where that is larger. */
export function gifSize(bytes: Uint8Array, what: string): { width: number; height: number } {
  const { left, top, width, height } = firstFrame(bytes, what);
  const screen = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return { width: Math.max(screen.getUint16(6, true), left + width), height: Math.max(screen.getUint16(8, true), top + height) };
}

/** Pixels between two turns of the event loop. */
const PIECE = 1 << 16;

/** In pieces: some kilobytes may be a hundred million pixels. */
export function* decodeGif(bytes: Uint8Array, what: string): Pieces<Pixels> {
  const size = gifSize(bytes, what);
  const { left, top, width, height, interlaced, palette, transparent, codesAt } = firstFrame(bytes, what);
  const indices = yield* unpacked(bytes, codesAt, width * height, what);
  const data = new Uint8Array(size.width * size.height * 3);
  const around = 3 * (transparent ?? 0);
  for (let i = 0; i < data.length; ++i) {
    if (i % PIECE === 0) yield;
    data[i] = palette[around + (i % 3)]!;
  }
  const rows = interlaced ? interlacedRows(height) : undefined;
  for (let y = 0; y < height; ++y) {
    const to = (top + (rows?.[y] ?? y)) * size.width + left;
    for (let x = 0; x < width; ++x) {
      if ((y * width + x) % PIECE === 0) yield;
      const colour = 3 * indices[y * width + x]!;
      for (let c = 0; c < 3; ++c) data[3 * (to + x) + c] = palette[colour + c]!;
    }
  }
  return { data, ...size };
}

function firstFrame(bytes: Uint8Array, what: string): Frame {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < 13) throw bad(what, "a header", `${bytes.length} bytes`);
  const tableBytes = (flags: number) => (flags & 0x80 ? 3 << ((flags & 7) + 1) : 0);
  let palette = paletteOf(bytes.subarray(13, 13 + tableBytes(bytes[10]!)));
  let at = 13 + tableBytes(bytes[10]!);
  let transparent: number | undefined;
  for (;;) {
    const kind = bytes[at++];
    if (kind === undefined || kind === 0x3b) throw bad(what, "a picture in it", "none");
    if (kind === 0x21) {
      if (bytes[at] === 0xf9 && bytes[at + 1]! >= 4 && bytes[at + 2]! & 1) transparent = bytes[at + 5];
      for (++at; bytes[at]; at += bytes[at]! + 1);
      ++at;
    } else if (kind === 0x2c) {
      if (at + 10 > bytes.length) throw bad(what, "a whole picture", "the end of the file");
      const flags = bytes[at + 8]!;
      if (flags & 0x80) palette = paletteOf(bytes.subarray(at + 9, at + 9 + tableBytes(flags)));
      const [left, top, width, height] = [0, 2, 4, 6].map((n) => view.getUint16(at + n, true)) as [number, number, number, number];
      if (!width || !height) throw bad(what, "sides from 1 on", `${width} × ${height}`);
      return { left, top, width, height, interlaced: (flags & 0x40) > 0, palette, transparent, codesAt: at + 9 + tableBytes(flags) };
    } // else padding that some programs write
  }
}

/** Indices beyond a table are black; without one, or where it is the grey ramp's beginning, an index is a level of grey. */
function paletteOf(table: Uint8Array): Uint8Array {
  const palette = Uint8Array.from({ length: 3 * 256 }, (_, i) => Math.floor(i / 3));
  if (table.every((v, i) => v === palette[i])) return palette;
  palette.fill(0).set(table);
  return palette;
}

function interlacedRows(height: number): number[] {
  const rows: number[] = [];
  for (const [first, step] of [
    [0, 8],
    [4, 8],
    [2, 4],
    [1, 2],
  ] as const)
    for (let y = first; y < height; y += step) rows.push(y);
  return rows;
}

/** Lempel, Ziv and Welch: codes of a growing number of bits, each a sequence seen before and one more index. */
function* unpacked(bytes: Uint8Array, at: number, count: number, what: string): Pieces<Uint8Array> {
  const least = bytes[at++] ?? 0;
  if (least < 1 || least > 8) throw bad(what, "codes of 1 to 8 bits", `${least}`);
  const [clear, end] = [1 << least, (1 << least) + 1];
  // Of each code: the one it goes on from, the index it adds, the first index of all, and how many they are.
  const [before, last, heads, lengths] = [new Uint16Array(4096), new Uint8Array(4096), new Uint8Array(4096), new Uint16Array(4096)];
  for (let i = 0; i < clear; ++i) [last[i], heads[i], lengths[i]] = [i, i, 1];
  const indices = new Uint8Array(count);
  let [written, next, size, previous] = [0, end + 1, least + 1, -1];
  let [bits, have, left] = [0, 0, 0];
  const cut = () => bad(what, `${count} pixels`, `${written}`);
  for (let codes = 0; written < count; ++codes) {
    if (codes % 64 === 0) yield;
    while (have < size) {
      if (!left) left = bytes[at++] ?? 0;
      const byte = bytes[at++];
      if (!left || byte === undefined) throw cut();
      bits |= byte << have;
      [have, left] = [have + 8, left - 1];
    }
    const code = bits & ((1 << size) - 1);
    bits >>>= size;
    have -= size;
    if (code === clear) {
      [next, size, previous] = [end + 1, least + 1, -1];
      continue;
    }
    if (code === end) throw cut();
    if (code > next || (code === next && previous < 0)) throw bad(what, `a code up to ${next}`, `${code}`);
    if (previous >= 0 && next < 4096) {
      last[next] = heads[code === next ? previous : code]!;
      [before[next], heads[next], lengths[next]] = [previous, heads[previous]!, lengths[previous]! + 1];
      if (++next === 1 << size && size < 12) ++size;
    }
    previous = code;
    const stop = written + lengths[code]!;
    for (let to = stop - 1, from = code; to >= written; --to, from = before[from]!) if (to < count) indices[to] = last[from]!;
    written = stop;
  }
  return indices;
}
